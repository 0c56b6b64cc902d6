"""A job: one question, how its samples are drawn, and where its documents come from."""

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
    """One question for which samples are drawn, and the framework's part.

    Args:
        question: The question to which the candidates are judged as answers.
        drawing: The state of its samples.
        ask: Gets one sample; awaited in `achoose`.
        ask_several: Gets so many samples in one call, or fewer; also awaited in `achoose`. An error replaces a failed
            sample. None if that is not possible or not wanted.
        source: The language model, for warnings that are given once for each model.
        usage: Counts the tokens of some values together.
        documents: Texts of the documents that are already present.
        evidence: The user's function for more documents, which come first.
        read: Turns that function's result into texts.
        cautions: Cautions about the question.
        structured: Whether the samples are objects of a schema, which no sentence can replace.
        scores: Their retrieval scores, which decide what the reward model reads; without scores, the order decides.

    Raises:
        InputError: The question is blank or not a text; nothing has been paid for yet.
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
    """The result of the user's function, once it was called."""
    ranked: Ranking | Exception | None = field(default=None, init=False)
    """The ranking, or its error, if the samples were scored as they arrived."""
    seconds: float = field(default=0.0, init=False)
    """Wall-clock time from the first requested sample to the end of sampling."""
    _found: Evidence | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError("the question must be a text that is not blank")

    def found(self, settings: ChoiceSettings) -> Evidence:
        """The documents against which candidates are checked, once the user's function has been called."""
        if self._found is None:
            texts = [*(self.given or ()), *self.documents]
            scores = [*[None] * len(self.given or ()), *self.scores] if self.scores else []
            self._found = within_budget(texts, settings.prm.count_tokens, scores=scores)
        return self._found

    def tokens(self, value: Value) -> int:
        """The cost of a value, as reported."""
        used = self.usage([value])
        return int(used.get("total_tokens") or 0) if used else 0

    def problem(self) -> Exception | None:
        """Why nothing can be chosen among the samples; None if something can, or if they are not candidates."""
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
        settings: How many, and when there are enough.
        read: Turns a sample into a candidate, as in `Drawing`.
        probe: Draw one first, which may be a tool call.

    Raises:
        InputError: A setting was assigned an invalid value.
    """
    settings.check()
    limits = Limits(settings.replacements, settings.quorum, settings.max_tokens_total)
    return Drawing(settings.n, read, rules=settings.rules, stop=settings.rule, probe=probe, limits=limits)


def request_of(
    settings: ChoiceSettings, question: str, samples: Sequence[Sample], documents: Sequence[str]
) -> RankRequest:
    """The request that ranks the samples, with what is known about each.

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
