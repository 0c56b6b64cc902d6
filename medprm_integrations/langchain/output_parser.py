"""`MedPRMOutputParser`: the best of all generations of one `generate` call."""

from collections.abc import Sequence
from typing import Any, ClassVar

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompt_values import PromptValue
from pydantic import Field
from typing_extensions import override

from medprm_integrations.langchain.convert import asked_about, samples_of
from medprm_integrations.langchain.doubt import DOUBTS
from medprm_integrations.langchain.events import aannounce, announce
from medprm_integrations.langchain.messages import as_message, total_usage, with_ranking
from medprm_integrations.langchain.retrieved import evidence_within_budget
from medprm_integrations.shared.best_of_n import Choice, only
from medprm_integrations.shared.doubt import settle
from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.explaining import aexplain_winner, explain_winner
from medprm_integrations.shared.jobs import request_of
from medprm_integrations.shared.questions import Asked
from medprm_integrations.shared.ranking import arank_all, rank_all
from medprm_integrations.shared.ranking_metadata import Keep, ranking_metadata
from medprm_integrations.shared.settings import ChoiceSettings
from medprm_integrations.shared.user_warnings import warn_of_identical
from medprm_scorer.results.models import Ranking, RankRequest

WITHOUT_QUESTION = "Is this explanation logical and valid?"
"""Used as the question if the parser was not given one."""

LONE = "Only one answer was given, so there was nothing to choose: in a chain, a parser sees only the first generation."
"""The caution of a parser after a model."""


class MedPRMOutputParser(BaseGenerationOutputParser[AIMessage], ChoiceSettings):
    """Picks the best of all generations for one prompt from a `generate` call.

    In a chain `model | parser`, a parser sees only the first generation, whatever the model's n. So call `parse_result`
    with all of them, as below; in a chain, use `MedPRMBestOfN` or `ChatMedPRM`.

    A parser does not see the prompt: pass it the question and the documents with `about`. Without them it judges each
    answer alone, which is worse.

    Args:
        question: The question; a text, a message, a prompt or a conversation.
        documents: The documents against which the answers are checked, read by their scores as in `MedPRMReranker`.
        keep: Which part of the ranking goes into the message, as in `SamplingSettings`.
        explain: Record there which documents support the winner, as in `SamplingSettings`.
        settings: Those of `ChoiceSettings`: `prm`, `strategy`, `aggregate`, `answer`, `options`, `group`, `on_ranking`.

    Example:
        >>> from medprm_scorer import MedPRM
        >>> from langchain_core.outputs import Generation
        >>> parser = MedPRMOutputParser(prm=MedPRM.from_pretrained())
        >>> generations = [Generation(text="Step 1: Give 5 mg. The answer is (A)"), Generation(text=" ")]
        >>> parser.about("Which dose?", ["Label: give 5 mg."]).parse_result(generations).text
        'Step 1: Give 5 mg. The answer is (A)'
    """

    doubts: ClassVar[tuple[str, ...]] = DOUBTS

    question: str | BaseMessage | PromptValue | Sequence[Any] | None = Field(default=None, repr=False, exclude=True)
    documents: Sequence[str | Document] = Field(default=(), repr=False, exclude=True)
    keep: Keep = "winner"
    explain: bool = Field(default=False, strict=True)

    @property
    @override
    def OutputType(self) -> type[AIMessage]:
        return AIMessage

    def about(
        self, question: str | BaseMessage | PromptValue | Sequence[Any], documents: Sequence[str | Document] = ()
    ) -> "MedPRMOutputParser":
        """A parser for the answers to one question.

        Args:
            question: A text, a message, or the prompt or conversation itself; its human messages count.
            documents: The documents against which the answers are checked, most relevant first.
        """
        return self.model_copy(update={"question": question, "documents": tuple(documents)})

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> AIMessage:
        """The best generation, as a message with its ranking in `response_metadata["medprm"]`.

        The metadata also contain `usage` and `documents_left_out`; `samples_failed` and `samples_dropped` are 0 here.

        Args:
            result: All generations for one prompt, such as `model.generate(…).generations[0]`.
            partial: Has no effect: an unfinished answer cannot be judged.

        Raises:
            InputError: There are no generations.
            ScoringError: None could be scored.
            DoubtfulAnswerError: The best one is not trusted, and `on_doubt` is `raise`.
        """
        asked = self._requests(result)
        ranking = only(rank_all(self, *asked))
        announce([ranking], [None])
        choice = self._best(result, ranking)
        explain_winner(self, ranking, choice.note, only(asked[1]))
        return with_ranking(choice.value, choice)

    @override
    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> AIMessage:
        """`parse_result`, with the reward model in a worker thread."""
        asked = self._requests(result)
        ranking = only(await arank_all(self, *asked))
        await aannounce([ranking], [None])
        choice = self._best(result, ranking)
        await aexplain_winner(self, ranking, choice.note, only(asked[1]))
        return with_ranking(choice.value, choice)

    def _requests(self, result: list[Generation]) -> tuple[list[RankRequest], list[Evidence], list[tuple[str, ...]]]:
        """What `rank_all` takes."""
        samples = samples_of(result)
        warn_of_identical([sample.text for sample in samples], self.prm)
        asked = Asked(WITHOUT_QUESTION) if self.question is None else asked_about(self.question)
        found = evidence_within_budget(self.documents, self.prm)
        cautions = (*asked.cautions, LONE) if len(samples) == 1 else asked.cautions
        return [request_of(self, asked.text, samples, found.texts)], [found], [cautions]

    def _best(self, result: list[Generation], ranking: Ranking) -> Choice[AIMessage]:
        message, usage = _message(result[ranking.best.index]), total_usage([_message(result[0])])
        note = ranking_metadata(ranking, usage=usage, keep=self.keep)
        return Choice(message, note, ranking, settle(self, ranking, note))


def _message(generation: Generation) -> AIMessage:
    output: Any = generation.message if isinstance(generation, ChatGeneration) else generation.text
    return as_message(output)
