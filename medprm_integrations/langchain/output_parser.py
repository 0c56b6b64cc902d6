"""`MedPRMOutputParser`: the best of all generations of one `generate` call."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompt_values import PromptValue
from pydantic import Field
from typing_extensions import override

from medprm_integrations.langchain.convert import document_texts, question_text, samples_of
from medprm_integrations.langchain.messages import as_message, total_usage, with_ranking
from medprm_integrations.shared.best_of_n import Choice, only
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.ranking_metadata import Keep, ranking_metadata
from medprm_integrations.shared.settings import ChoiceSettings
from medprm_integrations.shared.user_warnings import warn_of_identical
from medprm_scorer.results.models import Ranking, RankRequest

WITHOUT_QUESTION = "Is this explanation logical and valid?"
"""What stands for the question when the parser was not told it."""


class MedPRMOutputParser(BaseGenerationOutputParser[AIMessage], ChoiceSettings):
    """Picks the best of all generations that one prompt got from a `generate` call.

    A chain `model | parser` shows a parser only the first generation, whatever the model's n. So call `parse_result`
    with all of them, as below; in a chain, take `MedPRMBestOfN` or `ChatMedPRM`.

    A parser is not shown the prompt: tell it the question and the documents with `about`. Without, it judges each
    answer by itself, which is worse.

    Args:
        question: The question; a text, a message or a prompt.
        documents: What the answers are checked against.
        keep: What of the ranking goes into the message, as in `SamplingSettings`.
        settings: Those of `ChoiceSettings`: `prm`, `strategy`, `aggregate`, `answer`, `options`, `group`, `on_ranking`.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from langchain_core.outputs import Generation
        >>> parser = MedPRMOutputParser(prm=MedPRM.from_pretrained())
        >>> generations = [Generation(text="Step 1: Give 5 mg. The answer is (A)"), Generation(text=" ")]
        >>> parser.about("Which dose?", ["Label: give 5 mg."]).parse_result(generations).text
        'Step 1: Give 5 mg. The answer is (A)'
    """

    question: str | BaseMessage | PromptValue | None = Field(default=None, repr=False, exclude=True)
    documents: Sequence[str | Document] = Field(default=(), repr=False, exclude=True)
    keep: Keep = "winner"

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
        return self._best(result, only(rank_all(self, [self._request(result)])))

    @override
    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> AIMessage:
        """`parse_result`, with the reward model in a worker thread."""
        return self._best(result, only(await arank_all(self, [self._request(result)])))

    def _request(self, result: list[Generation]) -> RankRequest:
        samples = samples_of(result)
        warn_of_identical([sample.text for sample in samples], self.prm)
        question = WITHOUT_QUESTION if self.question is None else question_text(self.question)
        return request_of(self, question, samples, document_texts(self.documents))

    def _best(self, result: list[Generation], ranking: Ranking) -> AIMessage:
        message, usage = _message(result[ranking.best.index]), total_usage([_message(result[0])])
        return with_ranking(message, Choice(message, ranking_metadata(ranking, usage=usage, keep=self.keep), ranking))


def _message(generation: Generation) -> AIMessage:
    output: Any = generation.message if isinstance(generation, ChatGeneration) else generation.text
    return as_message(output)
