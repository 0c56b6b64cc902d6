"""How many patients the example programs ask about, and what they say at their end."""

PATIENTS = 3


def tally(right: int, patients: int) -> str:
    """How many answers were right, and how reliable that figure is."""
    return f"Right: {right} of {patients}. So few patients measure nothing; docs/results.md has more."
