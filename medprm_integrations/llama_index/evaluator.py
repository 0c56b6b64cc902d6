"""`MedPRMEvaluator`: is an answer valid, and if not, at which step?"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, cast

from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.schema import MetadataMode
from pydantic import BaseModel
from typing_extensions import override

from medprm_integrations.llama_index.nodes import is_chain, texts
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.questions import without_feedback
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.settings import ChoiceSettings
from medprm_integrations.shared.structured import structured_sample
from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError, NothingScoredError
from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.scorer import MedPRM


class MedPRMEvaluator(BaseEvaluator):
    """Judges one response: its reward, and feedback that names the weakest step.

    Plugs into `RetryQueryEngine` and `BatchEvalRunner`. `score` is the chain reward, `passing` whether it reaches the
    threshold, `feedback` names the weakest step and lists the reward of every step. Without contexts, or where none of
    them was read (`DocumentsLeftOutWarning`), it begins with "Judged without documents." A response that cannot be
    scored (blank, too long for the model) is an invalid result that does not pass, never a made-up score.

    Args:
        prm: The reward model.
        aggregate: How step rewards become the score.
        threshold: The lowest score that passes, in [0, 1]; from 0.5 on, the model would call a step valid.
        question: From the query to the question that is judged; the default leaves out what `RetryQueryEngine` adds.

    Raises:
        InputError: The aggregate is unknown, the threshold is no number from 0 to 1, or the prm is no `MedPRM`.

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
    ) -> None:
        if isinstance(threshold, bool) or not isinstance(cast("object", threshold), Real):
            raise InputError(f"the threshold must be a number from 0 to 1, not {type(threshold).__name__}")
        if not 0.0 <= threshold <= 1.0:
            raise InputError("the threshold must be a number from 0 to 1")
        self.settings = ChoiceSettings(prm=prm, aggregate=aggregate)
        self.prm, self.threshold, self.question = prm, threshold, question

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
            response: The answer; an object, as of `output_cls`, is judged by what stands in its fields.
            contexts: The texts that it is checked against; None for none, which the feedback then says.
            kwargs: None are known.

        Raises:
            InputError: The query or the response is missing, or the query is blank or too long.
        """
        request = self._request(query, response, contexts)
        return self._result(request, *rank_all(self.settings, [request]))

    @override
    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """`evaluate`, with the event loop left free."""
        request = self._request(query, response, contexts)
        return self._result(request, *await arank_all(self.settings, [request]))

    @override
    def evaluate_response(self, query: str | None = None, response: Any = None, **kwargs: Any) -> EvaluationResult:
        """Judge a query engine's response against its source nodes; chains among these are no evidence.

        Args:
            query: The question.
            response: A `Response` or `PydanticResponse`.
            kwargs: None are known.
        """
        return self.evaluate(query, *_parts(response), **kwargs)

    @override
    async def aevaluate_response(
        self, query: str | None = None, response: Any = None, **kwargs: Any
    ) -> EvaluationResult:
        """`evaluate_response`, with the event loop left free."""
        return await self.aevaluate(query, *_parts(response), **kwargs)

    def _request(self, query: object, response: object, contexts: Sequence[str] | None) -> RankRequest:
        sample = structured_sample(response) if isinstance(response, BaseModel) else Sample(response)  # type: ignore[arg-type]
        for name, value in (("query", query), ("response", sample.chain)):
            if not isinstance(value, str | tuple):
                raise InputError(f"the {name} must be a text, not {type(value).__name__}")
        if isinstance(contexts, str):
            raise InputError("contexts must be a list of texts")
        return request_of(self.settings, self.question(cast("str", query)), [sample], contexts or ())

    def _result(self, request: RankRequest, ranking: Ranking | Exception) -> EvaluationResult:
        (answer,) = request.candidates
        judged: dict[str, Any] = {
            "query": request.question,
            "contexts": request.documents,
            "response": answer if isinstance(answer, str) else "\n".join(answer),
        }
        if isinstance(ranking, NothingScoredError):
            reason = str(ranking)
            feedback = f"The response could not be judged: {reason}"
            return EvaluationResult(
                **judged, passing=False, feedback=feedback, invalid_result=True, invalid_reason=reason
            )
        if isinstance(ranking, Exception):
            raise ranking
        score = ranking.best.reward(ranking.aggregate)
        feedback = _feedback(ranking.best, read=ranking.documents_used > 0)
        return EvaluationResult(**judged, passing=score >= self.threshold, feedback=feedback, score=score)


def _feedback(chain: ScoredChain, *, read: bool) -> str:
    """What the rewards say; `read` tells whether they rest on documents."""
    rewards = chain.step_rewards
    place = rewards.index(min(rewards))
    listed = ", ".join(f"{reward:.2f}" for reward in rewards)
    weakest = f"Step {place + 1} of {len(rewards)} is the weakest, with a reward of {rewards[place]:.2f}"
    return (
        f"{'' if read else 'Judged without documents. '}{weakest}: {chain.steps[place].text}\n"
        f"Rewards of all steps, in order: {listed}."
    )


def _parts(response: Any) -> tuple[Any, list[str] | None]:
    """A response's answer, and the documents that it rests on."""
    if response is None:
        return None, None
    documents = [node for node in response.source_nodes if not is_chain(node)]
    return response.response, texts(documents, MetadataMode.LLM)
