"""Strings in, strings out: making text safe, steps, answers, prompts. Standard library only."""
