"""`make test-gpu`: what can only be known with a GPU, in one command: right numbers, compilations, speed, memory."""
