"""How the small policy model goes wrong: habits that depend on the question, so that its samples share their errors.

A solver whose errors are drawn afresh in every sample is cured by majority vote. This one has habits and keeps to them
in most of its samples, as a language model does that has learnt something wrongly: there, majority vote chooses the
wrong answer. Every habit follows a document that does not count, to the letter: the words of such a chain are those of
a right one, and only the documents tell.
"""

from examples.formulary.chains import RIVALS, Policy
from examples.formulary.names import FORMS
from examples.formulary.world import Question

_STRENGTH = {
    "outdated_guideline": 0.64,
    "ignored_notice": 0.66,
    "outdated_label": 0.57,
    "wrong_formulation": 0.57,
    "wrong_unit": 0.58,
}
"""How often each habit is followed: less where the right reading is hard for so small a model."""
_SLIPS = 0.01  # rate of every other error, per stage


def habit_of(question: Question) -> str | None:
    """The error that the policy model makes again and again on this question, if any.

    It prefers older guidelines and labels, overlooks notices, takes ml for mg, and reads the label of the formulation
    that comes first in `FORMS`, whichever the patient takes.
    """
    found = next((error for error, kind in RIVALS.items() if kind == question.kind), None)
    if found == "wrong_formulation" and question.rival_form and question.form:
        return found if FORMS.index(question.rival_form) < FORMS.index(question.form) else None
    return found


def habit(question: Question) -> Policy:
    """The solver that the policy model learns to be on this question."""
    found = habit_of(question)
    return Policy(rate=_SLIPS, traps={found: _STRENGTH[found]} if found else {})
