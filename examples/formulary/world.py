"""The formulary: a synthetic world in which every fact is drawn anew for every question.

A question gives a patient (condition, comorbidity, age, weight) and four doses. Guidelines say which drug a condition
needs and which drug replaces it in a comorbidity; labels give each drug's dose per kilogram and its limit. The right
answer takes five hops: guideline, choice, label, product, limit. Since the facts are new each time, they can only be
read in the documents, never known by heart.

The four options are always the uncapped and the capped dose of the two drugs that the right guideline names, so the
options alone do not tell which drug, number or limit is right. A wrong step uses the same words as a right one.

What a step must compare stands close together and the outcome is said aloud ("holds", "exceeds"), so that a small model
can check it where it stands.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from examples.formulary.names import COMORBIDITIES, CONDITIONS, DOSES, DRUGS, LETTERS, LIMITS, WEIGHTS, is_reserved

STAGES = ("guideline", "choice", "label", "product", "limit")
CITING_STAGES = ("guideline", "label")  # these steps cite a document: without it they cannot be checked
ERROR_KINDS = {
    "guideline": ("wrong_drug", "wrong_exception"),
    "choice": ("overlooked_exception", "misread_patient"),
    "label": ("misread_dose", "misread_limit"),
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


@dataclass(frozen=True)
class Label:
    """What a drug's label says: `dose` in mg per kg, `limit` in mg per day."""

    dose: int
    limit: int


@dataclass(frozen=True)
class Question:
    """One formulary question with its documents and everything that is true in it."""

    text: str
    documents: tuple[str, ...]
    answer: str
    condition: str
    first: str
    exception: str
    alternative: str
    other_exception: str
    distractor: str
    comorbidity: str
    age: int
    weight: int
    labels: dict[str, Label]
    options: tuple[int, ...]


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
    """How a solver goes wrong: `rate` per stage, and stages with a rate of their own (`traps`)."""

    rate: float = 0.25
    traps: dict[str, float] = field(default_factory=dict)
    merged: float = 0.25  # share of chains that write guideline and choice as one step

    def errs(self, rng: random.Random, kinds: tuple[str, ...]) -> str | None:
        """Draw the error of one stage among its kinds, or None."""
        for kind in kinds:
            if kind in self.traps and rng.random() < self.traps[kind]:
                return kind
        if rng.random() < self.rate:
            return rng.choice(kinds)
        return None


def make_question(rng: random.Random, names: str = "seen") -> Question:
    """Draw one question.

    Args:
        rng: Source of chance.
        names: `seen` draws only (condition, drug) pairs that training may use; `reserved` gives the right guideline
            pairs that it never uses.
    """
    want = names == "reserved"
    while True:
        condition, other_condition = rng.sample(CONDITIONS, 2)
        first, alternative, distractor, unlabelled = rng.sample(DRUGS, 4)
        pairs = (
            (condition, first),
            (condition, alternative),
            (other_condition, distractor),
            (other_condition, unlabelled),
        )
        if (all if want else any)(is_reserved(*pair) for pair in pairs[:2]) != want:
            continue
        if not want and any(is_reserved(*pair) for pair in pairs):
            continue
        weight, age = rng.sample(WEIGHTS, 2)
        doses = rng.sample(DOSES, 3)
        labels = {
            drug: Label(dose, _draw_limit(rng, dose * weight))
            for drug, dose in zip((first, alternative, distractor), doses, strict=True)
        }
        options = [
            amount for drug in (first, alternative) for amount in (labels[drug].dose * weight, labels[drug].limit)
        ]
        if len(set(options)) == 4 and len({label.limit for label in labels.values()}) == 3:
            break
    exception, other_exception, third = rng.sample(COMORBIDITIES, 3)
    # as often the other guideline's exception as the right one: seeing the patient's own must not betray a right step
    comorbidity = rng.choices((exception, other_exception, third), (0.45, 0.45, 0.1))[0]
    rng.shuffle(options)
    documents = [
        guideline_text(condition, first, exception, alternative),
        guideline_text(other_condition, distractor, other_exception, unlabelled),
        *(label_text(drug, label) for drug, label in labels.items()),
    ]
    rng.shuffle(documents)
    right = labels[alternative if comorbidity == exception else first]
    return Question(
        text=question_text(condition, comorbidity, age, weight, options),
        documents=tuple(documents),
        answer=LETTERS[options.index(min(right.dose * weight, right.limit))],
        condition=condition,
        first=first,
        exception=exception,
        alternative=alternative,
        other_exception=other_exception,
        distractor=distractor,
        comorbidity=comorbidity,
        age=age,
        weight=weight,
        labels=labels,
        options=tuple(options),
    )


def guideline_text(condition: str, first: str, exception: str, alternative: str) -> str:
    """The document that says which drug a condition needs."""
    return f"Guideline: in {condition} use {first} unless {exception} then {alternative}."


def label_text(drug: str, label: Label) -> str:
    """The document that says how a drug is dosed."""
    return f"Label: dose {drug} at {label.dose} mg per kg, limit {drug} to {label.limit} mg."


def question_text(condition: str, comorbidity: str, age: int, weight: int, options: Sequence[int]) -> str:
    """The question, with its options in mg."""
    listed = "\n".join(f"({letter}) {amount} mg" for letter, amount in zip(LETTERS, options, strict=True))
    return (
        f"A patient aged {age} years comes with {condition}. The patient has {comorbidity}. "
        f"The patient weighs {weight} kg. Which daily dose is right?\n\n{listed}"
    )


def _draw_limit(rng: random.Random, dose: int) -> int:
    """A limit that caps the dose half of the time and never equals it."""
    if rng.random() < 0.5:
        return rng.choice([limit for limit in LIMITS if limit < dose])
    return rng.choice([limit for limit in LIMITS if dose < limit <= 2 * dose])


def make_chain(question: Question, rng: random.Random, policy: Policy) -> Chain:
    """Solve the question as a fallible solver would; each step is labelled by its own validity.

    A step that follows faithfully from a wrong earlier step is valid: the chain's min reward carries the error on.
    """
    q = question
    lead = {stage: rng.choice(_LEADS[stage]) for stage in STAGES}
    written: list[Step] = []

    def write(stage: str, text: str, error: str | None) -> None:
        written.append(Step(f"{lead[stage]} {text}.", (stage,), (error,) if error else ()))

    first, exception, alternative = q.first, q.exception, q.alternative
    error = policy.errs(rng, ERROR_KINDS["guideline"])
    if error == "wrong_drug":
        first, alternative = rng.choice(
            ((q.distractor, q.alternative), (q.first, q.distractor), (q.alternative, q.first))
        )
    elif error == "wrong_exception":
        exception = _misread(rng, q.exception, (q.other_exception,), COMORBIDITIES)
    write("guideline", f"in {q.condition} use {first} unless {exception} then {alternative}", error)

    comorbidity = q.comorbidity
    error = policy.errs(rng, ERROR_KINDS["choice"])
    if error == "misread_patient":
        comorbidity = _misread(rng, q.comorbidity, (q.exception, q.other_exception), COMORBIDITIES)
    holds, follows = _decide(rng, comorbidity == exception, error == "overlooked_exception")
    drug, rule = (alternative, f"{exception} then") if follows else (first, f"{q.condition} use")
    verdict = "holds" if holds else "fails"
    write("choice", f"{comorbidity} against {exception} {verdict}, so given {rule} {drug}", error)

    dose, limit = q.labels[drug].dose, q.labels[drug].limit
    error = policy.errs(rng, ERROR_KINDS["label"])
    if error:
        others = [other for other in (q.first, q.alternative, q.distractor) if other != drug]
        # mostly the other drug of the right guideline, whose numbers lead to the options too
        weights = [1 if other == q.distractor else 4 for other in others]
        other = q.labels[rng.choices(others, weights)[0]]
        if error == "misread_dose":
            dose = _misread(rng, dose, (other.dose,), DOSES)
        else:
            limit = _misread(rng, limit, (other.limit,), LIMITS)
    write("label", f"dose {drug} at {dose} mg per kg, limit {drug} to {limit} mg", error)

    weight = q.weight
    error = policy.errs(rng, ERROR_KINDS["product"])
    if error == "misread_weight":
        weight = q.age if rng.random() < 0.7 else rng.choice([w for w in WEIGHTS if w != q.weight])
    product = dose * weight
    if error == "arithmetic_slip":
        near = {(dose + 1) * weight, (dose - 1) * weight, dose * (weight + 10), dose * (weight - 10), product + 100}
        product = rng.choice(sorted(n for n in near if 10 < n < 1000 and n != product))
    write("product", f"{weight} kg, so {dose} times {weight} is {product} mg", error)

    error = policy.errs(rng, ERROR_KINDS["limit"])
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
    """A value other than the right one: mostly one that stands nearby, now and then any of the pool."""
    choices = [value for value in (pool if rng.random() < _STRAY else near) if value != right]
    return rng.choice(choices)


def _decide(rng: random.Random, truth: bool, wrong: bool) -> tuple[bool, bool]:
    """What a comparison is said to show, and what is then done; a wrong decision errs in one of the two."""
    if not wrong:
        return truth, truth
    said = truth if rng.random() < _INCONSEQUENT else not truth
    return said, not truth


def draw_policy(rng: random.Random) -> Policy:
    """A solver as sampled policies are: few slips of chance, and on each question one error made again and again."""
    kinds = [kind for kinds in ERROR_KINDS.values() for kind in kinds]
    return Policy(rate=0.08, traps={rng.choice(kinds): rng.uniform(0.2, 0.9), rng.choice(kinds): rng.uniform(0.0, 0.4)})
