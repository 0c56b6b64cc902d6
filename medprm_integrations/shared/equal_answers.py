"""Decides which free-text answers are equal, and reads answers, with the user's own models if rules are not enough.

Two answers count as one only if something says that they are equal. By default this is exact wording
(`normalize_answer`); here it is a language model, called once for each question, or embeddings. If that fails, exact
wording is used.
"""

import math
import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, Field

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers import DECLINED, normalize_answer, read

Schema = TypeVar("Schema", bound=BaseModel)

Ask = Callable[[str, type[Schema]], Schema]
"""Gets structured output from a language model: takes a prompt and a pydantic class, returns an instance of it."""

_LONGEST_ANSWER = 300  # characters of an answer that are shown to the model
_LONGEST_CHAIN = 4000  # characters of a chain: its end, which has the answer

_GROUP_PROMPT = """These are answers that different people gave to one question. Put answers that mean the same thing \
clinically into one group: the same diagnosis, drug, dose or result in other words, abbreviations or units. Answers \
that differ in a number, a side, a stage, a drug or a cause are different. Give every number in exactly one group.

Question: {question}

Answers:
{answers}"""

_READ_PROMPT = """What final answer does this reasoning give to the question? Copy it in as few words as possible; if \
the question has lettered options, give the letter alone. If the reasoning says that the question cannot be answered, \
set declined. If it gives no final answer, or several, leave the answer empty. Do not solve the question yourself.

Question: {question}

Reasoning:
{chain}"""


class AnswerModelFailedWarning(UserWarning):
    """A model that should compare or read answers failed, so only their exact wording counted."""


class Groups(BaseModel):
    """Answers by meaning."""

    groups: list[list[int]] = Field(description="Each a list of the numbers of answers that mean the same")


class FinalAnswer(BaseModel):
    """The answer of a chain."""

    answer: str | None = Field(default=None, description="The final answer, as short as possible; null if none")
    declined: bool = Field(default=False, description="Whether the reasoning says that there can be no answer")


def labels_by_model(ask: "Ask[Groups]", answers: Sequence[str], question: str) -> list[int]:
    """A label for each answer, the same for answers that a language model calls equal.

    Args:
        ask: Asks the model.
        answers: Different answers of one question.
        question: The question.

    Returns:
        Labels from 0; all different, with a warning, if the model fails or its groups are not a partition of the
        answers.

    Example:
        >>> labels_by_model(lambda prompt, schema: schema(groups=[[1, 3], [2]]), ["MI", "PE", "heart attack"], "Which?")
        [0, 1, 0]
    """
    shown = "\n".join(f"{number}. {_short(answer)}" for number, answer in enumerate(answers, start=1))
    try:
        groups = ask(_GROUP_PROMPT.format(question=question, answers=shown), Groups).groups
        numbers = [number for group in groups for number in group]
        if sorted(numbers) != list(range(1, len(answers) + 1)):
            raise ValueError("not every answer is in exactly one group")
    except Exception as error:  # noqa: BLE001 - the user's model may raise anything, and the samples are already paid for
        _warn_failed("compare answers", error)
        return list(range(len(answers)))
    label = {number: place for place, group in enumerate(groups) for number in group}
    return [label[number] for number in range(1, len(answers) + 1)]


def labels_by_similarity(answers: Sequence[str], vectors: Sequence[Sequence[float]], threshold: float) -> list[int]:
    """A label for each answer, the same for answers whose embeddings are all similar.

    An answer joins the first group to whose every member its cosine similarity is at least the threshold. Answers with
    different numbers, or of which only one has a negation, are never equal: 200 mg and 300 mg have similar embeddings.

    Args:
        answers: Different answers of one question.
        vectors: Their embeddings, all of the same length.
        threshold: Cosine similarity at which two count as equal, in (0, 1].

    Example:
        >>> labels_by_similarity(["give 5 mg", "5 mg", "50 mg"], [[1, 0], [1, 0.1], [1, 0.1]], 0.9)
        [0, 0, 1]
    """
    labels: list[int] = []
    signs = [_signs(answer) for answer in answers]
    members: list[list[int]] = []
    for place in range(len(answers)):
        for label, group in enumerate(members):
            if all(
                signs[place] == signs[other] and _cosine(vectors[place], vectors[other]) >= threshold for other in group
            ):
                group.append(place)
                labels.append(label)
                break
        else:
            labels.append(len(members))
            members.append([place])
    return labels


def read_by_rules_or_model(ask: "Ask[FinalAnswer]", text: str, question: str | None) -> str | None:
    """The answer of a chain: by the package's rules, and by a language model only if these find nothing.

    Args:
        ask: Asks the model.
        text: The chain.
        question: Its question, or None.

    Returns:
        The answer, `DECLINED`, or None. If the question has options, the model's answer counts only if it is one.

    Example:
        >>> read_by_rules_or_model(lambda prompt, schema: schema(answer="pancreatitis"), "Lipase is high.", None)
        'pancreatitis'
    """
    found = read(text, question)
    if found.answer is not None or found.declined:
        return DECLINED if found.declined else found.answer
    try:
        said = ask(_READ_PROMPT.format(question=question or "(not given)", chain=text[-_LONGEST_CHAIN:]), FinalAnswer)
    except Exception as error:  # noqa: BLE001 - as above
        _warn_failed("read answers", error)
        return None
    if said.declined:
        return DECLINED
    if said.answer is None or not normalize_answer(said.answer):
        return None
    return read(f"Answer: {_short(said.answer)}", question).answer


class AskingModel(ABC):
    """The base class for getting structured output from a framework's language model."""

    @abstractmethod
    def _ask(self, prompt: str, schema: type[Schema]) -> Schema:
        """An instance of the class, filled in by the model."""


class AnswerGroupsByModel(AskingModel):
    """For `group=`: asks a language model, once for each question, which of the different answers mean the same.

    If the call fails, answers are compared by their exact wording, with an `AnswerModelFailedWarning`.
    """

    def __call__(self, answers: Sequence[str], question: str) -> list[int]:
        """A label for each answer, the same for equal answers."""
        return labels_by_model(self._ask, answers, question)


class AnswerReaderByModel(AskingModel):
    """For `answer=`: the package's rules, and a language model for chains that they cannot read.

    One call for each such chain. If it fails, the chain gives no answer, with an `AnswerModelFailedWarning`.
    """

    def __call__(self, text: str, question: str | None = None) -> str | None:
        """The answer, `DECLINED`, or None."""
        return read_by_rules_or_model(self._ask, text, question)


class AnswerGroupsByEmbeddings(ABC):
    """For `group=`: answers with similar embeddings are equal; answers with different numbers never are.

    Args:
        threshold: Cosine similarity at which two answers count as equal, in (0, 1]. The right value depends on the
            embeddings: try some pairs of your own.

    Raises:
        InputError: The threshold is not a number in (0, 1].
    """

    def __init__(self, threshold: float) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise InputError("the threshold must be a number above 0 and at most 1")
        self._threshold = float(threshold)

    @abstractmethod
    def _embed(self, answers: list[str]) -> Sequence[Sequence[float]]:
        """The embedding of each answer."""

    def __call__(self, answers: Sequence[str]) -> list[int]:
        """A label for each answer, the same for equal answers."""
        return labels_by_similarity(answers, self._embed(list(answers)), self._threshold)


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_ANSWER]


def _signs(answer: str) -> tuple[Counter[str], bool]:
    """What embeddings do not distinguish: the numbers in an answer, and whether it has a negation."""
    words = answer.casefold()
    numbers = Counter(re.findall(r"\d+(?:[.,]\d+)*", words))
    return numbers, re.search(r"\b(?:no|not|without|never|non|negative|contraindicated)\b", words) is not None


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    size = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / size if size else 0.0


def _warn_failed(what: str, error: Exception) -> None:
    warnings.warn(
        f"the model that should {what} failed ({type(error).__name__}): only exact wording counts",
        AnswerModelFailedWarning,
        stacklevel=4,
    )
