"""`explain`: scores chains again with other sets of documents, to see which document supports which step.

All prompts go to the engine as one tree, so that shared prefixes (the first documents, for instance) are run once. The
work is a generator that yields prompts and is sent their rewards, so it serves both sync and async callers.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from medprm_scorer.encoding import EncodedPrompt
from medprm_scorer.engine import Engine, Rewards
from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.preparation import EncodedRequest, RequestEncoder, check_rewards
from medprm_scorer.results.explanation import NOISE, Cost, Effect, Explanation, SentenceEffect
from medprm_scorer.results.facts import is_scored
from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain
from medprm_scorer.results.request_parsing import Candidate, check_request
from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.steps import split_steps
from medprm_scorer.trust.effects import LIMIT, Shown, effects, log_odds, orders, plan
from medprm_scorer.trust.shared_prompt import joined, unique_tokens

_TOGETHER = 64  # sequences in one engine call
_MOST_SENTENCES = 64  # sentences of one document; with more, several are left out at a time
_MOST_ORDERS = 10_000
_SAME = 0.02  # rewards of one model on one machine differ by less, even in half precision

_Chains = list[list[float]]
"""Rewards by chain and step."""


@dataclass(frozen=True, repr=False)
class Subject:
    """A chain to explain.

    Args:
        candidate: Its text, or its steps.
        index: Its place among the candidates.
        before: The rewards of its steps in a ranking; empty if it is not from a ranking.
    """

    candidate: Candidate
    index: int = 0
    before: Sequence[float] = ()


@dataclass(frozen=True)
class Method:
    """How to explain.

    Args:
        sentences: Whether to also leave out single sentences.
        shapley: Number of random orders for Shapley values; 0 for none.
        seed: Seed of these orders.
        noise: Smallest effect that counts, in log-odds.

    Raises:
        InputError: A number is out of range.
    """

    sentences: bool = False
    shapley: int = 0
    seed: int = 0
    noise: float = NOISE

    def __post_init__(self) -> None:
        if not 0 <= self.shapley <= _MOST_ORDERS:
            raise InputError(f"shapley is a number of random orders, from 0 to {_MOST_ORDERS:,}")
        if not 0.0 < self.noise < 2 * LIMIT:  # also false for NaN
            raise InputError(f"noise is a difference of log-odds, above 0 and below {2 * LIMIT:.0f}")


def subjects_of(ranking: Ranking, documents: Sequence[str], steps: str, *, runner_up: bool) -> list[Subject]:
    """The chains of a ranking to explain: its winner and, if requested, the best chain with another answer.

    Args:
        ranking: The ranking.
        documents: The documents of the ranking, since a ranking does not hold their texts.
        steps: The rule by which a text is split into steps.
        runner_up: Whether the second is requested; if no chain has another answer, it is the next chain.

    Raises:
        InputError: The number of documents is not that of the ranking.
    """
    check_request(ranking.question, ["any"], documents)
    if len(documents) != ranking.documents_given:
        raise InputError(
            "a ranking does not hold the texts of its documents: pass them, explain(ranking, documents=[...]); it was "
            f"made with {ranking.documents_given}, but {len(documents)} were passed"
        )
    others = [chain for chain in ranking.chains if is_scored(chain) and chain.index != ranking.best.index]
    others.sort(key=lambda chain: chain.answer == ranking.best.answer)  # stable: each part stays best first
    chains = [ranking.best, *(others[:1] if runner_up else ())]
    return [Subject(_candidate(chain, steps), chain.index, chain.step_rewards) for chain in chains]


def explain(
    requests: RequestEncoder,
    engine: Engine,
    question: str,
    subjects: Sequence[Subject],
    documents: Sequence[str],
    method: Method,
) -> Explanation:
    """What affects the steps of one chain, and of a runner-up; see `MedPRM.explain`."""
    work = _explain(requests, question, subjects, documents, method)
    prompt = next(work)
    try:
        while True:
            prompt = work.send(engine.score([prompt]))
    except StopIteration as done:
        found: Explanation = done.value
        return found


async def aexplain(
    requests: RequestEncoder,
    engine: Engine,
    question: str,
    subjects: Sequence[Subject],
    documents: Sequence[str],
    method: Method,
) -> Explanation:
    """`explain`, without blocking the event loop while the model runs."""
    work = _explain(requests, question, subjects, documents, method)
    prompt = next(work)
    try:
        while True:
            prompt = work.send(await engine.ascore([prompt]))
    except StopIteration as done:
        found: Explanation = done.value
        return found


def _explain(
    requests: RequestEncoder,
    question: str,
    subjects: Sequence[Subject],
    documents: Sequence[str],
    method: Method,
) -> Generator[EncodedPrompt, Rewards, Explanation]:
    candidates = [one.candidate if isinstance(one.candidate, str) else list(one.candidate) for one in subjects]
    check_request(question, candidates, documents)
    request = RankRequest(question=question, candidates=candidates, documents=list(documents))
    encoded = requests.encode(request)
    for subject, chain in zip(subjects, encoded.chains, strict=True):
        if chain.error is not None:
            raise InputError(f"candidate {subject.index} cannot be explained: {chain.error}")
    scoring = _Scoring(requests, encoded)
    used = request.documents[: encoded.prefix.documents_used]
    permutations = orders(len(used), method.shapley, method.seed) if used else []
    shown = plan(len(used), permutations)
    by_shown = yield from scoring.of([[used[place] for place in places] for places in shown])
    rewards = dict(zip(shown, by_shown, strict=True))
    found = [
        _found(request, chain, place, rewards, permutations, method.noise)
        for place, chain in enumerate(encoded.scored(rewards[tuple(range(len(used)))]))
    ]
    if method.sentences:
        carrying = {row.document for one in found for row in _carriers(one)}
        cuts = [cut for place in sorted(carrying) for cut in _cuts(place, used[place])]
        left = yield from scoring.of([[*used[: cut.document], cut.rest, *used[cut.document + 1 :]] for cut in cuts])
        found = [
            one.model_copy(update={"sentences": _of_sentences(one, cuts, [chains[place] for chains in left])})
            for place, one in enumerate(found)
        ]
    about = _about_documents(requests, request, len(used))
    found = [
        one.model_copy(
            update={
                "chain": one.chain.model_copy(update={"index": subject.index}),
                "cautions": [*about, *_about_rewards(one, subject)],
                "cost": scoring.cost,
            }
        )
        for one, subject in zip(found, subjects, strict=True)
    ]
    return found[0].model_copy(update={"runner_up": found[1] if len(found) > 1 else None})


class _Scoring:
    """Scores the same chains with several lists of documents in turn, and counts the cost."""

    def __init__(self, requests: RequestEncoder, encoded: EncodedRequest) -> None:
        self._requests, self._encoded = requests, encoded
        self._prompts = self._prompt_tokens = self._unique_tokens = 0
        self._begun = time.perf_counter()

    def of(self, variants: Sequence[Sequence[str]]) -> Generator[EncodedPrompt, Rewards, list[_Chains]]:
        """The rewards by variant, chain and step, for each variant of the documents.

        Raises:
            ScoringError: The engine returned no rewards.
        """
        chains = self._encoded.prompt.chains
        found: list[_Chains] = []
        room = max(1, _TOGETHER // len(chains))
        for start in range(0, len(variants), room):
            prefixes = [self._prefix(documents) for documents in variants[start : start + room]]
            prompt = joined(prefixes, chains)
            self._prompts += len(prefixes)
            self._unique_tokens += unique_tokens(prompt)
            self._prompt_tokens += sum(
                len(prefix) + len(chain.ids) + self._encoded.tail for prefix in prefixes for chain in chains
            )
            (rewards,) = yield prompt
            check_rewards(rewards, [len(chain.tags) for chain in prompt.chains])
            found += [rewards[place : place + len(chains)] for place in range(0, len(rewards), len(chains))]
        return found

    def _prefix(self, documents: Sequence[str]) -> tuple[int, ...]:
        prefix = self._requests.prefix(self._encoded.request.question, documents)
        if prefix.documents_used < len(documents):
            raise ScoringError("a document has more tokens without one of its sentences than with it")
        return prefix.ids

    @property
    def cost(self) -> Cost:
        """The cost so far."""
        return Cost(
            prompts=self._prompts,
            prompt_tokens=self._prompt_tokens,
            unique_tokens=self._unique_tokens,
            seconds=time.perf_counter() - self._begun,
        )


def _found(
    request: RankRequest,
    chain: ScoredChain,
    place: int,
    rewards: dict[Shown, _Chains],
    permutations: Sequence[Shown],
    noise: float,
) -> Explanation:
    """The explanation of one chain by documents; the cost is added later."""
    odds = {shown: [log_odds(reward) for reward in chains[place]] for shown, chains in rewards.items()}
    everything = max(odds, key=len)
    return Explanation(
        chain=chain,
        question=request.question,
        documents=request.documents,
        documents_read=list(everything),
        log_odds=odds[everything],
        log_odds_without_documents=odds[()],
        effects=effects(odds, len(everything), permutations, noise),
        noise=noise,
        permutations=len(permutations),
        cost=Cost(prompts=0, prompt_tokens=0, unique_tokens=0, seconds=0.0),
    )


@dataclass(frozen=True, repr=False)
class _Cut:
    """A document without one of its sentences: the sentence's position, and the remaining text."""

    document: int
    start: int
    end: int
    rest: str


def _cuts(document: int, text: str) -> list[_Cut]:
    """The document without each of its sentences; none for a single sentence, which is the document itself."""
    spans = list(sentences(text))
    size = -(-len(spans) // _MOST_SENTENCES)
    spans = [(some[0][0], some[-1][1]) for some in (spans[i : i + size] for i in range(0, len(spans), size or 1))]
    if len(spans) < 2:
        return []
    begins = [*(start for start, _ in spans[1:]), len(text)]
    return [
        _Cut(document, start, end, text[:start] + text[begin:] if begin < len(text) else text[:start].rstrip())
        for (start, end), begin in zip(spans, begins, strict=True)
    ]


def _of_sentences(found: Explanation, cuts: Sequence[_Cut], left: Sequence[Sequence[float]]) -> list[SentenceEffect]:
    """For each step, the sentences of the documents that affect it; a single sentence has the effect of its document.

    Args:
        found: The effects of the documents.
        cuts: The parts that were left out.
        left: The rewards of the steps, by cut.
    """
    rows = []
    for row in _carriers(found):
        step = row.step
        own = [
            SentenceEffect(
                step=step,
                document=cut.document,
                start=cut.start,
                end=cut.end,
                without=found.log_odds[step] - log_odds(rewards[step]),
            )
            for cut, rewards in zip(cuts, left, strict=True)
            if cut.document == row.document
        ]
        if not own:
            text = found.documents[row.document]
            ((start, end),) = [*sentences(text)][:1] or [(0, len(text))]
            own = [SentenceEffect(step=step, document=row.document, start=start, end=end, without=row.moves)]
        rows += own
    return rows


def _carriers(found: Explanation) -> list[Effect]:
    return [row for step in range(len(found.chain.steps)) for row in found.carriers(step)]


def _candidate(chain: ScoredChain, steps: str) -> Candidate:
    """The chain in its original form: its text if that is split into the same steps again, otherwise the steps."""
    texts = [step.text for step in chain.steps]
    try:
        again = list(split_steps(chain.text, steps).steps)
    except InputError:
        again = []
    return chain.text if again == texts else texts


def _about_documents(requests: RequestEncoder, request: RankRequest, used: int) -> list[str]:
    given = len(request.documents)
    if not given:
        return ["There are no documents, so no step can be based on one."]
    found = []
    if used < given:
        found.append(f"{given - used} of {given} documents were not read: their effects are unknown.")
    if used and requests.encoder.system == "auto":
        found.append('Without documents, this model reads another system prompt: effects "alone" include that change.')
    return found


def _about_rewards(found: Explanation, subject: Subject) -> list[str]:
    rewards = found.chain.step_rewards
    cautions = []
    if subject.before and (
        len(rewards) != len(subject.before)
        or max(abs(now - then) for now, then in zip(rewards, subject.before, strict=True)) > _SAME
    ):
        cautions.append("The rewards differ from those in the ranking: another model, prompt or order of documents.")
    limited = sum(abs(odds) >= LIMIT for odds in found.log_odds)
    if limited:
        cautions.append(
            f"The rewards of {limited} of {len(rewards)} steps are 0 or 1 to the last digit: their effects may be "
            "larger than shown."
        )
    return cautions
