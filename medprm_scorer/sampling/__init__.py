"""Which samples of a question are drawn and kept, and when there are enough. Uses only the standard library."""
