"""`MedPRMEvaluator`: is an answer valid, and if not, at which step?"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, cast

from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.prompts import BasePromptTemplate
from pydantic import BaseModel
from typing_extensions import override

from medprm_integrations.llama_index.events import announce
from medprm_integrations.llama_index.mistakes import check_function
from medprm_integrations.llama_index.nodes import (
    IsEvidence,
    document_texts,
    evidence_among,
    evidence_texts,
    with_scores,
)
from medprm_integrations.shared.evidence import Evidence, within_budget
from medprm_integrations.shared.feedback import feedback
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.questions import without_feedback
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.settings import EvaluatorSettings
from medprm_integrations.shared.structured import structured_sample
from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError, NothingScoredError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.scorer import MedPRM
from medprm_scorer.trust.given import GivenTrust


class MedPRMEvaluator(BaseEvaluator):
    """Judges one response: its reward, and feedback that names the weakest step.

    It works with `RetryQueryEngine` and `BatchEvalRunner`. `score` is the chain reward, `passing` says whether it
    reaches the threshold, and `feedback` names the weakest step and lists the reward of every step. Without contexts,
    or if none of them was read (`DocumentsLeftOutWarning`), it begins with "Judged without documents." A response that
    cannot be scored (blank, too long for the model) is an invalid result that does not pass, never a made-up score.

    Args:
        prm: The reward model.
        aggregate: How step rewards become the score.
        threshold: The lowest score that passes, in [0, 1]; from 0.5 upwards, the model would call a step valid.
        question: A function from the query to the judged question; the default removes what `RetryQueryEngine` adds.
        on_ranking: Called with the ranking of each response that could be scored; it has a single chain.
        is_evidence: Your own function that decides whether a response is checked against a source node; None uses
            `nodes.is_evidence`: no language model wrote it.
        trust: Decides whether an answer is trusted, as in `MedPRM.rank`: the feedback says so if it is not, and it does
            not pass.

    Raises:
        InputError: The aggregate is unknown, the threshold is not a number from 0 to 1, or `prm` is not a `MedPRM`.

    Example:
        >>> evaluator = MedPRMEvaluator(prm=MedPRM.from_pretrained())
        >>> answer = "Step 1: Give 9 mg.\\nStep 2: The answer is (B)"
        >>> result = evaluator.evaluate("Which dose?", answer, ["Label: give 5 mg."])
        >>> 0 <= result.score <= 1, result.feedback.startswith("Step ")
        (True, True)
    """

    def __init__(
        self,
        *,
        prm: MedPRM,
        aggregate: Aggregate = "min",
        threshold: float = 0.5,
        question: Callable[[str], str] = without_feedback,
        on_ranking: Callable[[Ranking], None] | None = None,
        is_evidence: IsEvidence | None = None,
        trust: GivenTrust = None,
    ) -> None:
        check_function("question", question)
        check_function("is_evidence", is_evidence)
        if isinstance(threshold, bool) or not isinstance(cast("object", threshold), Real):
            raise InputError(f"the threshold must be a number from 0 to 1, not {type(threshold).__name__}")
        if not 0.0 <= threshold <= 1.0:
            raise InputError("the threshold must be a number from 0 to 1")
        self.settings = EvaluatorSettings(prm=prm, aggregate=aggregate, on_ranking=on_ranking, trust=trust)
        self.prm, self.threshold, self.question, self.is_evidence = prm, threshold, question, is_evidence

    def __repr__(self) -> str:
        return f"{type(self).__name__}(aggregate={self.settings.aggregate!r}, threshold={self.threshold})"

    @override
    def _get_prompts(self) -> dict[str, BasePromptTemplate]:
        return {}

    @override
    def _update_prompts(self, prompts: dict[str, BasePromptTemplate]) -> None:
        """There are none."""

    @override
    def evaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Judge a response.

        Args:
            query: The question.
            response: The answer; an object, such as that of `output_cls`, is judged by the content of its fields.
            contexts: The texts against which it is checked, the most important first: one that does not fit in the
                reward model's budget is skipped. None for none, which the feedback then says.
            kwargs: None are known.

        Raises:
            InputError: The query or the response is missing, or the query is blank or too long.
        """
        return self._judged(*self._asked(query, response, contexts))

    @override
    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """`evaluate`, without blocking the event loop."""
        return await self._ajudged(*self._asked(query, response, contexts))

    @override
    def evaluate_response(self, query: str | None = None, response: Any = None, **kwargs: Any) -> EvaluationResult:
        """Judge a query engine's response against its source nodes: those that fit, by their retrieval scores.

        Nodes that a language model wrote do not count as evidence (`is_evidence`).

        Args:
            query: The question.
            response: A `Response` or `PydanticResponse`.
            kwargs: None are known.
        """
        return self._judged(*self._asked(query, *self._parts(response)))

    @override
    async def aevaluate_response(
        self, query: str | None = None, response: Any = None, **kwargs: Any
    ) -> EvaluationResult:
        """`evaluate_response`, without blocking the event loop."""
        return await self._ajudged(*self._asked(query, *self._parts(response)))

    def _judged(self, request: RankRequest, contexts: list[str], found: Evidence) -> EvaluationResult:
        return self._result(request, contexts, *rank_all(self.settings, [request], [found]))

    async def _ajudged(self, request: RankRequest, contexts: list[str], found: Evidence) -> EvaluationResult:
        return self._result(request, contexts, *await arank_all(self.settings, [request], [found]))

    def _parts(self, response: Any) -> tuple[Any, list[str] | None, list[float | None]]:
        """A response's answer, the documents behind it, and their scores."""
        if response is None:
            return None, None, []
        if not hasattr(response, "source_nodes"):
            raise InputError(
                f"the response must be a query engine's Response, not {type(response).__name__}: for a text, "
                "call evaluate"
            )
        nodes = evidence_among(with_scores(response.source_nodes), rule=self.is_evidence)
        return response.response, evidence_texts(nodes), [node.score for node in nodes]

    def _asked(
        self, query: object, response: object, contexts: Sequence[str] | None, scores: Sequence[float | None] = ()
    ) -> tuple[RankRequest, list[str], Evidence]:
        """The request with the contexts that fit, all contexts, and which of them were used."""
        sample = structured_sample(response) if isinstance(response, BaseModel) else Sample(response)  # type: ignore[arg-type]
        for name, value in (("query", query), ("response", sample.chain)):
            if not isinstance(value, str | tuple):
                raise InputError(f"the {name} must be a text, not {type(value).__name__}")
        if isinstance(contexts, str):
            raise InputError("contexts must be a list of texts")
        given = document_texts(contexts)
        found = within_budget(given, self.prm.count_tokens, scores=scores)
        return request_of(self.settings, self.question(cast("str", query)), [sample], found.texts), given, found

    def _result(self, request: RankRequest, contexts: list[str], ranking: Ranking | Exception) -> EvaluationResult:
        (answer,) = request.candidates
        judged: dict[str, Any] = {
            "query": request.question,
            "contexts": contexts,
            "response": answer if isinstance(answer, str) else "\n".join(answer),
        }
        if isinstance(ranking, NothingScoredError):
            reason = str(ranking)
            said = f"The response could not be judged: {reason}"
            return EvaluationResult(**judged, passing=False, feedback=said, invalid_result=True, invalid_reason=reason)
        if isinstance(ranking, Exception):
            raise ranking
        announce(ranking)
        score = ranking.best.reward(ranking.aggregate)
        passing = score >= self.threshold and ranking.trusted is not False
        return EvaluationResult(**judged, passing=passing, feedback=feedback(ranking), score=score)
