"""The steps before and after the engine for one request: texts to token ids, and rewards to a ranking."""

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from medprm_scorer.aggregate import FAVOURS_FEW_STEPS
from medprm_scorer.encoding import EncodedChain, EncodedPrefix, EncodedPrompt, PromptEncoder
from medprm_scorer.engine import Remembered
from medprm_scorer.errors import InputError, NothingScoredError, QuestionTooLongError, ScoringError, check_choice
from medprm_scorer.results.facts import cautions
from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain, ScoredStep, TaggedSolution, Vote
from medprm_scorer.results.request_parsing import Candidate, check_request
from medprm_scorer.selection import Scored, check_settings, select
from medprm_scorer.text.answers import Options, Reading, normalize_answer, read, read_given
from medprm_scorer.text.answers.callers_functions import (
    AnswerFunction,
    GroupFunction,
    checked_labels,
    group_with,
    read_with,
)
from medprm_scorer.text.steps import SPLIT_RULES, Steps, split_steps
from medprm_scorer.text.steps.balance import split_cautions
from medprm_scorer.text.tagged import tagged_pieces


class Judge(Protocol):
    """Decides whether the answer of a ranking is trusted."""

    def judge(self, ranking: Ranking) -> Ranking:
        """The ranking with its `confidence` and `trusted`."""
        ...


@dataclass(frozen=True)
class Choice:
    """How the winner is chosen.

    Args:
        strategy: One of `STRATEGIES`.
        aggregate: One of `AGGREGATES`.
        group: Decides which answers of a question are equal; None compares them with `normalize_answer`.
        trust: Decides whether the answer is trusted; None leaves that open.

    Raises:
        InputError: The strategy or the aggregate is unknown.
    """

    strategy: str = "weighted_vote"
    aggregate: str = "min"
    group: GroupFunction | None = None
    trust: Judge | None = None

    def __post_init__(self) -> None:
        check_settings(self.strategy, self.aggregate)


def choose(
    chains: Sequence[ScoredChain], strategy: str, aggregate: str, labels: Mapping[str, Hashable] | None = None
) -> dict[str, Any]:
    """The choice among scored chains, as the fields of a `Ranking` that depend only on it.

    Args:
        chains: Every candidate.
        strategy: One of `STRATEGIES`.
        aggregate: One of `AGGREGATES`.
        labels: As from `labelled`.
    """
    chosen = select(voters(chains, aggregate, labels or {}), strategy)
    by_index = {chain.index: chain for chain in chains}
    ordered = [by_index[index] for index in chosen.order]
    return {
        "best": ordered[0],
        "chains": ordered,
        "answer": chosen.answer,
        "declined": chosen.declined,
        "votes": [Vote(**vars(vote)) for vote in chosen.votes],
        "strategy": chosen.strategy,
        "aggregate": aggregate,
    }


@dataclass(frozen=True, repr=False)
class EncodedRequest:
    """One request as token ids, with the data needed to turn its rewards into a ranking.

    Args:
        request: The request.
        prefix: The part that its candidates share.
        prompt: The input of the engine.
        tail: How many tokens the official text has after the last step tag; no reward depends on them.
        chains: Every candidate, in order; those that cannot be scored have their error.
        split: The steps of the candidates that can be scored, by index, in the order of the prompt's chains.
        whole: Whether one step per chain was requested.
        unread: How many chains the caller's answer function failed on.
    """

    request: RankRequest
    prefix: EncodedPrefix
    prompt: EncodedPrompt
    tail: int
    chains: Sequence[ScoredChain]
    split: Mapping[int, Steps]
    whole: bool = False
    unread: int = 0

    @property
    def tokens(self) -> int:
        """Tokens for the engine to run, before it merges common prefixes of candidates."""
        return self.prompt.tokens

    def scored(self, rewards: list[list[float]]) -> list[ScoredChain]:
        """The chains with the rewards from the engine.

        Args:
            rewards: Rewards by chain of the prompt and step, each in [0, 1].

        Raises:
            ScoringError: There are too few or too many, or they are not probabilities.
        """
        check_rewards(rewards, [len(chain.tags) for chain in self.prompt.chains])
        chains = list(self.chains)
        for (index, split), given in zip(self.split.items(), rewards, strict=True):
            steps = [ScoredStep(text=t, reward=r) for t, r in zip(split.steps, given, strict=True)]
            chains[index] = chains[index].model_copy(update={"steps": steps, "split_by": split.rule})
        return chains

    @property
    def answers(self) -> dict[str, str]:
        """The different answers of the chains that can be scored, in order: key of `normalize_answer` → wording."""
        return different_answers(self.chains[index] for index in self.split)

    def groups(self, choice: Choice) -> Any:
        """The result of the choice's `group` function for the answers, for `ranking`; an awaitable if it is async.

        None if there is no function, or fewer than two different answers.

        Raises:
            InputError: The function raised.
        """
        answers = list(self.answers.values())
        if choice.group is None or len(answers) < 2:
            return None
        found = group_with(choice.group, answers, self.request.question)
        return [] if found is None else found  # no labels, which `ranking` refuses

    def ranking(self, rewards: list[list[float]], choice: Choice, *, seconds: float, groups: Any = None) -> Ranking:
        """The choice among the chains by the rewards from the engine.

        Args:
            rewards: As in `scored`.
            choice: How to choose.
            seconds: Wall-clock time to report.
            groups: The result of `groups`, awaited.

        Raises:
            ScoringError: As in `scored`.
            InputError: The group function returned no valid labels.
        """
        chains = self.scored(rewards)
        answers = self.answers
        labels = labelled(answers, None if groups is None else checked_labels(groups, len(answers)))
        prompt = self.prompt
        ranking = Ranking(
            **choose(chains, choice.strategy, choice.aggregate, labels),
            id=self.request.id,
            question=self.request.question,
            documents_used=self.prefix.documents_used,
            documents_given=len(self.request.documents),
            documents_read=list(range(self.prefix.documents_used)),
            prompt_tokens=sum(len(prompt.prefix) + self.tail + len(chain.ids) for chain in prompt.chains),
            unique_tokens=rewards.tokens_of(prompt) if isinstance(rewards, Remembered) else prompt.unique_tokens,
            seconds=seconds,
            options_given=self.request.options is not None,
        )
        found = [*cautions(ranking, choice.strategy), *self._about_steps(choice.aggregate)]
        if self.unread:
            found.append(f"The answer function failed on {self.unread} of {len(self.chains)} chains.")
        if self.request.options_appended:
            found.append("The separate options were appended to the question.")
        ranking = ranking.model_copy(update={"cautions": found})
        return ranking if choice.trust is None else choice.trust.judge(ranking)

    def _about_steps(self, aggregate: str) -> list[str]:
        """What to know about how the chains were split into steps."""
        splits = list(self.split.values())
        found = []
        if not self.whole:
            counts, rules = [len(steps.steps) for steps in splits], [steps.rule for steps in splits]
            found = split_cautions(counts, rules, favours_few=aggregate in FAVOURS_FEW_STEPS)
        partly = sum(bool(steps.left_out) for steps in splits)
        if partly:
            what = "text that is no reasoning, such as sources or a disclaimer: it was not judged"
            found.append(f"{partly} of {len(splits)} chains {'has' if partly == 1 else 'have'} {what}.")
        return found


def different_answers(chains: Iterable[ScoredChain]) -> dict[str, str]:
    """The different answers of some chains, in order: key of `normalize_answer` → first wording."""
    found: dict[str, str] = {}
    for chain in chains:
        if chain.answer is not None:
            found.setdefault(normalize_answer(chain.answer), chain.answer)
    return found


def labelled(answers: Mapping[str, str], labels: Sequence[Hashable] | None) -> dict[str, Hashable]:
    """The label of each answer of `different_answers`, by its key; empty without labels."""
    return {} if labels is None else dict(zip(answers, labels, strict=True))


def voters(chains: Iterable[ScoredChain], aggregate: str | None, labels: Mapping[str, Hashable]) -> list[Scored]:
    """The input of `select` for scored chains.

    Args:
        chains: The chains; one with an error has no reward.
        aggregate: One of `AGGREGATES`; None if no reward is known yet.
        labels: As from `labelled`.
    """
    return [
        Scored(
            chain.index,
            None if chain.error or aggregate is None else chain.reward(aggregate),
            chain.answer,
            declined=chain.declined,
            truncated=chain.truncated,
            key=None if chain.answer is None else labels.get(normalize_answer(chain.answer)),
        )
        for chain in chains
    ]


class RequestEncoder:
    """Turns requests into token ids for an engine. Safe to use from many threads at once.

    Args:
        encoder: Turns text into token ids.
        max_tokens: Longest prefix plus chain that the model can read, in tokens.
        steps: How a chain of thought given as one text is split into steps: one of `SPLIT_RULES`.
        answer: Reads the answer from a chain's text; None uses the package's own rules.

    Raises:
        InputError: The rule for steps is unknown.
    """

    def __init__(self, encoder: PromptEncoder, max_tokens: int, steps: str, answer: AnswerFunction | None) -> None:
        check_choice("rule for steps", steps, SPLIT_RULES)
        self.encoder, self.max_tokens = encoder, max_tokens
        self.steps = "whole" if encoder.system == "outcome" else steps  # outcome mode has a single tag, at the end
        self._answer = answer

    def prefix(self, question: str, documents: Sequence[str]) -> EncodedPrefix:
        """The part that all candidates of a question share.

        Raises:
            InputError: A wrong type, a blank question, or a question too long for the model.
        """
        check_request(question, ["any"], documents)
        prefix = self.encoder.prefix(question, documents)
        if len(prefix.ids) >= self.max_tokens:
            raise QuestionTooLongError(
                f"the question with its documents is {len(prefix.ids)} tokens, and the model reads at most "
                f"{self.max_tokens}"
            )
        return prefix

    def encode(
        self,
        request: RankRequest,
        prefix: EncodedPrefix | None = None,
        answer: AnswerFunction | None = None,
        *,
        some: bool = False,
        answers: bool = True,
    ) -> EncodedRequest:
        """Everything before the engine: its input, and the chains that wait for their rewards.

        Args:
            request: The question, its candidates and documents. With the rule `auto`, and in outcome mode, its `tagged`
                texts are scored unchanged; with another rule, the candidates themselves are split.
            prefix: The result of `prefix` for the question and documents, if it was already computed.
            answer: Reads the answers, instead of the encoder's own function.
            some: Whether these are only some of the candidates; it is then not an error if all of them fail.
            answers: Whether to read the answers.

        Raises:
            InputError: A blank question, no candidates, a question too long for the model, not one answer for each
                candidate, an index in `truncated` that does not exist, or an answer function that failed on all.
            NothingScoredError: No candidate can be scored; the message says why for each.
        """
        check_request(request.question, request.candidates, request.documents)
        given = _given_answers(request)
        prefix = prefix or self.prefix(request.question, request.documents)
        chains: list[ScoredChain] = []
        split: dict[int, Steps] = {}
        encoded: dict[int, EncodedChain] = {}
        failures: list[InputError] = []
        for index, candidate in enumerate(request.candidates):
            steps, chain, error = self._encode(candidate, request.tagged[index] if request.tagged else None)
            if chain is not None and steps is not None:
                tokens = len(prefix.ids) + len(chain.ids)
                if tokens <= self.max_tokens:
                    split[index], encoded[index] = steps, chain
                else:
                    error = f"it is too long: {tokens} tokens with the question, of {self.max_tokens} at most"
            text = candidate if isinstance(candidate, str) else "\n".join(candidate)
            reading = Reading()
            try:
                if answers:
                    reading = self.read(text, request.question, request.options, index, answer, given[index])
            except InputError as failure:  # from the caller's function
                failures.append(failure)
            chains.append(
                ScoredChain(
                    index=index,
                    text=text,
                    answer=reading.answer,
                    declined=reading.declined,
                    truncated=index in request.truncated,
                    error=error,
                )
            )
        if len(failures) == len(chains) and not some:
            raise failures[0]
        if not encoded and not some:
            reasons = "; ".join(f"candidate {chain.index}: {chain.error}" for chain in chains)
            raise NothingScoredError(f"no candidate could be scored: {reasons}")
        prompt = EncodedPrompt(prefix.ids, tuple(encoded.values()))
        tail = len(self.encoder.tail_ids)
        return EncodedRequest(request, prefix, prompt, tail, chains, split, self.steps == "whole", len(failures))

    def read(
        self,
        text: str,
        question: str | None,
        options: Options | None = None,
        index: int = 0,
        answer: AnswerFunction | None = None,
        given: str | None = None,
    ) -> Reading:
        """The answer of a chain.

        Args:
            text: The chain.
            question: Its question; None if unknown.
            options: The answers to choose from; None reads them from the question.
            index: Index of the chain, for messages.
            answer: Reads the answer, instead of the encoder's own function.
            given: The answer, if it is already known.

        Raises:
            InputError: The answer function failed.
        """
        function = answer or self._answer
        if given is not None:
            return read_given(given, question, options)
        if function is not None:
            return read_with(function, text, question, index)
        return read(text, question, options) if text.strip() else Reading()

    def _encode(
        self, candidate: Candidate, tagged: TaggedSolution | None
    ) -> tuple[Steps | None, EncodedChain | None, str | None]:
        """A candidate's steps and their tokens, or the reason why it has none."""
        text = None
        if tagged is not None and self.encoder.system == "outcome":
            text = tagged.outcome
        elif tagged is not None and self.steps == "auto":
            text = tagged.steps
        if text is None:
            steps, error = self._split(candidate)
            return steps, None if steps is None else self.encoder.chain(steps.steps, steps.front), error
        pieces = tagged_pieces(text)
        if not pieces:
            return None, None, "its processed text has no step tag"
        return Steps("", tuple(map(str.strip, pieces)), "tagged"), self.encoder.tagged_chain(pieces), None

    def _split(self, candidate: Candidate) -> tuple[Steps | None, str | None]:
        """A candidate's steps, or the reason why it has none."""
        if self.encoder.system == "outcome" and not isinstance(candidate, str):
            candidate = "\n".join(candidate)
        try:
            steps = split_steps(candidate, self.steps)
        except InputError as error:
            return None, str(error)
        if self.encoder.system == "outcome" and isinstance(candidate, str):
            flat = re.sub(r"\r\n|\r|\n", " ", candidate)
            if steps.steps == (flat.strip(),):  # as the authors write it: blanks at both ends stay
                steps = Steps("", (flat,), steps.rule)
        return (steps, None) if steps.steps else (None, "it is blank")


def _given_answers(request: RankRequest) -> Sequence[str | None]:
    count = len(request.candidates)
    if request.tagged and len(request.tagged) != count:
        raise InputError(
            f"tagged must have one entry for each of the {count} candidates, but has {len(request.tagged)}"
        )
    if any(not 0 <= index < count for index in request.truncated):
        raise InputError(f"truncated must hold indices of candidates, from 0 to {count - 1}")
    if request.answers is None:
        return [None] * count
    if len(request.answers) != count:
        raise InputError(
            f"answers must have one entry for each of the {count} candidates, but has {len(request.answers)}"
        )
    return request.answers


def check_rewards(rewards: Sequence[Sequence[float]], steps: Sequence[int]) -> None:
    """Refuse rewards that are too few, too many, not numbers or not probabilities.

    Args:
        rewards: What an engine returned for one prompt, by chain and step.
        steps: Number of steps of each chain.

    Raises:
        ScoringError: They are wrong; the message says how.
    """
    if len(rewards) != len(steps):
        raise ScoringError(f"the engine returned {len(rewards)} chains for {len(steps)}")
    for given, count in zip(rewards, steps, strict=True):
        if len(given) != count:
            raise ScoringError(f"the engine returned {len(given)} rewards for a chain of {count} steps")
        if not all(0.0 <= reward <= 1.0 for reward in given):
            bad = "NaN" if any(math.isnan(reward) for reward in given) else "numbers outside [0, 1]"
            raise ScoringError(
                f"the model gave {bad} instead of rewards: its weights are damaged, or its dtype overflows"
            )
