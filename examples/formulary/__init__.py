"""The formulary: a synthetic world, and the small models that are trained on it."""
