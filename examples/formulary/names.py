"""The closed pools of names and numbers that every formulary question is drawn from.

All names are invented. Each name and each number up to three digits is one token of the demo tokenizer, so that a
look-up in a document is one hop.
"""

import itertools
import random
from collections.abc import Collection, Sequence

DRUGS = tuple(
    stem + ending
    for stem, ending in itertools.product(
        ("Zor", "Pelk", "Mav", "Quil", "Tarn", "Brev", "Ost", "Lund", "Fex", "Gral", "Hev", "Jun"),
        ("avine", "ometh", "idrel", "uxan"),
    )
)
CONDITIONS = tuple(
    stem + ending
    for stem, ending in itertools.product(
        ("morl", "vesk", "drand", "pluv", "kest", "farn", "golm", "sarv", "tulb", "wend"), ("itis", "osia", "emia")
    )
)
COMORBIDITIES = tuple(
    stem + ending
    for stem, ending in itertools.product(
        ("bren", "calth", "dost", "humr", "jarv", "lorn", "nesk", "ruv"), ("algia", "uria", "oma")
    )
)
LETTERS = ("A", "B", "C", "D")
FORMS = ("tablets", "syrup", "drops")
YEARS = tuple(range(2016, 2026))

DOSES = tuple(range(2, 10))  # mg per kg
WEIGHTS = tuple(range(20, 100, 10))  # kg; ages are drawn from the same pool, so that one can be misread for the other
LIMITS = tuple(range(20, 910, 10))  # mg


def is_reserved(condition: str, drug: str) -> bool:
    """Whether this pair of names, one in six, is kept out of training, for held-out questions of unseen pairs."""
    return (CONDITIONS.index(condition) + DRUGS.index(drug)) % 6 == 0


def near(rng: random.Random, name: str, like: str, pool: Sequence[str], taken: Collection[str]) -> str:
    """Half of the time a name with the first letters of another one, in the place of `name`."""
    alike = [one for one in pool if one[:3] == like[:3] and one not in (like, *taken)]
    return rng.choice(alike) if alike and rng.random() < 0.5 else name
