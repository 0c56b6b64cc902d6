"""`medprm evaluate --against`: two runs on the same questions, compared question by question."""
