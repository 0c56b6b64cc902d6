"""Code for both LangChain and LlamaIndex; it depends on neither."""
