"""What is asked: one question, how its samples are drawn, and where its documents come from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from medprm_integrations.shared.evidence import Evidence, within_budget
from medprm_integrations.shared.settings import ChoiceSettings, SamplingSettings
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.results.request_parsing import make_request
from medprm_scorer.sampling.drawing import Drawing, Limits
from medprm_scorer.sampling.rules import Sample

Value = TypeVar("Value")


@dataclass(repr=False, kw_only=True)
class Job(Generic[Value]):
    """One question for which samples are drawn, and the framework's part in it.

    Args:
        question: What the candidates are judged as answers to.
        drawing: The samples to come.
        ask: Gives one sample; in `achoose`, awaited.
        ask_several: Gives so many samples in one call, or fewer; awaited likewise. An error takes the place of one that
            failed by itself. None where that cannot be done, or is not wanted.
        source: The language model, for warnings that are given once for each.
        usage: The tokens of some values together.
        documents: Texts of the documents that are there already.
        evidence: The user's function for more documents, which come first.
        read: From what that function gives to texts.
        cautions: What to know of the question.
        structured: Whether the samples are objects of a schema, which no sentence can replace.
        scores: Their scores of retrieval, by which those are chosen that the reward model reads; none: in order.

    Raises:
        InputError: The question is blank or no text; nothing has been paid for yet.
    """

    question: str
    drawing: Drawing[Value]
    ask: Callable[[], Any] = field(default=lambda: None)
    ask_several: Callable[[int], Any] | None = None
    source: object
    usage: Callable[[Iterable[Value]], Mapping[str, Any] | None]
    documents: Sequence[str] = ()
    evidence: Callable[[], Any] | None = None
    read: Callable[[object], list[str]] = field(default=cast("Any", list))
    cautions: tuple[str, ...] = ()
    scores: Sequence[float | None] = ()
    structured: bool = False
    given: list[str] | None = field(default=None, init=False)
    """What the user's function gave, once it was asked."""
    ranked: Ranking | Exception | None = field(default=None, init=False)
    """The ranking, or why there is none, where the samples were scored as they came."""
    seconds: float = field(default=0.0, init=False)
    """Wall-clock time from the first sample that was asked for to the end of drawing."""
    _found: Evidence | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError("the question must be a text that is not blank")

    def found(self, settings: ChoiceSettings) -> Evidence:
        """What the candidates are checked against, once what the user's function gives is there."""
        if self._found is None:
            texts = [*(self.given or ()), *self.documents]
            scores = [*[None] * len(self.given or ()), *self.scores] if self.scores else []
            self._found = within_budget(texts, settings.prm.count_tokens, scores=scores)
        return self._found

    def tokens(self, value: Value) -> int:
        """What a value has cost, by what is reported."""
        used = self.usage([value])
        return int(used.get("total_tokens") or 0) if used else 0

    def problem(self) -> Exception | None:
        """Why nothing can be chosen among the samples; None if something can, or if they are no candidates."""
        if isinstance(self.ranked, Exception):
            return self.ranked
        try:
            self.drawing.check()
        except Exception as error:  # noqa: BLE001 - it is the first sample's
            return error
        return None


def new_drawing(
    settings: SamplingSettings, read: Callable[[Value], Sample | str | Exception | None], *, probe: bool = False
) -> Drawing[Value]:
    """How samples are drawn with these settings.

    Args:
        settings: How many, and when it is enough.
        read: A sample as a candidate, as in `Drawing`.
        probe: Draw one first, which may be a call of tools.

    Raises:
        InputError: A setting was assigned a wrong value.
    """
    settings.check()
    limits = Limits(settings.replacements, settings.quorum, settings.max_tokens_total)
    return Drawing(settings.n, read, rules=settings.rules, stop=settings.rule, probe=probe, limits=limits)


def request_of(
    settings: ChoiceSettings, question: str, samples: Sequence[Sample], documents: Sequence[str]
) -> RankRequest:
    """The request that ranks samples, with what is known of each.

    Raises:
        InputError: Something has the wrong type; the message names it.
    """
    return make_request(
        question,
        [sample.chain for sample in samples],
        documents,
        options=settings.options,
        answers=[sample.answer for sample in samples],
        truncated=[place for place, sample in enumerate(samples) if sample.truncated],
    )
