"""`MedPRMEvaluator`: is an answer valid, and if not, at which step?"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, cast

from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.schema import MetadataMode
from pydantic import BaseModel
from typing_extensions import override

from medprm_integrations.llama_index.nodes import is_chain, texts
from medprm_integrations.shared.evidence import warn_if_unread
from medprm_integrations.shared.settings import reward_model
from medprm_integrations.shared.sharing import share
from medprm_integrations.shared.structured import structured_text
from medprm_scorer.errors import InputError, NothingScoredError
from medprm_scorer.results.models import Ranking, ScoredChain
from medprm_scorer.scorer import MedPRM
from medprm_scorer.selection import check_settings

share()


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

    Raises:
        InputError: The aggregate is unknown, the threshold is no number from 0 to 1, or the prm is no `MedPRM`.

    Example:
        >>> evaluator = MedPRMEvaluator(prm=MedPRM.from_pretrained())
        >>> answer = "Step 1: Give 9 mg.\\nStep 2: The answer is (B)"
        >>> result = evaluator.evaluate("Which dose?", answer, ["Label: give 5 mg."])
        >>> 0 <= result.score <= 1, result.feedback.startswith("Step ")
        (True, True)
    """

    def __init__(self, *, prm: MedPRM, aggregate: str = "min", threshold: float = 0.5) -> None:
        prm = reward_model(prm)
        check_settings("best_of_n", aggregate)
        if isinstance(threshold, bool) or not isinstance(cast("object", threshold), Real):
            raise InputError(f"the threshold must be a number from 0 to 1, not {type(threshold).__name__}")
        if not 0.0 <= threshold <= 1.0:
            raise InputError("the threshold must be a number from 0 to 1")
        self.prm, self.aggregate, self.threshold = prm, aggregate, threshold

    def __repr__(self) -> str:
        return f"{type(self).__name__}(aggregate={self.aggregate!r}, threshold={self.threshold})"

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
        question, answer, documents = _read(query, response, contexts)
        try:
            ranking = self.prm.rank(question, [answer], documents, aggregate=self.aggregate)
        except NothingScoredError as error:
            return _invalid(question, answer, documents, str(error))
        return self._result(question, answer, documents, ranking)

    @override
    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """`evaluate`, with the event loop left free."""
        question, answer, documents = _read(query, response, contexts)
        try:
            ranking = await self.prm.arank(question, [answer], documents, aggregate=self.aggregate)
        except NothingScoredError as error:
            return _invalid(question, answer, documents, str(error))
        return self._result(question, answer, documents, ranking)

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

    def _result(self, question: str, answer: str, documents: list[str], ranking: Ranking) -> EvaluationResult:
        warn_if_unread(ranking, documents, self.prm.count_tokens)
        score = ranking.best.reward(self.aggregate)
        return EvaluationResult(
            query=question,
            contexts=documents,
            response=answer,
            passing=score >= self.threshold,
            feedback=_feedback(ranking.best, read=ranking.documents_used > 0),
            score=score,
        )


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


def _read(query: object, response: object, contexts: Sequence[str] | None) -> tuple[str, str, list[str]]:
    if isinstance(response, BaseModel):
        response = structured_text(response)
    for name, value in (("query", query), ("response", response)):
        if not isinstance(value, str):
            raise InputError(f"the {name} must be a text, not {type(value).__name__}")
    if isinstance(contexts, str):
        raise InputError("contexts must be a list of texts")
    return str(query), str(response), list(contexts or ())


def _invalid(question: str, answer: str, documents: list[str], reason: str) -> EvaluationResult:
    return EvaluationResult(
        query=question,
        contexts=documents,
        response=answer,
        passing=False,
        feedback=f"The response could not be judged: {reason}",
        invalid_result=True,
        invalid_reason=reason,
    )
