"""The settings that the integrations share, checked by pydantic when an object is made."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self, TypedDict

from medprm_integrations.shared.questions import Asked
from medprm_integrations.shared.ranking_metadata import Keep
from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking
from medprm_scorer.results.request_parsing import MEANT_DOCUMENTS
from medprm_scorer.sampling.sample_rounds import SamplingRules
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import Strategy
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction

DEFAULT_N = 8
"""Samples of one question; the paper's curves are steep up to about here."""

DEFAULT_CONCURRENCY = 8
"""Most calls of a language model at once, unless the user says otherwise."""

OF_A_CALL = ("temperature", "top_p", "top_k", "seed", "stop", "max_tokens", "max_completion_tokens")
"""Settings of the language model that a call of it takes, too."""

OF_THE_MODEL = (
    *OF_A_CALL,
    *("model", "model_name", "api_key", "api_base", "base_url", "timeout", "max_retries", "streaming"),
)
"""Settings that people look for here and that belong to the language model."""

_LONGEST_KEY = 40


def reward_model(prm: Any) -> MedPRM:
    """The reward model that somebody gave.

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


def tool_names(names: object) -> tuple[str, ...] | None:
    """The names of tools as a user gave them; None for all tools.

    Raises:
        InputError: It is no list of names.

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
    """How the reward model chooses. A setting that is not known is refused, and so is a wrong one.

    Args:
        prm: The reward model.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward: one of `medprm_scorer.aggregate.AGGREGATES`.
        answer: Reads a chain's answer, as in `MedPRM.rank`; None takes the reward model's own.
        options: The answers to choose from, as in `MedPRM.rank`; None reads them from the question.
        group: Says which answers are equal, as in `MedPRM.rank`; None compares their wording.
        on_ranking: Called with each ranking, in the thread or task of the call that it answers.
    """

    prm: Annotated[MedPRM, BeforeValidator(reward_model)] = Field(repr=False, exclude=True)
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"
    answer: AnswerFunction | None = Field(default=None, repr=False, exclude=True)
    options: Options | None = Field(default=None, repr=False, exclude=True)
    group: GroupFunction | None = Field(default=None, repr=False, exclude=True)
    on_ranking: Callable[[Ranking], None] | None = Field(default=None, repr=False, exclude=True)

    model_config = ConfigDict(
        arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=True, extra="forbid"
    )

    def __init__(self, *values: Any, **settings: Any) -> None:
        if values:
            name = type(self).__name__
            raise TypeError(f"{name} takes its settings by name: {name}(prm=…), and the others likewise")
        super().__init__(**settings)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as a `MedPRM` does; copies share it."""
        self.prm.__reduce__()

    @property
    def choice(self) -> dict[str, Any]:
        """The settings of `MedPRM.rank_batch`."""
        return {name: getattr(self, name) for name in ("strategy", "aggregate", "answer", "group")}


class SamplingSettings(ChoiceSettings):
    """How samples are drawn, beside how one of them is chosen.

    Args:
        n: How many samples are wanted.
        max_concurrency: Most calls of the language model at once; None takes that of LangChain's run configuration
            where there is one, else 8.
        agree: Draw no more once so many samples give the same answer, from 2 to n; None draws all n.
        rules: Keep only chains with so many steps and draw more for those that are missing: `SamplingRules()` has the
            paper's 3 to 9 steps and 1.25 times as many draws. None draws n and keeps all.
        answer_field: Name of the field that holds the answer in structured output; None finds it by its name.
        keep: What of a ranking goes into the metadata of the answer, and so into checkpoints and traces: `winner` (no
            text of a losing chain), `all`, `figures` or `none`, as `ranking_metadata.Keep` says. `on_ranking` always
            gets all.
        question: Your own function to the question that is judged, from what the class is given: the input
            (`MedPRMBestOfN`), the messages, the `ModelRequest` (middleware), the query (LlamaIndex). None takes what
            was asked; in a conversation the user's turns, put together as in `questions.put_together`.
    """

    n: Annotated[int, Field(ge=1, le=1024, strict=True)] = DEFAULT_N  # so that a slip does not become a bill
    max_concurrency: Annotated[int, Field(ge=1, strict=True)] | None = None
    agree: Annotated[int, Field(ge=2, strict=True)] | None = None
    rules: SamplingRules | None = None
    answer_field: str | None = None
    keep: Keep = "winner"
    question: Callable[[Any], str] | None = Field(default=None, repr=False, exclude=True)

    @model_validator(mode="after")
    def _can_agree(self) -> Self:
        if self.agree is not None and self.agree > self.n:
            raise ValueError(f"agree must be at most n: {self.agree} of {self.n} samples cannot agree")
        return self

    def asked(self, given: Any, default: Callable[[], Asked]) -> Asked:
        """The question that is judged: as the user's function says, or the default."""
        return default() if self.question is None else Asked(self.question(given))

    def check(self) -> None:
        """Look again at what may have been assigned since the object was made, before anything is paid for.

        Raises:
            InputError: A setting is out of its range or of the wrong kind.
        """
        try:
            SamplingSettings(**{name: getattr(self, name) for name in SamplingSettings.model_fields})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise InputError(f"{name}: {first['msg']}" if name else first["msg"]) from None

    @model_validator(mode="before")
    @classmethod
    def _point_to_the_model(cls, values: Any) -> Any:
        """Say of the language model's own settings where they belong."""
        llm = values.get("llm") if isinstance(values, dict) else None
        for name in () if llm is None else values:
            if name not in cls.model_fields and (
                name in OF_THE_MODEL or name in getattr(type(llm), "model_fields", {})
            ):
                raise ValueError(f"unknown setting {name!r}: set it on llm")
        return values


class ConversationSettings(SamplingSettings):
    """Where a conversation's question and evidence come from, beside how its answers are sampled.

    Args:
        evidence: Your own function from the messages (middleware: from the `ModelRequest`) to documents, which come
            before those of the tools; async is fine where it is used async.
        evidence_tools: Names of the tools whose results are evidence; None for all, an empty list for none. The newest
            results come first within the reward model's budget for documents.
        is_answer: Your own function from the messages (middleware: from the `ModelRequest`) to whether the call is an
            answer to the user. Where it is not, the call goes through once and is not judged. None takes the rule of
            the framework's part.
    """

    is_answer: Callable[[Any], bool] | None = Field(default=None, repr=False, exclude=True)
    evidence: Callable[[Any], Any] | None = Field(default=None, repr=False, exclude=True)
    evidence_tools: Annotated[Sequence[str], BeforeValidator(tool_names)] | None = None


class SamplingOptions(TypedDict, total=False):
    """The settings of `SamplingSettings` but for `prm`, as arguments of classes that are no pydantic models."""

    n: int
    strategy: Strategy
    aggregate: Aggregate
    answer: AnswerFunction | None
    options: Options | None
    group: GroupFunction | None
    on_ranking: Callable[[Ranking], None] | None
    max_concurrency: int | None
    agree: int | None
    rules: SamplingRules | None
    answer_field: str | None
    keep: Keep
    question: Callable[[Any], str] | None


class ConversationOptions(SamplingOptions, total=False):
    """The settings of `ConversationSettings` but for `prm`, as arguments."""

    evidence: Callable[[Any], Any] | None
    evidence_tools: Sequence[str] | None
    is_answer: Callable[[Any], bool] | None


def checked_keys(value: object, needed: Sequence[str]) -> Mapping[str, Any]:
    """An input that has the keys that are needed, and no documents under a name where nobody looks for them.

    Other keys stay allowed: a chain's dict carries more than one step needs.

    Args:
        value: The input.
        needed: The keys that it must have.

    Raises:
        InputError: It is no dict, a key is missing, or `documents` is and something that looks like it is there.

    Example:
        >>> checked_keys({"query": "Which dose?"}, ["question"])
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: the key 'question' is missing (there is 'query')
    """
    if not isinstance(value, Mapping):
        form = "".join(f'"{key}": {"…" if key == "question" else "[…]"}, ' for key in needed)
        raise InputError(f'the input must be a dict: {{{form}"documents": […]}}')
    missing = [key for key in needed if key not in value]
    if missing:
        are = "key {} is" if len(missing) == 1 else "keys {} are"
        raise InputError(f"the {are.format(_listed(missing))} missing ({_there(value)})")
    if value.get("documents") is None:
        for key in MEANT_DOCUMENTS:
            if key in value:
                raise InputError(f"unknown key {key!r}: documents go under the key documents")
    return value


def _there(value: Mapping[Any, Any]) -> str:
    """The keys that are there; only names, since a key that is a whole text may be a patient's."""
    names = [key for key in value if isinstance(key, str) and key.isidentifier() and len(key) <= _LONGEST_KEY]
    if not names:
        return "there is none that is a name" if value else "the dict is empty"
    return f"there {'is' if len(names) == 1 else 'are'} {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} and {last}" if others else last
