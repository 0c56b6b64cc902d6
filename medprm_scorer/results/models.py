"""Input and output: `RankRequest`, `ScoredStep`, `ScoredChain`, `Vote` and `Ranking`.

All are pydantic models that can be written with `model_dump_json()` and read back. Their `repr` and their validation
errors never show text of a question, a document or a candidate, since both end up in logs and traces; `str(ranking)` is
for a person at a terminal and does show it.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.errors import ScoringError
from medprm_scorer.results import page, terminal
from medprm_scorer.sampling.drawing import Stopped
from medprm_scorer.text.sanitize import valid_unicode

Text = Annotated[str, BeforeValidator(lambda value: valid_unicode(value) if isinstance(value, str) else value)]


class Result(BaseModel):
    """The base class of all of them: frozen, and without request text in `repr` or in validation errors."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    def _summary(self) -> str:
        """The part of `repr` between the brackets: only numbers, no text of the request."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary()})"

    def __str__(self) -> str:
        return repr(self)

    def __repr_args__(self) -> Any:  # pydantic and rich build their displays from this
        return [(None, self._summary())]

    def __rich_repr__(self) -> Iterator[str]:
        yield self._summary()


class TaggedSolution(Result):
    """The texts of a candidate that already have step tags, as stored in the released test set.

    Args:
        steps: `prm_processed_solution`: scored unchanged instead of the candidate; None if there is none.
        outcome: `orm_processed_solution`: the same in outcome mode.
    """

    steps: Text | None = None
    outcome: Text | None = None

    def _summary(self) -> str:
        return f"steps={self.steps is not None}, outcome={self.outcome is not None}"


class RankRequest(Result):
    """One question with the answers to choose from.

    Args:
        question: The question, including its answer options.
        candidates: Each is a whole chain of thought, or a list of its steps.
        documents: Retrieved documents, most relevant first.
        id: The caller's own name for the request; returned in its result.
        options: The answers to choose from, by letter, or in order from A; None reads them from the question.
        answers: Each candidate's answer if it is known, otherwise None to read it from the text; None reads all of
            them.
        truncated: Indices of the candidates that were cut off before their end, from 0.
        tagged: Texts with step tags, one entry for each candidate; empty if no candidate has any.
        options_appended: Whether the question's options were in a separate field and were appended.

    Example:
        >>> RankRequest(question="…", candidates=["Step 1: … The answer is (A)"])
        RankRequest(1 candidates, 0 documents)
    """

    question: Text
    candidates: list[Text | list[Text]]
    documents: list[Text] = Field(default_factory=list)
    id: Text | int | None = None
    options: dict[str, Text] | list[Text] | None = None
    answers: list[Text | None] | None = None
    truncated: list[int] = Field(default_factory=list)
    tagged: list[TaggedSolution] = Field(default_factory=list)
    options_appended: bool = False

    def _summary(self) -> str:
        return f"{len(self.candidates)} candidates, {len(self.documents)} documents"


class ScoredStep(Result):
    """One step of a chain and its reward.

    Args:
        text: The step as the model read it.
        reward: P(+) at the step's tag, in [0, 1].
    """

    text: Text
    reward: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)

    def _summary(self) -> str:
        return f"reward={self.reward:.4f}"


class ScoredChain(Result):
    """One candidate with the reward of each of its steps.

    Args:
        index: Index of the candidate in the input, from 0.
        text: The candidate's text; a list of steps is joined by newlines.
        steps: The steps with their rewards; empty if the candidate could not be scored.
        answer: The answer that the chain gives, or None if it gives none.
        error: Why the candidate could not be scored, or None.
        declined: Whether the chain says that it cannot answer.
        truncated: Whether the chain was cut off before its end, according to the caller.
        split_by: The rule that split it into steps (see `SPLIT_RULES`); None if it could not be scored.
    """

    index: int = Field(ge=0)
    text: Text
    steps: list[ScoredStep] = Field(default_factory=list)
    answer: Text | None = None
    error: Text | None = None
    declined: bool = False
    truncated: bool = False
    split_by: str | None = None

    @property
    def step_rewards(self) -> list[float]:
        """The rewards of the steps, in order, each in [0, 1]."""
        return [step.reward for step in self.steps]

    def reward(self, aggregate: str = "min") -> float:
        """The reward of the whole chain, in [0, 1].

        Args:
            aggregate: One of `min last mean prod geomean max min_of_three`; the paper uses `min`.

        Raises:
            ScoringError: The chain has no reward, since it could not be scored.
            InputError: The aggregate is unknown.
        """
        if self.error is not None or not self.steps:
            raise ScoringError(f"candidate {self.index} has no reward: {self.error or 'it has no steps'}")
        return aggregate_rewards(self.step_rewards, aggregate)

    def _summary(self) -> str:
        if self.error is not None:
            return f"index={self.index}, error={self.error!r}"
        return f"index={self.index}, step_rewards={[round(reward, 4) for reward in self.step_rewards]}"


class Vote(Result):
    """The votes for one answer.

    Args:
        answer: The answer in the wording of the first chain that gave it; `(declined)` for those that decline to
            answer.
        count: Number of scored chains that gave it.
        weight: Sum of their chain rewards.
        share: This answer's share of all votes, in [0, 1]: of the counts under `majority_vote`, otherwise of the
            weights.
        declined: Whether this is the vote of the chains that decline to answer.
    """

    answer: Text
    count: int = Field(ge=1)
    weight: float = Field(ge=0.0)
    share: float = Field(ge=0.0, le=1.0)
    declined: bool = False

    def _summary(self) -> str:
        return f"count={self.count}, weight={self.weight:.4f}, share={self.share:.4f}"


class Ranking(Result):
    """The candidates of one question, best first, and how the best was chosen.

    Args:
        best: The winning chain.
        chains: Every candidate: the winner, then the others by chain reward, then those that were cut off while others
            were not, then those that could not be scored.
        answer: The winning answer; None if the winner gives none or declines.
        votes: One entry per answer, the winner first.
        strategy: The strategy that decided; `best_of_n` if a vote was requested but the chains that give an answer held
            less than half of all reward, or no chain gave one.
        aggregate: How step rewards became a chain reward.
        question: The question.
        documents_used: How many documents, counted from the first, fitted in the budget and were read.
        documents_given: How many documents there were.
        prompt_tokens: Tokens of all prompts, each counted in full: what scoring them one by one would run.
        unique_tokens: Tokens that were actually run: the shared prefix once, and each candidate up to its last tag,
            without those from the cache (`cache=`).
        seconds: Wall-clock time of scoring and selection.
        id: The request's own id, if it had one.
        declined: Whether the winner says that it cannot answer.
        documents_read: Indices of the documents that were read, from 0.
        stopped: Why no more candidates were sampled: `confident` or `agree` (the stopping rule was satisfied), `all`
            (all wanted samples arrived), `budget`, `deadline`, or `quorum` (fewer arrived, but at least the required
            number); None if the candidates were given.
        samples_drawn: How many samples were requested, including those that failed or were cancelled; None if the
            candidates were given.
        cautions: What to know before relying on the answer, in sentences without any text of the request; usually
            empty. `medprm_scorer.results.facts.cautions` has the list.
        confidence: Calibrated probability that the answer is right, in [0, 1]; None without a matching calibration.
        trusted: Whether the answer is trusted, as decided by `trust=`; None if that was not given.
        options_given: Whether the answers to choose from were passed beside the question, as `options`.
    """

    best: ScoredChain
    chains: list[ScoredChain]
    answer: Text | None
    votes: list[Vote]
    strategy: str
    aggregate: str
    question: Text
    documents_used: int = Field(ge=0)
    documents_given: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    unique_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0.0)
    id: Text | int | None = None
    declined: bool = False
    documents_read: list[int] = Field(default_factory=list)
    stopped: Stopped | None = None
    samples_drawn: int | None = Field(default=None, ge=0)
    cautions: list[Text] = Field(default_factory=list)
    confidence: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    trusted: bool | None = None
    options_given: bool = False

    def _summary(self) -> str:
        return f"best={self.best.index}, {len(self.chains)} candidates, strategy={self.strategy!r}"

    def __str__(self) -> str:
        return terminal.to_text(self)

    def to_html(self, documents: Sequence[str] = ()) -> str:
        """One self-contained HTML page: every chain, step by step, coloured by reward, all text escaped.

        Args:
            documents: The documents of the request, which a ranking does not hold: the page then also shows them, and
                which of them were read.

        Raises:
            InputError: Their number is not that of the ranking.
        """
        return page.to_html(self, documents)

    def _repr_html_(self) -> str:
        return page.to_html_fragment(self)
