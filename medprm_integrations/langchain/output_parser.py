"""`MedPRMOutputParser`: the best of all generations of one `generate` call."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompt_values import PromptValue
from pydantic import ConfigDict, Field
from typing_extensions import override

from medprm_integrations.langchain.convert import document_texts, question_text
from medprm_integrations.langchain.messages import as_message, crowned, total_usage
from medprm_integrations.shared.drawing import Drawing
from medprm_integrations.shared.evidence import warn_if_unread
from medprm_integrations.shared.known_settings import KnownSettings
from medprm_integrations.shared.settings import Aggregate, RewardModel, Strategy
from medprm_integrations.shared.sharing import share
from medprm_scorer.results.models import Ranking

share()

WITHOUT_QUESTION = "Is this explanation logical and valid?"
"""What stands for the question when the parser was not told it."""


class MedPRMOutputParser(KnownSettings, BaseGenerationOutputParser[AIMessage]):
    """Picks the best of all generations that one prompt got from a `generate` call.

    A chain `model | parser` shows a parser only the first generation, whatever the model's n. So call `parse_result`
    with all of them, as below; in a chain, take `MedPRMBestOfN` or `ChatMedPRM`.

    A parser is not shown the prompt: tell it the question and the documents with `about`. Without, it judges each
    answer by itself, which is worse.

    Args:
        prm: The reward model.
        question: The question; a text, a message or a prompt.
        documents: What the answers are checked against.
        strategy: `weighted_vote`, `best_of_n` or `majority_vote`.
        aggregate: How step rewards become a chain reward.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from langchain_core.outputs import Generation
        >>> parser = MedPRMOutputParser(prm=MedPRM.from_pretrained())
        >>> generations = [Generation(text="Step 1: Give 5 mg. The answer is (A)"), Generation(text=" ")]
        >>> parser.about("Which dose?", ["Label: give 5 mg."]).parse_result(generations).text
        'Step 1: Give 5 mg. The answer is (A)'
    """

    prm: RewardModel = Field(repr=False, exclude=True)
    question: str | BaseMessage | PromptValue | None = Field(default=None, repr=False, exclude=True)
    documents: Sequence[str | Document] = Field(default=(), repr=False, exclude=True)
    strategy: Strategy = "weighted_vote"
    aggregate: Aggregate = "min"

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=True)

    @property
    @override
    def OutputType(self) -> type[AIMessage]:
        return AIMessage

    def about(
        self, question: str | BaseMessage | PromptValue, documents: Sequence[str | Document] = ()
    ) -> "MedPRMOutputParser":
        """A parser for the answers to one question.

        Args:
            question: A text, a message, or the prompt itself, of which the last human message counts.
            documents: What the answers are checked against, most relevant first.
        """
        return self.model_copy(update={"question": question, "documents": tuple(documents)})

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> AIMessage:
        """The best generation, as a message with its ranking in `response_metadata["medprm"]`.

        Beside it stand `usage` and `documents_left_out`; `samples_failed` and `samples_dropped` are 0 here.

        Args:
            result: All generations for one prompt, such as `model.generate(…).generations[0]`.
            partial: Makes no difference: an unfinished answer cannot be judged.

        Raises:
            InputError: There are no generations.
            ScoringError: None could be scored.
        """
        drawing, question, documents = self._prepare(result)
        ranking = self.prm.rank(question, drawing.texts, documents, strategy=self.strategy, aggregate=self.aggregate)
        return self._chosen(drawing, ranking, documents)

    @override
    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> AIMessage:
        """`parse_result`, with the reward model in a worker thread."""
        drawing, question, documents = self._prepare(result)
        ranking = await self.prm.arank(
            question, drawing.texts, documents, strategy=self.strategy, aggregate=self.aggregate
        )
        return self._chosen(drawing, ranking, documents)

    def _chosen(self, drawing: Drawing[AIMessage], ranking: Ranking, documents: list[str]) -> AIMessage:
        warn_if_unread(ranking, documents, self.prm.count_tokens)
        return crowned(drawing.values[ranking.best.index], ranking, drawing, total_usage(drawing.values[:1]))

    def _prepare(self, result: list[Generation]) -> tuple[Drawing[AIMessage], str, list[str]]:
        drawing = Drawing[AIMessage](len(result), read=lambda message: str(message.text))
        drawing.add([_message(generation) for generation in result])
        drawing.warn(self.prm)
        question = WITHOUT_QUESTION if self.question is None else question_text(self.question)
        return drawing, question, document_texts(self.documents)


def _message(generation: Generation) -> AIMessage:
    output: Any = generation.message if isinstance(generation, ChatGeneration) else generation.text
    return as_message(output)
