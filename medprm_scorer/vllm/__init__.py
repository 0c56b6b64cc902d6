"""The engine on a vLLM server, over HTTP."""
