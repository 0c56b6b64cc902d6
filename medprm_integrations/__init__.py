"""MedPRM inside LangChain; what more than one framework needs stands beside it, written once."""
