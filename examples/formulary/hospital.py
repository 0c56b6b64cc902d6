"""One hospital's formulary: guidelines and labels that hold for every patient, to be searched by whoever answers.

The questions of `world.py` each bring documents of their own. Here the documents are one collection, a guideline for
every condition and a label for every drug, and what a question needs has to be found in it first.
"""

import random
from dataclasses import dataclass

from examples.formulary.names import COMORBIDITIES, CONDITIONS, DOSES, DRUGS, LETTERS, LIMITS, WEIGHTS
from examples.formulary.world import Label, guideline_text, label_text, question_text


@dataclass(frozen=True)
class Guideline:
    """Which drug a condition needs, and which one replaces it in a comorbidity."""

    first: str
    exception: str
    alternative: str


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
        (30, 48)
        >>> print(hospital.case(0).text.splitlines()[0][:16])
        A patient aged 9
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = random.Random(f"hospital-{seed}")
        self._labels = {drug: Label(rng.choice(DOSES), 0) for drug in DRUGS}
        for drug, label in self._labels.items():
            usual = label.dose * rng.choice(WEIGHTS)
            limit = rng.choice([limit for limit in LIMITS if usual / 2 < limit < 1.5 * usual])
            self._labels[drug] = Label(label.dose, limit)
        self._guidelines: dict[str, Guideline] = {}
        for condition in CONDITIONS:
            first, alternative = rng.sample(DRUGS, 2)
            while self._labels[first] == self._labels[alternative]:
                first, alternative = rng.sample(DRUGS, 2)
            self._guidelines[condition] = Guideline(first, rng.choice(COMORBIDITIES), alternative)

    @property
    def guidelines(self) -> list[str]:
        """The guidelines as documents."""
        return [guideline_text(name, g.first, g.exception, g.alternative) for name, g in self._guidelines.items()]

    @property
    def labels(self) -> list[str]:
        """The labels as documents."""
        return [label_text(drug, label) for drug, label in self._labels.items()]

    def case(self, number: int) -> Case:
        """The patient with this number."""
        rng = random.Random(f"case-{self._seed}-{number}")
        while True:
            condition = rng.choice(CONDITIONS)
            guideline = self._guidelines[condition]
            weight, age = rng.sample(WEIGHTS, 2)
            pairs = [self._labels[drug] for drug in (guideline.first, guideline.alternative)]
            options = [amount for label in pairs for amount in (label.dose * weight, label.limit)]
            if len(set(options)) == len(LETTERS):
                break
        others = [name for name in COMORBIDITIES if name != guideline.exception]
        comorbidity = guideline.exception if rng.random() < 0.5 else rng.choice(others)
        right = pairs[1 if comorbidity == guideline.exception else 0]
        rng.shuffle(options)
        letter = LETTERS[options.index(min(right.dose * weight, right.limit))]
        return Case(question_text(condition, comorbidity, age, weight, options), letter)
