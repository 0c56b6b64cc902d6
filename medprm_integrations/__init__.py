"""MedPRM for LangChain and LlamaIndex; code that both need is in `shared`."""
