"""Where the LangChain and LlamaIndex integrations live; this version holds none yet."""
