"""Coverage-guided fuzzing of what reads text from outside: `python -m tests.fuzz`."""
