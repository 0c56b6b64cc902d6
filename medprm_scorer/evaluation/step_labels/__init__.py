"""`medprm evaluate --step-labels`: step rewards against a label for each step."""
