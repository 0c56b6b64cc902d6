"""One hospital's formulary: guidelines and labels that hold for every patient, for the answerer to search.

The questions of `world.py` each bring documents of their own. Here the documents are one collection, and what a
question needs has to be found in it first. Some guidelines and labels are there twice, outdated and in force, and some
labels give the dose in ml, too.
"""

import random
from dataclasses import dataclass

from examples.formulary.names import COMORBIDITIES, CONDITIONS, DOSES, DRUGS, LETTERS, LIMITS, WEIGHTS
from examples.formulary.world import (
    Guideline,
    Label,
    guideline_text,
    label_text,
    question_text,
    two_units_text,
    two_years,
)

_OLD_GUIDELINES = 0.3  # share of conditions with an outdated guideline
_OLD_LABELS, _TWO_UNITS = 10, 8  # drugs with an outdated label, with a label in mg and ml


@dataclass(frozen=True)
class Case:
    """A question about one patient; `answer` is the right option's letter."""

    text: str
    answer: str


class Hospital:
    """A formulary drawn with a seed.

    Args:
        seed: Of the formulary and its cases.

    Example:
        >>> hospital = Hospital(0)
        >>> len(hospital.guidelines), len(hospital.labels)
        (36, 58)
        >>> print(hospital.case(0).text.splitlines()[0][:14])
        A patient aged
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = random.Random(f"hospital-{seed}")
        drugs = rng.sample(DRUGS, len(DRUGS))
        dated, in_units = drugs[:_OLD_LABELS], drugs[_OLD_LABELS : _OLD_LABELS + _TWO_UNITS]
        simple = drugs[_OLD_LABELS + _TWO_UNITS :]
        self._labels = {drug: _draw_label(rng) for drug in DRUGS}
        self._rivals = {drug: _draw_label(rng) for drug in (*dated, *in_units)}
        self.labels = [label_text(drug, self._labels[drug]) for drug in simple]
        """The labels as documents."""
        for drug in dated:
            old, new = two_years(rng)
            self.labels.append(label_text(drug, self._labels[drug], f"in {new} "))
            self.labels.append(label_text(drug, self._rivals[drug], f"in {old} "))
        for drug in in_units:
            self.labels.append(two_units_text(drug, self._labels[drug], self._rivals[drug], rng.random() < 0.5))
        self._guidelines: dict[str, Guideline] = {}
        self._outdated: dict[str, Guideline] = {}
        self.guidelines: list[str] = []
        """The guidelines as documents."""
        for condition in CONDITIONS:
            twice = rng.random() < _OLD_GUIDELINES
            first, alternative, *before = rng.sample(simple if twice else drugs, 4)
            exception, exception_before = rng.sample(COMORBIDITIES, 2)
            self._guidelines[condition] = Guideline(first, exception, alternative)
            if twice:
                old, new = two_years(rng)
                self._outdated[condition] = Guideline(before[0], exception_before, before[1])
                self.guidelines.append(guideline_text(condition, self._outdated[condition], f"from {old} "))
                self.guidelines.append(guideline_text(condition, self._guidelines[condition], f"from {new} "))
            else:
                self.guidelines.append(guideline_text(condition, self._guidelines[condition]))

    def case(self, number: int) -> Case:
        """The patient with this number."""
        rng = random.Random(f"case-{self._seed}-{number}")
        while True:
            condition = rng.choice(CONDITIONS)
            guideline, outdated = self._guidelines[condition], self._outdated.get(condition)
            weight, age = rng.sample(WEIGHTS, 2)
            exceptions = [guideline.exception, outdated.exception if outdated else rng.choice(COMORBIDITIES)]
            comorbidity = rng.choice(exceptions)
            drug = guideline.drug(comorbidity)
            other_drug = guideline.alternative if drug == guideline.first else guideline.first
            rival_drug = outdated.drug(comorbidity) if outdated else other_drug
            right = self._labels[drug]
            sources = (right, self._rivals.get(drug, self._labels[rival_drug]))
            options = [amount for label in sources for amount in (label.dose * weight, label.limit)]
            if len(set(options)) == len(LETTERS) and max(options) < 1000:
                break
        rng.shuffle(options)
        letter = LETTERS[options.index(min(right.dose * weight, right.limit))]
        return Case(question_text(condition, comorbidity, age, weight, options), letter)


def _draw_label(rng: random.Random) -> Label:
    """A label whose limit caps the dose of about half of the patients."""
    dose = rng.choice(DOSES)
    usual = dose * rng.choice(WEIGHTS)
    return Label(dose, rng.choice([limit for limit in LIMITS if usual / 2 < limit < 1.5 * usual]))
