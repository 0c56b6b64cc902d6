"""The settings of answers that are searched for step by step (`search=`), and what does not go with them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator
from typing_extensions import Self, override

from medprm_integrations.shared.settings import DEFAULT_CONCURRENCY, SamplingSettings
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import check_count
from medprm_scorer.search import AsyncPolicy, Beam, Dvts, EarlyRejection, Limits, Policy
from medprm_scorer.search.options import Settings
from medprm_scorer.search.policy import check_policy

FIGURES = "search"
"""Where an answer's metadata say what its search has cost, beside the ranking; no text from outside."""

_NOT_WITH_SEARCH = (
    *("n", "stop", "agree", "rules", "replacements", "quorum", "timeout", "deadline", "max_tokens_total"),
    *("on_sample", "answer_field", "several_per_call"),
)


@dataclass(frozen=True)
class StepSearch:
    """How an answer is searched for while it is written. **No search was ever run with the released weights.**

    Args:
        method: A `Beam`, `Dvts` or `EarlyRejection` of `medprm_scorer.search`, with its numbers.
        limits: What it may cost.
        seed: The same seed gives the same search with a provider that draws from it.
        retriever: Asked for more documents with the newest step of each chain that is continued: a retriever of the
            framework, or a function from that text to a list of documents; async is fine where it is used async. What
            it finds joins the evidence of both models at its end. Not with `EarlyRejection`.
        max_documents: Most documents that it may add.
        max_step_tokens: A step that has no end after so many tokens is cut off.
        policy: Writes the steps in place of the `llm`: a policy of `medprm_scorer.search`, such as `ServerPolicy`.
        check: False leaves out the trial whether the provider of the `llm` continues an answer that was begun, which
            is made once, before the first question.

    Raises:
        InputError: One of them is out of its range or of the wrong kind.
    """

    method: Beam | Dvts | EarlyRejection = field(default_factory=Beam)
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    retriever: Any = field(default=None, repr=False)
    max_documents: int = 8
    max_step_tokens: int = 256
    policy: Policy | AsyncPolicy | None = field(default=None, repr=False)
    check: bool = True

    def __post_init__(self) -> None:
        method: object = self.method
        if not isinstance(method, Beam | Dvts | EarlyRejection):
            kind = type(method).__name__
            raise InputError(f"the method of a search must be a Beam, a Dvts or an EarlyRejection, not {kind}")
        check_count("max_step_tokens", self.max_step_tokens)
        Settings(seed=self.seed, limits=self.limits, max_documents=self.max_documents)
        if self.policy is not None:
            check_policy(self.policy, awaited=True)


GivenSearch = StepSearch | Beam | Dvts | EarlyRejection | None
"""What `search=` takes: how to search, or its method alone; None draws whole samples."""


def given_search(search: object) -> StepSearch | None:
    """What was given as `search=`: a `StepSearch`, its method alone, or None.

    Raises:
        InputError: It is something else.

    Example:
        >>> given_search(Beam(width=2)).method
        Beam(width=2, expansions=4, rank_by='min')
        >>> given_search("beam")
        Traceback (most recent call last):
        medprm_scorer.errors.InputError: search must be a StepSearch, a Beam, a Dvts or an EarlyRejection, not str
    """
    if search is None or isinstance(search, StepSearch):
        return search
    if isinstance(search, Beam | Dvts | EarlyRejection):
        return StepSearch(search)
    raise InputError(f"search must be a StepSearch, a Beam, a Dvts or an EarlyRejection, not {type(search).__name__}")


class SearchingSettings(SamplingSettings):
    """How answers are drawn, whole or step by step.

    Args:
        search: Choose among steps while they are written, in place of whole samples: a `StepSearch`, or its method
            alone (`Beam(width=4)`). What belongs to whole samples (`n`, `stop`, …) is then refused. None draws samples.
    """

    search: Annotated[StepSearch | None, BeforeValidator(given_search)] = Field(default=None, exclude=True)

    _policies: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    @override
    def stops(self) -> str | None:
        return super().stops if self.search is None else FIGURES

    @model_validator(mode="after")
    def _can_search(self) -> Self:
        if self.search is None:
            return self
        given = self.model_fields_set.intersection(_NOT_WITH_SEARCH)
        known = type(self).model_fields
        for name in _NOT_WITH_SEARCH:
            if name in given and getattr(self, name) != known[name].default:
                raise ValueError(
                    f"{name} is for whole samples and does not go with search=: the numbers of a search are those of "
                    "its method, and what it may cost is StepSearch(limits=Limits(…))"
                )
        retriever = None if self.search.retriever is None else str  # in place of one of the framework
        self.search.method.check(Settings(self.strategy, self.aggregate, retriever=retriever))
        return self

    def policy_of(self, kind: Callable[..., Any], llm: object) -> Any:
        """The policy of the language model, made once: its trial is made once, too.

        Args:
            kind: The framework's class of policies.
            llm: The language model.
        """
        how = self.search
        assert how is not None
        if "llm" not in self._policies:
            most = self.max_concurrency or DEFAULT_CONCURRENCY
            self._policies["llm"] = kind(llm, max_step_tokens=how.max_step_tokens, concurrency=most, check=how.check)
        return self._policies["llm"]
