"""How far to trust an answer, calibrated or by plain floors, and which documents carried it."""
