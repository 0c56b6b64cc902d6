"""The settings of step-by-step search (`search=`), and which other settings it excludes."""

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
"""The key of a search's cost in an answer's metadata, next to the ranking; it holds no text of the request."""

_NOT_WITH_SEARCH = (
    *("n", "stop", "agree", "rules", "replacements", "quorum", "timeout", "deadline", "max_tokens_total"),
    *("on_sample", "answer_field", "several_per_call"),
)


@dataclass(frozen=True)
class StepSearch:
    """How to search among steps while an answer is written. **No search was ever run with the released weights.**

    Args:
        method: A `Beam`, `Dvts` or `EarlyRejection` of `medprm_scorer.search`, with its numbers.
        limits: Limits on its cost.
        seed: The same seed gives the same search, if the provider samples with it.
        retriever: Finds more documents with the newest step of each chain that is continued: a retriever of the
            framework, or a function from that text to a list of documents; it may be async in async use. The documents
            found are appended to the evidence of both models. Not with `EarlyRejection`.
        max_documents: Most documents that it may add.
        max_step_tokens: A step that has not ended after so many tokens is cut off.
        policy: Writes the steps instead of the `llm`: a policy of `medprm_scorer.search`, such as `ServerPolicy`.
        check: False skips the trial, once before the first question, whether the provider of the `llm` continues the
            beginning of an answer.

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
"""The values of `search=`: the settings of a search, or only its method; None draws whole samples."""


def given_search(search: object) -> StepSearch | None:
    """The value of `search=`, checked: a `StepSearch`, only its method, or None.

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
    """Whether answers are drawn whole or step by step.

    Args:
        search: Choose among steps while they are written, instead of whole samples: a `StepSearch`, or only its method
            (`Beam(width=4)`). Settings of whole samples (`n`, `stop`, …) are then refused. None draws samples.
    """

    search: Annotated[StepSearch | None, BeforeValidator(given_search)] = Field(default=None, exclude=True)

    _policies: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    @override
    def stops(self) -> str | None:
        return super().stops if self.search is None else FIGURES

    @property
    @override
    def most_candidates(self) -> int | None:
        return super().most_candidates if self.search is None else None

    @model_validator(mode="after")
    def _can_search(self) -> Self:
        if self.search is None:
            return self
        given = self.model_fields_set.intersection(_NOT_WITH_SEARCH)
        known = type(self).model_fields
        for name in _NOT_WITH_SEARCH:
            if name in given and getattr(self, name) != known[name].default:
                raise ValueError(
                    f"{name} is for whole samples, not for search=: the numbers of a search are those of "
                    "its method, and its cost is limited by StepSearch(limits=Limits(…))"
                )
        retriever = None if self.search.retriever is None else str  # instead of the framework's
        self.search.method.check(Settings(self.strategy, self.aggregate, retriever=retriever))
        return self

    def policy_of(self, kind: Callable[..., Any], llm: object) -> Any:
        """The policy of the language model; it is made once, and so is its trial.

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
