"""The result of `MedPRM.explain`: which documents support or contradict each step of a chain.

Steps and documents are counted from 0 here and in JSON, and from 1 wherever they are shown to a reader.
"""

from typing import Literal

from pydantic import Field

from medprm_scorer.results import explanation_page, explanation_terminal
from medprm_scorer.results.facts import weakest_step
from medprm_scorer.results.models import Result, ScoredChain, Text

NOISE = 2.0
"""Smallest effect that counts, in log-odds: odds that are 7.4 times as high. Leaving out a document that is unrelated
to a step still changes the positions and numbers of the others. This moved the demo model's log-odds by less than this
threshold in 9 of 10 cases (`python -m benchmarks.attribution`; chosen on 100 other questions)."""

Verdict = Literal["supports", "contradicts", "nothing"]
"""What a document does to a step."""


class Effect(Result):
    """The effect of one document on one step.

    Args:
        step: Index of the step, from 0.
        document: Index of the document, from 0.
        without: Log-odds of the step with all documents minus those without this one, as if it were added last.
        alone: Log-odds with only this document minus those with none.
        shapley: Its mean contribution over random orders of the documents; None if not requested.
        moves: The number that decides the verdict: `shapley` if there is one, otherwise `without`. For a document that
            others repeat, it is `alone`, limited to the effect of all documents together.
        verdict: `supports` or `contradicts` if the effect reaches the noise threshold; otherwise `nothing`.
        repeated: Whether other documents have the same effect: leaving out any one of them changes nothing, and each
            alone moves the step as all of them do.
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
    """The effect of one sentence of a document on one step.

    Args:
        step: Index of the step, from 0.
        document: Index of the document, from 0.
        start: Start of the sentence in the document's text.
        end: End of the sentence.
        without: Log-odds of the step with all documents minus those with this sentence left out.
    """

    step: int = Field(ge=0)
    document: int = Field(ge=0)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    without: float = Field(allow_inf_nan=False)

    def _summary(self) -> str:
        return f"step={self.step}, document={self.document}, {self.start}:{self.end}, without={self.without:.2f}"


class Cost(Result):
    """The cost of an explanation.

    Args:
        prompts: Different prompts, each with its own choice of documents.
        prompt_tokens: Their tokens, with every prompt and chain counted in full.
        unique_tokens: Tokens when shared prefixes are run once.
        seconds: Wall-clock time.
    """

    prompts: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    unique_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0.0)

    def _summary(self) -> str:
        return f"{self.prompts} prompts, {self.unique_tokens} tokens"


class Explanation(Result):
    """Which documents support each step of a chain, according to the reward model.

    It says what the rewards depend on, not what is true: a document supports a step if the model rates the step higher
    after reading it.

    Args:
        chain: The chain, with the rewards that it has with all documents.
        question: The question.
        documents: All documents, including those that were not read.
        documents_read: Indices of those that were read; only these have effects.
        log_odds: Log-odds of each step, with all documents that were read.
        log_odds_without_documents: Log-odds of each step, with no documents.
        effects: The effects, by step, then by document.
        sentences: For each step, the effects of all sentences of its `carriers`; empty if not requested.
        noise: Smallest effect that counts, in log-odds.
        permutations: Random orders behind the Shapley values; 0 without.
        cost: The cost of the whole call.
        cautions: What to know before relying on it, in sentences without any text of the request.
        runner_up: The same for the best chain with another answer, if requested and if there is one.
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
        """Indices of the documents that support a step, the strongest first.

        Args:
            step: Index of the step, from 0.
        """
        return self._by_verdict(step, "supports")

    def contradicting(self, step: int) -> list[int]:
        """Indices of the documents that contradict a step, the strongest first.

        Args:
            step: Index of the step, from 0.
        """
        return self._by_verdict(step, "contradicts")

    def _by_verdict(self, step: int, verdict: str) -> list[int]:
        rows = [row for row in self.effects if row.step == step and row.verdict == verdict]
        return [row.document for row in sorted(rows, key=lambda row: -abs(row.moves))]

    @property
    def unsupported(self) -> list[int]:
        """Indices of the steps that no document supports."""
        return [step for step in range(len(self.chain.steps)) if not self.supporting(step)]

    @property
    def weakest(self) -> int:
        """Index of the step with the lowest reward, from 0."""
        return weakest_step(self.chain) - 1

    @property
    def supporting_documents(self) -> list[int]:
        """Indices of the documents that support at least one step, ascending."""
        return sorted({row.document for row in self.effects if row.verdict == "supports"})

    @property
    def support(self) -> list[float | None]:
        """For each document, its largest effect on any step, in log-odds; None if it was not read."""
        rows: dict[int, list[float]] = {}
        for row in self.effects:
            rows.setdefault(row.document, []).append(row.moves)
        return [max(rows[place], key=abs) if place in rows else None for place in range(len(self.documents))]

    def effect(self, step: int, document: int) -> Effect:
        """The effect of one document on one step.

        Raises:
            KeyError: There is none.
        """
        for row in self.effects:
            if (row.step, row.document) == (step, document):
                return row
        raise KeyError(f"no effect of document {document} on step {step}")

    def carriers(self, step: int) -> list[Effect]:
        """The strongest supporting and the strongest contradicting effect on a step, if there are any.

        Documents that others repeat are left out, since the effects of their sentences cannot be separated.

        Args:
            step: Index of the step, from 0.
        """
        ordered = (*self.supporting(step), *self.contradicting(step))
        rows = [row for row in (self.effect(step, document) for document in ordered) if not row.repeated]
        return list({row.verdict: row for row in reversed(rows)}.values())

    def sentence(self, step: int, document: int) -> SentenceEffect | None:
        """The sentence of a document with the largest effect on a step, in the document's direction, or None.

        Args:
            step: Index of the step, from 0.
            document: Index of the document, from 0; sentences are known only for the `carriers` of the step.
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
