"""The settings that the integrations share, checked by pydantic when an object is made."""

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from typing_extensions import Self, TypedDict, override

from medprm_integrations.shared.calls import CallsInFlight
from medprm_integrations.shared.doubt import DOUBT_ANSWER, check_doubt_answer, known_doubt, refuse_doubt
from medprm_integrations.shared.misspelt import with_suggestions
from medprm_integrations.shared.questions import Asked
from medprm_integrations.shared.ranking_metadata import Keep
from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.sampling.drawing import DEFAULT_REPLACEMENTS
from medprm_scorer.sampling.rules import SamplingRules
from medprm_scorer.sampling.stopping import Agree, Confident, Rule, given_rule
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import Strategy
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction
from medprm_scorer.trust.doubt import OnDoubt
from medprm_scorer.trust.floors import Floors
from medprm_scorer.trust.given import GivenTrust, given_trust
from medprm_scorer.trust.trust import Trust

DEFAULT_N = 8
"""Samples of one question; the paper's curves are steep up to about here."""

DEFAULT_CONCURRENCY = 8
"""The default limit of simultaneous calls of a language model."""

OF_A_CALL = ("temperature", "top_p", "top_k", "seed", "max_tokens", "max_completion_tokens")
"""Settings of the language model that can also be passed to a call."""

OF_THE_MODEL = (
    *OF_A_CALL,
    *("model", "model_name", "api_key", "api_base", "base_url", "max_retries", "streaming"),
)
"""Settings that users look for here but that belong to the language model."""


def reward_model(prm: Any) -> MedPRM:
    """The reward model, checked.

    Raises:
        InputError: It is something else.

    Example:
        >>> reward_model("dmis-lab/llama-3.1-medprm-reward-v1.0")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: prm must be a MedPRM (MedPRM.from_pretrained(...)), not str
    """
    if not isinstance(prm, MedPRM):
        raise InputError(f"prm must be a MedPRM (MedPRM.from_pretrained(...)), not {type(prm).__name__}")
    return prm


def stopping_rule(stop: object) -> Rule | None:
    """The stopping rule, checked.

    Raises:
        InputError: It is something else, such as the stop sequences of a language model.

    Example:
        >>> stopping_rule("confident=0.95")
        Confident(confidence=0.95, min_samples=3, max_samples=None, min_gain=0.01)
    """
    try:
        return given_rule(stop)
    except InputError as error:
        raise InputError(f"{error} (it says when to stop sampling; for stop sequences, llm.bind(stop=[…]))") from None


def tool_names(names: object) -> tuple[str, ...] | None:
    """The names of tools, checked; None for all tools.

    Raises:
        InputError: It is not a list of names.

    Example:
        >>> tool_names("search")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: evidence_tools must be a list of tool names
    """
    if names is None:
        return None
    if isinstance(names, Collection) and not isinstance(names, str | bytes):
        listed = tuple(names)
        if all(isinstance(name, str) for name in listed):
            return listed
    raise InputError("evidence_tools must be a list of tool names")


class ChoiceSettings(BaseModel):
    """How the reward model chooses. Unknown settings and invalid values are refused.

    Args:
        prm: The reward model.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward: one of `medprm_scorer.aggregate.AGGREGATES`.
        answer: Reads a chain's answer, as in `MedPRM.rank`; None uses the reward model's own function.
        options: The answers to choose from, as in `MedPRM.rank`; None reads them from the question.
        group: Decides which answers are equal, as in `MedPRM.rank`; None compares their wording.
        on_ranking: Called with each ranking, in the thread or task of its call.
        trust: Decides whether answers are trusted: a `Trust`, the path of its file, or `Floors`; None uses the reward
            model's own.
        on_doubt: What happens to an answer that is not trusted. `answer` gives it, with a caution in the ranking;
            `abstain` gives `doubt_answer` instead, and no text of a chain; `raise` raises a `DoubtfulAnswerError`; a
            function is called with the ranking (never awaited), and returns the text to answer with, or None to keep
            the answer; `interrupt` (LangGraph only) gives `doubt_answer` until a person has replied. A structured
            answer cannot be replaced by a sentence: the error is raised instead.
        doubt_answer: The sentence of `abstain`.
    """

    doubts: ClassVar[tuple[str, ...]] = ("answer", "abstain", "raise", "call")
    """The values of `on_doubt` that this class supports."""

    prm: Annotated[MedPRM, BeforeValidator(reward_model)] = Field(repr=False, exclude=True)
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    answer: AnswerFunction | None = Field(default=None, repr=False, exclude=True)
    options: Options | None = Field(default=None, repr=False, exclude=True)
    group: GroupFunction | None = Field(default=None, repr=False, exclude=True)
    on_ranking: Callable[[Ranking], None] | None = Field(default=None, repr=False, exclude=True)
    trust: Annotated[GivenTrust, BeforeValidator(given_trust)] = Field(default=None, repr=False, exclude=True)
    on_doubt: Annotated[OnDoubt, BeforeValidator(known_doubt)] = Field(default="answer", repr=False, exclude=True)
    doubt_answer: Annotated[str, BeforeValidator(check_doubt_answer)] = Field(
        default=DOUBT_ANSWER, repr=False, exclude=True
    )

    model_config = ConfigDict(
        arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=True, extra="forbid"
    )

    def __init__(self, *values: Any, **settings: Any) -> None:
        if values:
            name = type(self).__name__
            raise TypeError(f"{name} takes its settings by name: {name}(prm=…), and the others likewise")
        super().__init__(**settings)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say which setting was probably meant by one that is unknown."""
        try:
            return handler(values)
        except ValidationError as error:
            raise with_suggestions(error, cls.model_fields) from None

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as a `MedPRM` does; copies share the `MedPRM`."""
        self.prm.__reduce__()

    @property
    def choice(self) -> dict[str, Any]:
        """The settings of `MedPRM.rank_batch`."""
        judge = self.judge
        trust = judge.for_samples(self.stops) if isinstance(judge, Trust) else judge
        return {name: getattr(self, name) for name in ("strategy", "aggregate", "answer", "group")} | {"trust": trust}

    @property
    def judge(self) -> Trust | Floors | None:
        """Decides whether answers are trusted."""
        return given_trust(self.trust) or self.prm.trust

    @property
    def stops(self) -> str | None:
        """The name of the rule by which sampling stops; None if nothing is sampled here."""
        return None

    @property
    def most_candidates(self) -> int | None:
        """The most candidates that a question can have; None if it is not known."""
        return None

    @model_validator(mode="after")
    def _can_doubt(self) -> Self:
        refuse_doubt(self.on_doubt, self.doubts)
        trust = self.judge
        if trust is not None:
            trust.check(self.prm.settings, self.strategy, self.aggregate, self.stops)
            most, own = self.most_candidates, self.trust  # those of the MedPRM are for other uses, too
            if isinstance(own, Floors) and most is not None and (own.min_votes or 0) > most:
                raise ValueError(f"min_votes must be at most {most}, the number of candidates: else nothing is trusted")
        elif self.on_doubt != "answer":
            raise ValueError("on_doubt needs trust=, here or on the MedPRM: without it, nothing is ever in doubt")
        return self


class EvaluatorSettings(ChoiceSettings):
    """How one answer is judged."""

    model_config = ConfigDict(title="MedPRMEvaluator")  # the name in its errors

    @property
    @override
    def most_candidates(self) -> int | None:
        return 1


class SamplingSettings(ChoiceSettings):
    """How samples are drawn, in addition to how one of them is chosen.

    Args:
        n: How many samples are wanted.
        max_concurrency: Most simultaneous calls of the language model, over all calls of the object; None takes the
            value of LangChain's run configuration if there is one, otherwise 8.
        stop: When fewer than n samples are enough. `confident` (or `Confident(…)`): as soon as the leading answer will
            very likely stay ahead, by its rewards; samples are then scored as they arrive. `agree` (or `Agree(k)`): as
            soon as k samples, 3 by default, give the same answer. Samples that are still running are cancelled. None
            draws all n.
        agree: `agree=k` is short for `stop=Agree(k)`; from 2 to n.
        rules: Keep only chains with the right number of steps, and draw more to replace the others: `SamplingRules()`
            has the paper's 3 to 9 steps and 1.25 times as many draws. None draws n and keeps all.
        timeout: Seconds after which one sample counts as failed; None leaves that to the language model.
        deadline: Seconds after which the whole call draws no more and ranks the samples it has; None for no deadline.
        replacements: How many failed samples are replaced by others, per question; with `rules`, missing ones are drawn
            anyway. None are replaced before another sample has arrived, so that a refused request is not sent n times.
        quorum: The fewest samples that must arrive as candidates; fewer are an error (`ScoringError`).
        max_tokens_total: Most tokens of all samples of a question together, by the usage that the language model
            reports: no sample is started that would exceed it at the mean cost so far. Samples of the first wave may,
            since no cost is known yet. None for no limit.
        several_per_call: Request samples that start together in one call, so that the prompt is billed once, if the
            language model takes `n`, as OpenAI's and compatible ones do. If it refuses that, or returns fewer, the
            missing ones are requested one by one.
        on_sample: Called with a `SampleSeen` as soon as a sample has arrived and is scored, in the thread or task of
            the call, for example for a progress bar.
        answer_field: Name of the field that holds the answer in structured output; None finds it by its name.
        keep: Which part of a ranking goes into the metadata of the answer, and so into checkpoints and traces: `winner`
            (no text of a losing chain), `all`, `figures` or `none`; see `ranking_metadata.Keep`. `on_ranking` always
            gets everything.
        explain: Record in the answer's metadata which documents support the winner and which contradict it, as
            `RankingMetadata` describes. This costs tokens of the reward model, and their number is reported; see
            docs/explain.md.
        question: Your own function that returns the judged question, from what the class receives: the input
            (`MedPRMBestOfN`), the messages, the `ModelRequest` (middleware), the query (LlamaIndex). None takes the
            question as asked; in a conversation, the user's turns, joined as in `questions.put_together`.
    """

    n: Annotated[int, Field(ge=1, le=1024, strict=True)] = DEFAULT_N  # so that a typing error does not become expensive
    max_concurrency: Annotated[int, Field(ge=1, strict=True)] | None = None
    stop: Annotated[Confident | Agree | Literal["confident", "agree"] | None, BeforeValidator(stopping_rule)] = None
    agree: Annotated[int, Field(ge=2, strict=True)] | None = None
    rules: SamplingRules | None = None
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    replacements: Annotated[int, Field(ge=0, strict=True)] = DEFAULT_REPLACEMENTS
    quorum: Annotated[int, Field(ge=1, strict=True)] = 1
    max_tokens_total: Annotated[int, Field(ge=1, strict=True)] | None = None
    several_per_call: bool = False
    on_sample: Callable[[Any], None] | None = Field(default=None, repr=False, exclude=True)
    answer_field: str | None = None
    keep: Keep = "winner"
    explain: Annotated[bool, Field(strict=True)] = False
    question: Callable[[Any], str] | None = Field(default=None, repr=False, exclude=True)

    _calls_in_flight: CallsInFlight = PrivateAttr(default_factory=CallsInFlight)

    @model_validator(mode="after")
    def _can_stop(self) -> Self:
        if self.agree is not None and self.stop is not None:
            raise ValueError("pass stop or agree, which is short for stop=Agree(k), but not both")
        rule = self.rule
        if isinstance(rule, Agree) and rule.samples > self.n:
            raise ValueError(f"agree must be at most n: {rule.samples} of {self.n} samples cannot agree")
        if isinstance(rule, Confident) and rule.max_samples is not None and rule.max_samples > self.n:
            raise ValueError(f"at most n samples are drawn: max_samples must be at most {self.n}, or n larger")
        if self.quorum > self.n:
            raise ValueError(f"quorum must be at most n, which is {self.n}")
        return self

    @property
    def rule(self) -> Rule | None:
        """The rule by which fewer than n samples are enough."""
        return given_rule(self.stop) if self.agree is None else Agree(self.agree)

    @property
    @override
    def stops(self) -> str | None:
        rule = self.rule
        return "none" if rule is None else rule.name

    @property
    @override
    def most_candidates(self) -> int | None:
        return self.n

    @property
    def calls_in_flight(self) -> CallsInFlight:
        """The running calls of the language model for this object and its copies."""
        return self._calls_in_flight

    def asked(self, given: Any, default: Callable[[], Asked]) -> Asked:
        """The judged question: from the user's function, or the default."""
        return default() if self.question is None else Asked(self.question(given))

    def check(self) -> None:
        """Check again what may have been assigned since the object was made, before anything is paid for.

        Raises:
            InputError: A setting is out of its range or of the wrong kind.
        """
        refuse_doubt(self.on_doubt, self.doubts)
        try:
            _Checked(**{name: getattr(self, name) for name in SamplingSettings.model_fields})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise InputError(f"{name}: {first['msg']}" if name else first["msg"]) from None

    @model_validator(mode="before")
    @classmethod
    def _point_to_the_model(cls, values: Any) -> Any:
        """Say where the language model's own settings belong."""
        llm = values.get("llm") if isinstance(values, dict) else None
        for name in () if llm is None else values:
            if name not in cls.model_fields and (
                name in OF_THE_MODEL or name in getattr(type(llm), "model_fields", {})
            ):
                raise ValueError(f"unknown setting {name!r}: set it on llm")
        return values


class _Checked(SamplingSettings):
    doubts: ClassVar[tuple[str, ...]] = (*SamplingSettings.doubts, "interrupt")


class ConversationSettings(SamplingSettings):
    """Where a conversation's question and evidence come from, in addition to how its answers are sampled.

    Args:
        evidence: Your own function from the messages (middleware: from the `ModelRequest`) to documents, which come
            before those of the tools; it may be async in async use.
        evidence_tools: Names of the tools whose results are evidence; None for all, an empty list for none. The newest
            results come first within the reward model's budget for documents.
        is_answer: Your own function that decides, from the messages (middleware: from the `ModelRequest`), whether the
            call is an answer to the user. If not, the call runs once and is not judged. None takes the framework's
            default rule.
    """

    is_answer: Callable[[Any], bool] | None = Field(default=None, repr=False, exclude=True)
    evidence: Callable[[Any], Any] | None = Field(default=None, repr=False, exclude=True)
    evidence_tools: Annotated[Sequence[str], BeforeValidator(tool_names)] | None = None


class SamplingOptions(TypedDict, total=False):
    """The settings of `SamplingSettings` except `prm`, as arguments of classes that are not pydantic models."""

    n: int
    strategy: Strategy
    aggregate: Aggregate
    answer: AnswerFunction | None
    options: Options | None
    group: GroupFunction | None
    on_ranking: Callable[[Ranking], None] | None
    trust: GivenTrust
    on_doubt: OnDoubt
    doubt_answer: str
    max_concurrency: int | None
    stop: Confident | Agree | Literal["confident", "agree"] | None
    agree: int | None
    rules: SamplingRules | None
    timeout: float | None
    deadline: float | None
    replacements: int
    quorum: int
    max_tokens_total: int | None
    several_per_call: bool
    on_sample: Callable[[Any], None] | None
    answer_field: str | None
    keep: Keep
    explain: bool
    question: Callable[[Any], str] | None


class ConversationOptions(SamplingOptions, total=False):
    """The settings of `ConversationSettings` except `prm`, as arguments."""

    evidence: Callable[[Any], Any] | None
    evidence_tools: Sequence[str] | None
    is_answer: Callable[[Any], bool] | None
