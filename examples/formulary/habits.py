"""How the small policy model goes wrong: habits that depend on the question, so that its samples share their errors.

A solver whose errors are drawn afresh in every sample is cured by majority vote. This one has habits and keeps to them
in most of its samples, as a language model does that has learnt something wrongly: there, majority vote chooses the
wrong answer. What a habit hangs on stands next to where the mistake is made, so that a small model can learn it.
"""

from examples.formulary.names import COMORBIDITIES, DRUGS
from examples.formulary.world import Policy, Question

_STRENGTH = 0.8  # how often a habit is followed
_SLIPS = 0.06  # rate of every other error, per stage
_HIGH = 600  # mg per day; a limit from here on is not taken seriously


def habits(question: Question) -> list[str]:
    """The errors that the policy model makes again and again on this question.

    It takes every fourth comorbidity for harmless, reads the dose of every eighth drug from another label, and forgets
    high limits.
    """
    drug = question.alternative if question.comorbidity == question.exception else question.first
    found = {
        "overlooked_exception": COMORBIDITIES.index(question.comorbidity) % 4 == 0,
        "misread_dose": DRUGS.index(drug) % 8 == 0,
        "forgotten_limit": question.labels[drug].limit >= _HIGH,
    }
    return [kind for kind, has in found.items() if has]


def habit(question: Question) -> Policy:
    """The solver that the policy model learns to be on this question."""
    return Policy(rate=_SLIPS, traps=dict.fromkeys(habits(question), _STRENGTH))
