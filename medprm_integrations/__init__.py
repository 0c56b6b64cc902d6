"""MedPRM inside LangChain and LlamaIndex; what both need stands beside them, written once."""
