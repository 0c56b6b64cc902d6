"""What `MedPRM.explain` gives: which documents carry, or contradict, each step of a chain.

Steps and documents are counted from 0 here and in JSON, and from 1 wherever they are shown to a reader.
"""

from typing import Literal

from pydantic import Field

from medprm_scorer.results import explanation_page, explanation_terminal
from medprm_scorer.results.facts import weakest_step
from medprm_scorer.results.models import Result, ScoredChain, Text

NOISE = 2.0
"""Smallest effect that counts, in log-odds: odds that are 7.4 times as high. Leaving out a document that a step has
nothing to do with changes the places and numbers of the others, and moved the demo model's log-odds by less than this
in 9 of 10 cases (`python -m benchmarks.attribution`; chosen on 100 other questions)."""

Verdict = Literal["supports", "contradicts", "nothing"]
"""What a document does to a step."""


class Effect(Result):
    """By how much one document moves one step.

    Args:
        step: Place of the step, from 0.
        document: Place of the document, from 0.
        without: Log-odds of the step with all documents, less those without this one: as it is added last.
        alone: Log-odds with this document only, less those with none.
        shapley: Mean of what it adds over random orders of the documents; None if it was not asked for.
        moves: The number by which the verdict is given: `shapley`, or else `without`, or else, for a document that is
            repeated by others, `alone`, at most what all documents move together and none by itself.
        verdict: `supports` or `contradicts`, from the noise threshold on; else `nothing`.
        repeated: Whether other documents do the same: leaving any of them out changes nothing, and each alone moves the
            step as all of them do.
    """

    step: int = Field(ge=0)
    document: int = Field(ge=0)
    without: float = Field(allow_inf_nan=False)
    alone: float = Field(allow_inf_nan=False)
    shapley: float | None = Field(default=None, allow_inf_nan=False)
    moves: float = Field(allow_inf_nan=False)
    verdict: Verdict
    repeated: bool = False

    def _summary(self) -> str:
        return f"step={self.step}, document={self.document}, without={self.without:.2f}, alone={self.alone:.2f}"


class SentenceEffect(Result):
    """By how much one sentence of a document moves one step.

    Args:
        step: Place of the step, from 0.
        document: Place of the document, from 0.
        start: Where the sentence begins in the document's text.
        end: Where it ends.
        without: Log-odds of the step with all documents, less those with this sentence left out.
    """

    step: int = Field(ge=0)
    document: int = Field(ge=0)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    without: float = Field(allow_inf_nan=False)

    def _summary(self) -> str:
        return f"step={self.step}, document={self.document}, {self.start}:{self.end}, without={self.without:.2f}"


class Cost(Result):
    """What an explanation took.

    Args:
        prompts: Different prompts, each with its own choice of documents.
        prompt_tokens: Their tokens, each prompt and chain counted whole.
        unique_tokens: Tokens left where what they begin with alike is run once.
        seconds: Wall-clock time.
    """

    prompts: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    unique_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0.0)

    def _summary(self) -> str:
        return f"{self.prompts} prompts, {self.unique_tokens} tokens"


class Explanation(Result):
    """Which documents carry each step of a chain, by the reward model.

    It says what the rewards depend on, not what is true: a document supports a step if the model believes the step more
    for having read it.

    Args:
        chain: The chain, with the rewards that it has with all documents.
        question: The question.
        documents: All documents, the ones that were not read included.
        documents_read: Places of those that were read; only these have effects.
        log_odds: Of each step, with all documents that were read.
        log_odds_without_documents: Of each step, with none.
        effects: By step, then by document.
        sentences: By step, for its `carriers`, each of their sentences; empty if not asked for.
        noise: Smallest effect that counts, in log-odds.
        permutations: Random orders behind the Shapley values; 0 without.
        cost: Of the whole call.
        cautions: What to know before relying on it, in sentences without any text from outside.
        runner_up: The same for the best chain with another answer, if it was asked for and there is one.
    """

    chain: ScoredChain
    question: Text
    documents: list[Text]
    documents_read: list[int]
    log_odds: list[float]
    log_odds_without_documents: list[float]
    effects: list[Effect]
    sentences: list[SentenceEffect] = Field(default_factory=list)
    noise: float = Field(gt=0.0, allow_inf_nan=False)
    permutations: int = Field(default=0, ge=0)
    cost: Cost
    cautions: list[Text] = Field(default_factory=list)
    runner_up: "Explanation | None" = None

    def supporting(self, step: int) -> list[int]:
        """Places of the documents that support a step, the strongest first.

        Args:
            step: Place of the step, from 0.
        """
        return self._by_verdict(step, "supports")

    def contradicting(self, step: int) -> list[int]:
        """Places of the documents that contradict a step, the strongest first.

        Args:
            step: Place of the step, from 0.
        """
        return self._by_verdict(step, "contradicts")

    def _by_verdict(self, step: int, verdict: str) -> list[int]:
        rows = [row for row in self.effects if row.step == step and row.verdict == verdict]
        return [row.document for row in sorted(rows, key=lambda row: -abs(row.moves))]

    @property
    def unsupported(self) -> list[int]:
        """Places of the steps that no document supports."""
        return [step for step in range(len(self.chain.steps)) if not self.supporting(step)]

    @property
    def weakest(self) -> int:
        """Place of the step with the lowest reward, from 0."""
        return weakest_step(self.chain) - 1

    @property
    def supporting_documents(self) -> list[int]:
        """Places of the documents that support at least one step, ascending."""
        return sorted({row.document for row in self.effects if row.verdict == "supports"})

    @property
    def support(self) -> list[float | None]:
        """For each document, by how much it moves the step that it moves most, in log-odds; None if it was not read."""
        rows: dict[int, list[float]] = {}
        for row in self.effects:
            rows.setdefault(row.document, []).append(row.moves)
        return [max(rows[place], key=abs) if place in rows else None for place in range(len(self.documents))]

    def effect(self, step: int, document: int) -> Effect:
        """The row of one step and one document.

        Raises:
            KeyError: There is none.
        """
        for row in self.effects:
            if (row.step, row.document) == (step, document):
                return row
        raise KeyError(f"no effect of document {document} on step {step}")

    def carriers(self, step: int) -> list[Effect]:
        """The rows of the document that supports a step most and of the one that contradicts it most, as far as any do.

        Documents that others repeat are left out: no sentence of one of them can be told from the others'.

        Args:
            step: Place of the step, from 0.
        """
        ordered = (*self.supporting(step), *self.contradicting(step))
        rows = [row for row in (self.effect(step, document) for document in ordered) if not row.repeated]
        return list({row.verdict: row for row in reversed(rows)}.values())

    def sentence(self, step: int, document: int) -> SentenceEffect | None:
        """The sentence of a document that moves a step most, in the document's direction; None if none is above noise.

        Args:
            step: Place of the step, from 0.
            document: Place of the document, from 0; sentences are known of the `carriers` of the step only.
        """
        rows = [row for row in self.sentences if (row.step, row.document) == (step, document)]
        if not rows:
            return None
        sign = 1 if self.effect(step, document).moves > 0 else -1
        most = max(rows, key=lambda row: sign * row.without)
        return most if sign * most.without >= self.noise else None

    def _summary(self) -> str:
        return f"chain={self.chain.index}, {len(self.chain.steps)} steps, {len(self.documents_read)} documents"

    def __str__(self) -> str:
        return explanation_terminal.to_text(self)

    def to_html(self) -> str:
        """One self-contained HTML page: each step with the documents that move it; all text escaped."""
        return explanation_page.to_html(self)

    def _repr_html_(self) -> str:
        return explanation_page.to_html_fragment(self)
