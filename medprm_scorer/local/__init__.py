"""The engine in this process: a Llama in PyTorch, whose prefixes are computed once."""
