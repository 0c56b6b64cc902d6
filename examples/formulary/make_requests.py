"""Write the requests that `medprm demo` ranks: `python -m examples.formulary.make_requests`.

They are the first held-out questions of each set, not chosen for how they come out.
"""

import json
from pathlib import Path

import medprm_scorer
from examples.formulary.evaluate import held_out

CANDIDATES = 8


def main() -> None:
    """Write `medprm_scorer/data/formulary_<n>.json`."""
    folder = Path(medprm_scorer.__file__).parent / "data"
    questions = [(names, number) for names in ("seen", "reserved") for number in range(3)]
    for place, (names, number) in enumerate(questions, 1):
        question, chains = held_out(number, names)
        request = {
            "id": f"formulary-{place}",
            "question": question.text,
            "documents": question.documents,
            "candidates": [chain.text for chain in chains[:CANDIDATES]],
            "correct_answer": question.answer,
        }
        (folder / f"formulary_{place}.json").write_text(json.dumps(request, indent=1) + "\n")


if __name__ == "__main__":
    main()
