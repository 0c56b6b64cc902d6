"""What LangChain and LlamaIndex both need; knows neither."""
