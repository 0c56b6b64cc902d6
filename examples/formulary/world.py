"""The formulary: a synthetic world in which every fact is drawn anew for every question.

A question gives a patient (condition, comorbidity, age, weight) and four doses. Guidelines say which drug a condition
needs and which drug replaces it in a comorbidity; labels give each drug's dose per kilogram and its limit. The right
answer takes five hops: guideline, choice, label, product, limit. Since the facts are new each time, they can only be
read in the documents, never known by heart.

Most questions hold a rival: a document that is as good as the right one in its words, and does not count. Of two
guidelines or labels the newer counts, a later notice replaces a guideline's exception, a label counts for its own
formulation and in mg only. Which of the two a solver has followed can only be seen in the documents. The four options
are always the uncapped and the capped dose by the right numbers and by the rival ones, so they do not tell either.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from examples.formulary.names import (
    COMORBIDITIES,
    CONDITIONS,
    DOSES,
    DRUGS,
    FORMS,
    LETTERS,
    LIMITS,
    WEIGHTS,
    YEARS,
    is_reserved,
    near,
)

KINDS = {
    "plain": 4,
    "shared exception": 3,
    "old guideline": 3,
    "notice": 3,
    "old label": 3,
    "formulation": 4,
    "two units": 2,
}
"""What is hard about a question, with how often: two guidelines that name the same exception; an outdated guideline of
the same condition; a notice with a later exception; an outdated label; a label for another formulation; a label in ml
beside mg. A plain question has a guideline of another condition only, as they all have but those with an old one."""

_LABEL_KINDS = ("old label", "formulation", "two units")
_YEARS_APART = 3
_DATED = 0.25  # share of documents with a date that decides nothing
_NAMES = {*CONDITIONS, *DRUGS}


@dataclass(frozen=True)
class Guideline:
    """Which drug a condition needs, and which one replaces it in a comorbidity."""

    first: str
    exception: str
    alternative: str

    def drug(self, comorbidity: str) -> str:
        """The drug for a patient with this comorbidity."""
        return self.alternative if comorbidity == self.exception else self.first


@dataclass(frozen=True)
class Label:
    """What a drug's label says: `dose` in mg per kg, `limit` in mg per day."""

    dose: int
    limit: int


@dataclass(frozen=True)
class Question:
    """One formulary question with its documents and everything that is true in it.

    Args:
        kind: What is hard about it, one of `KINDS`.
        text: The question with its options.
        documents: In no order.
        answer: The right option's letter.
        condition: The patient's.
        guideline: What counts for this condition, a notice taken in.
        outdated: What counted before, where an old guideline or the guideline without its notice is there too.
        other: The guideline of another condition; where there is none, the outdated one.
        comorbidity: The patient's.
        age: In years.
        weight: In kg.
        form: The formulation that the patient takes, where it matters.
        labels: The labels that count, by drug.
        rival_form: The formulation of the rival label, where it is for another.
        rival: The numbers that do not count for the right drug: outdated, of another formulation, or in ml.
        options: In mg.
    """

    kind: str
    text: str
    documents: tuple[str, ...]
    answer: str
    condition: str
    guideline: Guideline
    outdated: Guideline | None
    other: Guideline
    comorbidity: str
    age: int
    weight: int
    form: str | None
    rival_form: str | None
    labels: dict[str, Label]
    rival: Label | None
    options: tuple[int, ...]

    @property
    def right_drug(self) -> str:
        """The drug that the patient needs."""
        return self.guideline.drug(self.comorbidity)


@dataclass
class _Draft:
    """The guidelines of a question while it is drawn: what counts, what is in the documents, and for whom."""

    guideline: Guideline
    other: Guideline
    comorbidities: dict[str, float]
    rival_drug: str | None = None
    outdated: Guideline | None = None
    texts: list[str] = field(default_factory=list)


def make_question(rng: random.Random, names: str = "seen", kind: str | None = None) -> Question:
    """Draw one question.

    Args:
        rng: Source of chance.
        names: `seen` draws only (condition, drug) pairs that training may use; `reserved` gives the right guideline
            pairs that it never uses.
        kind: One of `KINDS`; drawn where left out.
    """
    kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
    while True:
        condition = rng.choice(CONDITIONS)
        first, alternative, *more = rng.sample(DRUGS, 4 if kind != "notice" else 5)
        more[0] = near(rng, more[0], first, DRUGS, (alternative, *more[1:]))
        pairs = [(condition, first), (condition, alternative)]
        if names == "reserved":
            if all(is_reserved(*pair) for pair in pairs):
                break
        elif not any(is_reserved(condition, drug) for drug in (first, alternative, *more)):
            break
    other_condition = rng.choice([name for name in CONDITIONS if name != condition])
    other_condition = near(rng, other_condition, condition, CONDITIONS, ())
    draft = _draft(rng, kind, (condition, other_condition), (first, alternative, *more))
    comorbidity = rng.choices(list(draft.comorbidities), list(draft.comorbidities.values()))[0]
    form, other_form = rng.sample(FORMS, 2) if kind == "formulation" else (None, None)
    drug = draft.guideline.drug(comorbidity)
    rival_drug = _rival_drug(draft, kind, drug, comorbidity)
    drugs = sorted({d for g in (draft.guideline, draft.other, draft.outdated) if g for d in (g.first, g.alternative)})
    while True:
        weight, age = rng.sample(WEIGHTS, 2)
        labels = {one: _draw_label(rng, weight) for one in drugs}
        rival = _draw_label(rng, weight) if kind in _LABEL_KINDS else None
        sources = (labels[drug], rival or labels[rival_drug])
        options = [amount for label in sources for amount in (label.dose * weight, label.limit)]
        if len(set(options)) == 4 and sources[0].dose != sources[1].dose:
            break
    rng.shuffle(options)
    texts = [*draft.texts]
    for one, label in labels.items():
        where = f"in {form} " if form else ""
        if one != drug or rival is None:
            texts.append(label_text(one, label, where or _maybe_dated(rng, "in")))
        elif kind == "old label":
            old, new = two_years(rng)
            texts += [label_text(one, label, f"in {new} "), label_text(one, rival, f"in {old} ")]
        elif kind == "formulation":
            texts += [label_text(one, label, where), label_text(one, rival, f"in {other_form} ")]
        else:
            texts.append(two_units_text(one, label, rival, mg_first=rng.random() < 0.5))
    rng.shuffle(texts)
    right = labels[drug]
    return Question(
        kind=kind,
        text=question_text(condition, comorbidity, age, weight, options, form),
        documents=tuple(texts),
        answer=LETTERS[options.index(min(right.dose * weight, right.limit))],
        condition=condition,
        guideline=draft.guideline,
        outdated=draft.outdated,
        other=draft.other,
        comorbidity=comorbidity,
        age=age,
        weight=weight,
        form=form,
        rival_form=other_form,
        labels=labels,
        rival=rival,
        options=tuple(options),
    )


def _draft(rng: random.Random, kind: str, conditions: tuple[str, str], drugs: tuple[str, ...]) -> _Draft:
    """The guidelines of a question. Patients have the rival's exception as often as the right one.

    So seeing the patient's own comorbidity in a step does not betray that the step is right.
    """
    exception, other_exception, third = rng.sample(COMORBIDITIES, 3)
    first, alternative, other_first, other_alternative, *_ = drugs
    if kind == "shared exception":
        other_exception = exception
    guideline = Guideline(first, exception, alternative)
    other = Guideline(other_first, other_exception, other_alternative)
    patients = {exception: 0.45, other_exception: 0.45, third: 0.1}
    if kind == "old guideline":
        old, new = two_years(rng)
        texts = [
            guideline_text(conditions[0], guideline, f"from {new} "),
            guideline_text(conditions[0], other, f"from {old} "),
        ]
        return _Draft(guideline, other, patients, outdated=other, texts=texts)
    if kind == "notice":
        later = replace(guideline, exception=third, alternative=drugs[4])
        texts = [
            guideline_text(conditions[0], guideline),
            guideline_text(conditions[1], other),
            notice_text(later, rng.choice(YEARS)),
        ]
        return _Draft(later, other, {exception: 0.5, third: 0.5}, outdated=guideline, texts=texts)
    texts = [
        guideline_text(conditions[0], guideline, _maybe_dated(rng, "from")),
        guideline_text(conditions[1], other, _maybe_dated(rng, "from")),
    ]
    return _Draft(guideline, other, patients, texts=texts)


def _rival_drug(draft: _Draft, kind: str, drug: str, comorbidity: str) -> str:
    """The drug that a solver takes who follows the rival guideline; without one, who decides the other way."""
    if draft.outdated:
        return draft.outdated.drug(comorbidity)
    if kind == "shared exception":
        return draft.other.drug(comorbidity)
    return draft.guideline.first if drug == draft.guideline.alternative else draft.guideline.alternative


def more_documents(question: Question, rng: random.Random, count: int) -> list[str]:
    """Documents of other questions, as a search finds them too: about none of this question's conditions and drugs.

    Args:
        question: The question whose documents they join.
        rng: Source of chance.
        count: How many.
    """

    def about(text: str) -> set[str]:
        return _NAMES & set(re.findall(r"\w+", text))

    taken = set().union(*map(about, question.documents))
    found: list[str] = []
    while len(found) < count:
        text = rng.choice(make_question(rng).documents)
        if not text.startswith("Notice") and not about(text) & taken:
            found.append(text)
            taken |= about(text)
    return found


def guideline_text(condition: str, guideline: Guideline, date: str = "") -> str:
    """The document that says which drug a condition needs; `date` is empty or like `from 2024 `."""
    return f"Guideline: {date}in {condition} {guideline_words(guideline)}."


def notice_text(later: Guideline, year: int) -> str:
    """The document that replaces a guideline's exception."""
    return f"Notice: in {year} {guideline_words(later)}."


def guideline_words(guideline: Guideline) -> str:
    """What guidelines, notices and steps say alike."""
    return f"use {guideline.first} unless {guideline.exception} then {guideline.alternative}"


def label_text(drug: str, label: Label, where: str = "") -> str:
    """The document that says how a drug is dosed; `where` is empty or like `in 2024 ` or `in syrup `."""
    return f"Label: {label_words(drug, label, where)}."


def label_words(drug: str, label: Label, where: str = "") -> str:
    """What labels and steps say alike."""
    return f"{where}dose {drug} at {label.dose} mg per kg, {where}limit {drug} to {label.limit} mg"


def two_units_text(drug: str, in_mg: Label, in_ml: Label, mg_first: bool) -> str:
    """A label that gives the dose in mg and in ml."""
    parts = [
        f"in {unit} dose {drug} at {label.dose} per kg, in {unit} limit {drug} to {label.limit}"
        for unit, label in (("mg", in_mg), ("ml", in_ml))
    ]
    return f"Label: {', '.join(parts if mg_first else parts[::-1])}."


def question_text(
    condition: str, comorbidity: str, age: int, weight: int, options: Sequence[int], form: str | None = None
) -> str:
    """The question, with its options in mg."""
    listed = "\n".join(f"({letter}) {amount} mg" for letter, amount in zip(LETTERS, options, strict=True))
    takes = f" The patient takes {form}." if form else ""
    return (
        f"A patient aged {age} years comes with {condition}. The patient has {comorbidity}. "
        f"The patient weighs {weight} kg.{takes} Which daily dose is right?\n\n{listed}"
    )


def _draw_label(rng: random.Random, weight: int) -> Label:
    """A label whose limit caps the dose half of the time and never equals it."""
    amount = weight * (dose := rng.choice(DOSES))
    if rng.random() < 0.5:
        return Label(dose, rng.choice([limit for limit in LIMITS if limit < amount]))
    return Label(dose, rng.choice([limit for limit in LIMITS if amount < limit <= 2 * amount]))


def two_years(rng: random.Random) -> tuple[int, int]:
    """An older and a newer year, far enough apart to tell."""
    old = rng.choice(YEARS[:-_YEARS_APART])
    return old, rng.choice([year for year in YEARS if year >= old + _YEARS_APART])


def _maybe_dated(rng: random.Random, word: str) -> str:
    return f"{word} {rng.choice(YEARS)} " if rng.random() < _DATED else ""
