"""Search in a hospital's formulary, in two hops: the guidelines for the patient, then the labels of their drugs.

BM25 (the package rank-bm25). No question names the drugs, so one search cannot find the labels.
"""

import re
from collections.abc import Sequence

from rank_bm25 import BM25Okapi

from examples.formulary.hospital import Hospital


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class _Index:
    def __init__(self, documents: Sequence[str]) -> None:
        self._documents = list(documents)
        self._ranks = BM25Okapi([_words(document) for document in self._documents])

    def find(self, query: str, count: int) -> list[str]:
        found: list[str] = self._ranks.get_top_n(_words(query), self._documents, n=count)
        return found


class FormularySearch:
    """What a patient's question needs, out of the whole formulary; as any search, it misses something now and then.

    Args:
        hospital: Where to search.

    Example:
        >>> hospital = Hospital(0)
        >>> [text.split(":")[0] for text in FormularySearch(hospital).find(hospital.case(0).text)]
        ['Label', 'Label', 'Label', 'Label', 'Guideline', 'Guideline']
    """

    def __init__(self, hospital: Hospital) -> None:
        self._guidelines, self._labels = _Index(hospital.guidelines), _Index(hospital.labels)

    def find(self, query: str) -> list[str]:
        """The labels of the drugs in the two guidelines that fit best, then these guidelines.

        The small models read a guideline worse where it is the very first text that they are shown.
        """
        guidelines = self._guidelines.find(query, 2)
        labels = [label for guideline in guidelines for label in self._labels.find(guideline, 4)]
        return list(dict.fromkeys([*labels, *guidelines]))
