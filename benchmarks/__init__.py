"""Scripts that measure medprm, and that make what is measured."""
