"""`MedPRMEvaluator`: an evaluator for openevals and LangSmith's `evaluate`: is an answer valid, and if not, where?"""

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from typing_extensions import TypedDict

from medprm_integrations.langchain.convert import asked_about, messages_in, sample_of
from medprm_integrations.langchain.retrieved import evidence_within_budget
from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.feedback import feedback
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.questions import Asked
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.settings import EvaluatorSettings
from medprm_integrations.shared.structured import structured_sample
from medprm_scorer.aggregate import Aggregate
from medprm_scorer.errors import InputError, NothingScoredError
from medprm_scorer.results.models import Ranking, RankRequest
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.scorer import MedPRM
from medprm_scorer.text.steps.records import record_of
from medprm_scorer.trust.given import GivenTrust

_QUESTIONS = ("question", "input", "query", "messages")
_ANSWERS = ("answer", "output", "response", "result", "messages")
_DOCUMENTS = ("documents", "context", "contexts", "retrieved_documents", "source_documents")
"""Names under which datasets and chains have them; the first one present is used."""


class Evaluated(TypedDict):
    """A result in the form of openevals and LangSmith."""

    key: str
    score: float | None
    comment: str


class MedPRMEvaluator:
    """Judges one answer: its reward, and a comment that names the weakest step.

    It is a callable with the arguments of openevals' evaluators, which `langsmith.evaluate(evaluators=[…])` also takes;
    pass `evaluate` or, for async use, `aevaluate`. The comment is that of LlamaIndex's `MedPRMEvaluator`: without
    documents, or if none of them was read, it begins with "Judged without documents." An answer that cannot be
    scored (blank, too long for the model) has the score None, never a made-up one.

    Args:
        prm: The reward model.
        aggregate: How step rewards become the score.
        key: Name of the score.
        question: Your own function from the inputs to the judged question; None uses the rule of `evaluate`.
        trust: Decides whether an answer is trusted, as in `MedPRM.rank`: the comment says so if it is not.

    Raises:
        InputError: The aggregate is unknown, or `prm` is not a `MedPRM`.

    Example:
        >>> evaluator = MedPRMEvaluator(prm=MedPRM.from_pretrained())
        >>> found = evaluator(inputs="Which dose?", outputs="Step 1: Give 9 mg.", context=["Label: give 5 mg."])
        >>> found["key"], 0 <= found["score"] <= 1, found["comment"].startswith("Step 1 of 1 is the weakest")
        ('medprm', True, True)
    """

    def __init__(
        self,
        *,
        prm: MedPRM,
        aggregate: Aggregate = "min",
        key: str = "medprm",
        question: Callable[[Any], str] | None = None,
        trust: GivenTrust = None,
    ) -> None:
        self.settings = EvaluatorSettings(prm=prm, aggregate=aggregate, trust=trust)
        self.key, self.question = key, question

    def __repr__(self) -> str:
        return f"{type(self).__name__}(aggregate={self.settings.aggregate!r}, key={self.key!r})"

    @property
    def __name__(self) -> str:
        """A function's name, by which reports name evaluators."""
        return self.key

    def __call__(
        self, *, inputs: Any, outputs: Any, reference_outputs: Any = None, context: Any = None, **more: Any
    ) -> Evaluated:
        """`evaluate`."""
        return self.evaluate(
            inputs=inputs, outputs=outputs, reference_outputs=reference_outputs, context=context, **more
        )

    def evaluate(
        self,
        *,
        inputs: Any,
        outputs: Any,
        reference_outputs: Any = None,  # noqa: ARG002 - evaluators receive it; a reward does not need it
        context: Any = None,
        **more: Any,  # noqa: ARG002
    ) -> Evaluated:
        """Judge an answer.

        Args:
            inputs: The question: a text, messages, or a dict with one of `question`, `input`, `query`, `messages`.
            outputs: The answer: a text, a message, messages (the model's last one), an object of structured output, or
                a dict with one of `answer`, `output`, `response`, `result`, `messages`; any other dict is judged by the
                content of its fields.
            reference_outputs: Not looked at.
            context: The documents against which it is checked: a text, or a list of texts and `Document`s. None takes
                those in the outputs or the inputs (`documents`, `context`, `source_documents` and so on).
            more: Not looked at.

        Raises:
            InputError: The question or the answer is missing, or of the wrong kind.
        """
        request, found, cautions = self._request(inputs, outputs, context)
        return self._result(*rank_all(self.settings, [request], [found], [cautions]))

    async def aevaluate(
        self,
        *,
        inputs: Any,
        outputs: Any,
        reference_outputs: Any = None,  # noqa: ARG002
        context: Any = None,
        **more: Any,  # noqa: ARG002
    ) -> Evaluated:
        """`evaluate`, without blocking the event loop."""
        request, found, cautions = self._request(inputs, outputs, context)
        return self._result(*await arank_all(self.settings, [request], [found], [cautions]))

    def _request(self, inputs: Any, outputs: Any, context: Any) -> tuple[RankRequest, Evidence, tuple[str, ...]]:
        if self.question is None:
            asked = asked_about(_named(inputs, _QUESTIONS, "inputs"))
        else:
            asked = Asked(self.question(inputs))
        found = evidence_within_budget(_documents(context, outputs, inputs), self.settings.prm)
        return request_of(self.settings, asked.text, [_answer(outputs)], found.texts), found, asked.cautions

    def _result(self, ranking: Ranking | Exception) -> Evaluated:
        if isinstance(ranking, NothingScoredError):
            return Evaluated(key=self.key, score=None, comment=f"The response could not be judged: {ranking}")
        if isinstance(ranking, Exception):
            raise ranking
        return Evaluated(key=self.key, score=ranking.best.reward(ranking.aggregate), comment=feedback(ranking))


def _named(given: Any, names: tuple[str, ...], what: str) -> Any:
    """The value of a dict under the first of the names that is present; anything else is returned unchanged."""
    if not isinstance(given, Mapping):
        return given
    for name in names:
        if given.get(name) is not None:
            return given[name]
    raise InputError(f"the {what} must have one of the keys {', '.join(names)}")


def _documents(*holders: Any) -> Any:
    """The documents: the given context, otherwise those under a name for them."""
    context, *others = holders
    found = context if not isinstance(context, Mapping) else None
    for holder in (context, *others) if found is None else ():
        if isinstance(holder, Mapping):
            found = next((holder[name] for name in _DOCUMENTS if holder.get(name) is not None), None)
        if found is not None:
            break
    return [found] if isinstance(found, str) else found


def _answer(outputs: Any) -> Sample:
    if isinstance(outputs, Mapping):
        name = next((name for name in _ANSWERS if outputs.get(name) is not None), None)
        if name is None or (name == "answer" and record_of(outputs) is not None):
            return _structured(outputs)
        return _answer(outputs[name])
    if isinstance(outputs, list | tuple) and outputs:
        said = [message for message in messages_in(outputs) if isinstance(message, AIMessage)]
        if not said:
            raise InputError("the outputs contain no message of a model")
        return sample_of(said[-1])
    if isinstance(outputs, str | BaseMessage):
        return sample_of(outputs)
    return _structured(outputs)


def _structured(outputs: Any) -> Sample:
    sample = structured_sample(outputs) if outputs not in (None, {}, [], ()) else Sample("")
    if not sample.text.strip():
        raise InputError("the outputs contain no answer")
    return sample
