"""The engine in this process: a Llama in PyTorch that computes shared prefixes once."""
