"""Answers from a search: the reward model chooses among steps while they are written (`search=`).

The choice, the handling of doubt and the reports of a ranking are the same as for samples (`best_of_n`). Only the
candidates come from elsewhere, and steps can be passed on before the end, once they are final.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Generic

from medprm_integrations.shared.best_of_n import Choice
from medprm_integrations.shared.doubt import settle
from medprm_integrations.shared.evidence import Evidence, within_budget
from medprm_integrations.shared.explaining import aexplain_winner, explain_winner
from medprm_integrations.shared.jobs import Job, Value, request_of
from medprm_integrations.shared.ranking import reported
from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_integrations.shared.search_settings import FIGURES, SearchingSettings
from medprm_scorer.errors import InputError
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.search import AsyncPolicy, Policy, SearchRanking
from medprm_scorer.search.drive import Search
from medprm_scorer.search.options import Settings

_COSTS = (
    *("method", "generated_tokens", "policy_calls", "reward_tokens", "stopped", "proven"),
    *("documents_repeated", "documents_left_out"),
)


@dataclass(repr=False, kw_only=True)
class Searched(Generic[Value]):
    """One question for a search, and the framework's part.

    Args:
        question: The question to which the candidates are judged as answers.
        policy: Writes the steps. It reads the documents in its prompt.
        answer: Turns the text of the answer into the framework's value.
        usage: The tokens of the policy; None if unknown.
        documents: Texts of the documents.
        scores: As in `Job`.
        cautions: Cautions about the question.
        retrieve: A function from a text to more documents; None without a retriever.

    Raises:
        InputError: The question is blank or not a text; nothing has been paid for yet.
    """

    question: str
    policy: Policy | AsyncPolicy
    answer: Callable[[str], Value]
    usage: Callable[[], Mapping[str, Any] | None] = lambda: None
    documents: Sequence[str] = ()
    scores: Sequence[float | None] = ()
    cautions: tuple[str, ...] = ()
    retrieve: Callable[[str], Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError("the question must be a text that is not blank")


def retrieved_since(settings: SearchingSettings, job: Job[Any], given: Sequence[str]) -> list[str]:
    """The documents that were retrieved during the search.

    Args:
        settings: The settings of the search.
        job: The question. The search uses those of its documents that fit in the reward model's budget.
        given: The documents in the policy's prompt: these, and then the retrieved ones.
    """
    return list(given[len(job.found(settings).texts) :])


def searching(settings: SearchingSettings, job: Searched[Value]) -> Generator[str | Choice[Value], None, None]:
    """The steps of an answer, each as soon as it is final, and then the choice; joined, they are the answer.

    If an answer that is not trusted is replaced by another text, or by an error, nothing is yielded before the end.

    Args:
        settings: How to search, and how the winner is chosen.
        job: The question.

    Raises:
        PolicyError: As in `medprm_scorer.search.beam_search`; the provider does not continue the beginning of an
            answer.
        ScoringError: No chain could be scored.
        DoubtfulAnswerError: The answer is not trusted, and the settings ask for an error.
        Exception: The language model's own error, if no chain was finished by then.
    """
    evidence, search = _begun(settings, job)
    with closing(search.events()) as events:
        for found in events:
            if isinstance(found, SearchRanking):
                choice, read = _chosen(settings, job, evidence, found)
                explain_winner(settings, choice.ranking or found, choice.note, read)
                yield from _rest(settings, choice)
            elif not _waits(settings):
                yield found


async def asearching(settings: SearchingSettings, job: Searched[Value]) -> AsyncGenerator[str | Choice[Value], None]:
    """`searching`, without blocking the event loop; closing it cancels what runs."""
    evidence, search = _begun(settings, job)
    async with aclosing(search.aevents()) as events:
        async for found in events:
            if isinstance(found, SearchRanking):
                choice, read = _chosen(settings, job, evidence, found)
                await aexplain_winner(settings, choice.ranking or found, choice.note, read)
                for one in _rest(settings, choice):
                    yield one
            elif not _waits(settings):
                yield found


def search_all(
    settings: SearchingSettings, jobs: Sequence[Searched[Value] | Exception]
) -> list[Choice[Value] | Exception]:
    """The choices of many questions, one after the other; a failure of one does not affect the others."""
    found: list[Choice[Value] | Exception] = []
    for job in jobs:
        try:
            found.append(job if isinstance(job, Exception) else _last(list(searching(settings, job))))
        except Exception as error:  # noqa: BLE001 - it stands in the place of the answer
            found.append(error)
    return found


async def asearch_all(
    settings: SearchingSettings, jobs: Sequence[Searched[Value] | Exception]
) -> list[Choice[Value] | Exception]:
    """`search_all`, without blocking the event loop."""
    found: list[Choice[Value] | Exception] = []
    for job in jobs:
        if isinstance(job, Exception):
            found.append(job)
            continue
        try:
            async with aclosing(asearching(settings, job)) as events:
                found.append(_last([one async for one in events]))
        except Exception as error:  # noqa: BLE001 - it stands in the place of the answer
            found.append(error)
    return found


def _last(events: Sequence[str | Choice[Value]]) -> Choice[Value]:
    choice = events[-1]
    assert isinstance(choice, Choice)
    return choice


def _waits(settings: SearchingSettings) -> bool:
    """Whether the answer may be replaced at the end."""
    return settings.judge is not None and settings.on_doubt != "answer"


def _begun(settings: SearchingSettings, job: Searched[Value]) -> tuple[Evidence, Search]:
    settings.check()
    how = settings.search
    assert how is not None
    evidence = within_budget(job.documents, settings.prm.count_tokens, scores=job.scores)
    options = Settings(
        strategy=settings.strategy,
        aggregate=settings.aggregate,
        seed=how.seed,
        limits=how.limits,
        retriever=job.retrieve,
        max_documents=how.max_documents,
        answer=settings.answer,
        options=settings.options,
        group=settings.group,
    )
    policy = how.policy or job.policy
    return evidence, Search(policy, settings.prm, job.question, evidence.texts, how.method, options)


def _chosen(
    settings: SearchingSettings, job: Searched[Value], evidence: Evidence, ranking: SearchRanking
) -> tuple[Choice[Value], Evidence]:
    """The choice, and all documents of its ranking."""
    added = ranking.tree.documents
    read_as = evidence.read_as or tuple(range(len(evidence.texts)))
    places = range(len(evidence.texts), len(evidence.texts) + len(added))
    ids = (*(evidence.ids or [None] * len(read_as)), *(getattr(text, "id", None) for text in added))
    evidence = Evidence((*evidence.texts, *added), evidence.left_out, (*read_as, *places), ids)
    if settings.judge is not None:
        ranking = settings.judge.judge(ranking)  # type: ignore[assignment]  # a copy
    request = request_of(settings, job.question, [Sample(one.text) for one in ranking.chains], evidence.texts)
    (told,) = reported(settings, [request], [ranking], [evidence], [job.cautions])
    assert isinstance(told, SearchRanking)
    note = ranking_metadata(told, None, job.usage(), settings.keep, seconds=told.seconds)
    if settings.keep != "none":
        note[FIGURES] = {name: getattr(told.tree, name) for name in _COSTS}
        note[FIGURES]["documents_added"] = len(added)
    said = settle(settings, told, note)
    return Choice(job.answer(told.best.text), note, told, said), evidence


def _rest(settings: SearchingSettings, choice: Choice[Value]) -> Generator[str | Choice[Value], None, None]:
    """The rest of the answer, and the choice."""
    if _waits(settings) and choice.ranking is not None:
        yield choice.ranking.best.text if choice.said is None else choice.said
    yield choice
