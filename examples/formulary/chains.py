"""Chains of thought about a formulary question, written as a fallible solver would, each step labelled.

A wrong step uses the same words as a right one. The words that a step must compare are close together and the outcome
is stated aloud ("holds", "exceeds"), so that a small model can check it where it stands.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from examples.formulary.names import COMORBIDITIES, DOSES, LETTERS, LIMITS, WEIGHTS
from examples.formulary.world import Question, guideline_words, label_words

STAGES = ("guideline", "choice", "label", "product", "limit")
CITING_STAGES = ("guideline", "label")  # these steps cite a document: without it they cannot be checked
RIVALS = {
    "outdated_guideline": "old guideline",
    "ignored_notice": "notice",
    "outdated_label": "old label",
    "wrong_formulation": "formulation",
    "wrong_unit": "two units",
}
"""Errors that follow a rival document, with the kind of question that has it."""

ERROR_KINDS = {
    "guideline": ("wrong_drug", "wrong_exception", "other_guideline", "outdated_guideline", "ignored_notice"),
    "choice": ("overlooked_exception", "misread_patient"),
    "label": ("misread_dose", "misread_limit", "outdated_label", "wrong_formulation", "wrong_unit"),
    "product": ("misread_weight", "arithmetic_slip"),
    "limit": ("forgotten_limit", "wrong_letter"),
}
_LEADS = {
    "guideline": ("The guideline says", "By the guideline,"),
    "choice": ("The patient has", "This patient has"),
    "label": ("The label says", "By the label,"),
    "product": ("The patient weighs", "This patient weighs"),
    "limit": ("With", "Taking"),
}
_Value = TypeVar("_Value", int, str)
_STRAY = 0.15  # share of misreadings that are of nothing in the documents
_INCONSEQUENT = 0.3  # share of wrong decisions whose comparison is right: what follows from it is not done
_RIVAL_WEIGHT = 3  # how much more often than another error of its stage the rival is followed


@dataclass(frozen=True)
class Step:
    """One step of a chain: its words, the stages it covers and the errors made in it (none: the step is valid)."""

    text: str
    stages: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether the step is right, given the documents, the question and the steps before it."""
        return not self.errors


@dataclass(frozen=True)
class Chain:
    """A chain of thought with labelled steps; `answer` is the letter that it ends with."""

    steps: tuple[Step, ...]
    answer: str

    @property
    def text(self) -> str:
        """The chain as a policy would write it, one step to a line."""
        return "\n".join(f"Step {number}: {step.text}" for number, step in enumerate(self.steps, 1))


@dataclass(frozen=True)
class Policy:
    """How a solver goes wrong: `rate` per stage, and errors with a rate of their own (`traps`)."""

    rate: float = 0.25
    traps: dict[str, float] = field(default_factory=dict)
    merged: float = 0.25  # share of chains that write guideline and choice as one step

    def errs(self, rng: random.Random, kinds: Sequence[str]) -> str | None:
        """Draw the error of one stage among those that can be made there, or None."""
        for kind in kinds:
            if kind in self.traps and rng.random() < self.traps[kind]:
                return kind
        if rng.random() < self.rate:
            return rng.choices(kinds, [_RIVAL_WEIGHT if kind in RIVALS else 1 for kind in kinds])[0]
        return None


def make_chain(question: Question, rng: random.Random, policy: Policy) -> Chain:
    """Solve the question as a fallible solver would; each step is labelled by its own validity.

    A step that follows faithfully from a wrong earlier step is valid: the chain's min reward carries the error on.
    """
    q = question
    lead = {stage: rng.choice(_LEADS[stage]) for stage in STAGES}
    written: list[Step] = []

    def write(stage: str, text: str, error: str | None) -> None:
        written.append(Step(f"{lead[stage]} {text}.", (stage,), (error,) if error else ()))

    def errs(stage: str, without: str = "") -> str | None:
        kinds = [kind for kind in ERROR_KINDS[stage] if RIVALS.get(kind, q.kind) == q.kind and kind != without]
        return policy.errs(rng, kinds)

    read, other = q.guideline, q.other
    error = errs("guideline", "other_guideline" if other == q.outdated else "")
    if error == "wrong_drug":
        read = rng.choice(
            (
                replace(read, first=other.first),
                replace(read, alternative=rng.choice((other.first, other.alternative))),
                replace(read, first=read.alternative, alternative=read.first),
            )
        )
    elif error == "wrong_exception":
        exceptions = [one.exception for one in (other, q.outdated) if one and one.exception != read.exception]
        read = replace(read, exception=_misread(rng, read.exception, exceptions, COMORBIDITIES))
    elif error == "other_guideline":
        read = other
    elif error and q.outdated:
        read = q.outdated
    write("guideline", f"in {q.condition} {guideline_words(read)}", error)

    comorbidity = q.comorbidity
    error = errs("choice")
    if error == "misread_patient":
        comorbidity = _misread(rng, comorbidity, (q.guideline.exception, other.exception), COMORBIDITIES)
    holds, follows = _decide(rng, comorbidity == read.exception, error == "overlooked_exception")
    if follows:
        drug, rule = read.alternative, f"{read.exception} then"
    else:
        drug, rule = read.first, f"{q.condition} use"
    verdict = "holds" if holds else "fails"
    write("choice", f"{comorbidity} against {read.exception} {verdict}, so given {rule} {drug}", error)

    label = q.labels[drug]
    rival = q.rival if drug == q.right_drug else None
    error = errs("label")
    if error in RIVALS and rival is None:
        error = None
    if error in RIVALS and rival:
        label = rival
    elif error:
        others = [one for name, one in q.labels.items() if name != drug] + ([rival] if rival else [])
        # mostly one whose numbers lead to the options too
        near = rng.choices(others, [4 if one.limit in q.options else 1 for one in others])[0]
        if error == "misread_dose":
            label = replace(label, dose=_misread(rng, label.dose, (near.dose,), DOSES))
        else:
            label = replace(label, limit=_misread(rng, label.limit, (near.limit,), LIMITS))
    write("label", label_words(drug, label, f"in {q.form} " if q.form else ""), error)

    weight, dose, limit = q.weight, label.dose, label.limit
    error = errs("product")
    if error == "misread_weight":
        weight = q.age if rng.random() < 0.7 else rng.choice([w for w in WEIGHTS if w != q.weight])
    product = dose * weight
    if error == "arithmetic_slip":
        slips = {(dose + 1) * weight, (dose - 1) * weight, dose * (weight + 10), dose * (weight - 10), product + 100}
        product = rng.choice(sorted(n for n in slips if 10 < n < 1000 and n != product))
    write("product", f"{weight} kg, so {dose} times {weight} is {product} mg", error)

    error = errs("limit")
    if error == "forgotten_limit" and product == limit:
        error = None
    exceeds, follows = _decide(rng, product > limit, error == "forgotten_limit")
    amount = limit if follows else product
    if amount in q.options and error != "wrong_letter":
        letter = LETTERS[q.options.index(amount)]
    else:
        letter = rng.choice([x for x, option in zip(LETTERS, q.options, strict=True) if option != amount])
        error = error if error == "forgotten_limit" else "wrong_letter"
    verdict = "exceeds" if exceeds else "fits"
    write("limit", f"{product} against {limit} {verdict}, so at {amount} the answer is ({letter}) {amount} mg", error)

    if rng.random() < policy.merged:
        one, two, *rest = written
        joined = f"{one.text[:-1]}; {two.text[0].lower()}{two.text[1:]}"
        written = [Step(joined, one.stages + two.stages, one.errors + two.errors), *rest]
    return Chain(tuple(written), letter)


def _misread(rng: random.Random, right: _Value, near: Sequence[_Value], pool: Sequence[_Value]) -> _Value:
    """A value other than the right one: usually one nearby, sometimes any of the pool."""
    near = [value for value in near if value != right]
    return rng.choice([value for value in pool if value != right] if rng.random() < _STRAY or not near else near)


def _decide(rng: random.Random, truth: bool, wrong: bool) -> tuple[bool, bool]:
    """What a comparison is said to show, and what is then done; a wrong decision errs in one of the two."""
    if not wrong:
        return truth, truth
    said = truth if rng.random() < _INCONSEQUENT else not truth
    return said, not truth


def draw_policy(rng: random.Random) -> Policy:
    """A solver as sampled policies are: few slips of chance, on each question one error made again and again.

    Where there is a rival document, most solvers follow it now and then.
    """
    kinds = [kind for kinds in ERROR_KINDS.values() for kind in kinds if kind not in RIVALS]
    often, now_and_then = rng.uniform(0.2, 0.9), rng.uniform(0.0, 0.4)
    rivals = dict.fromkeys(RIVALS, rng.uniform(0.3, 0.9) if rng.random() < 0.7 else 0.0)
    return Policy(rate=0.08, traps={rng.choice(kinds): often, rng.choice(kinds): now_and_then} | rivals)
