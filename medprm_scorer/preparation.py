"""One request on its way to the engine and back: texts to token ids before it, rewards to a ranking after it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medprm_scorer.encoding import EncodedChain, EncodedPrefix, EncodedPrompt, PromptEncoder
from medprm_scorer.errors import InputError, NothingScoredError, QuestionTooLongError, ScoringError, check_choice
from medprm_scorer.results.models import Ranking, ScoredChain, ScoredStep, Vote
from medprm_scorer.selection import Scored, select
from medprm_scorer.text.answer_function import read_answer
from medprm_scorer.text.answers import extract_answer
from medprm_scorer.text.steps import SPLIT_RULES, Steps, split_steps

Candidate = str | Sequence[str]
"""A whole chain of thought, or its steps."""


@dataclass(frozen=True, repr=False)
class Work:
    """One request, encoded.

    Args:
        question: The question.
        documents_given: How many documents there were.
        prefix: What its candidates share.
        prompt: What the engine runs.
        tail: How many tokens the official text has after the last step tag, which no reward depends on.
        chains: Every candidate, in order; those that cannot be scored with their error.
        split: The steps of those that can be scored, by index, in the order of the prompt's chains.
    """

    question: str
    documents_given: int
    prefix: EncodedPrefix
    prompt: EncodedPrompt
    tail: int
    chains: Sequence[ScoredChain]
    split: Mapping[int, Steps]

    @property
    def tokens(self) -> int:
        """Tokens that the engine is to run, before it shares what candidates have in common."""
        return len(self.prompt.prefix) + sum(len(chain.ids) for chain in self.prompt.chains)

    def scored(self, rewards: list[list[float]]) -> list[ScoredChain]:
        """The chains with the rewards that the engine gave.

        Raises:
            ScoringError: They are too few, too many, or no rewards.
        """
        check_rewards(rewards, [len(chain.tags) for chain in self.prompt.chains])
        chains = list(self.chains)
        for (index, split), given in zip(self.split.items(), rewards, strict=True):
            steps = [ScoredStep(text=t, reward=r) for t, r in zip(split.steps, given, strict=True)]
            chains[index] = chains[index].model_copy(update={"steps": steps})
        return chains

    def ranking(
        self, rewards: list[list[float]], strategy: str, aggregate: str, *, id: str | int | None, seconds: float
    ) -> Ranking:
        """The choice among the chains by the rewards that the engine gave.

        Raises:
            ScoringError: As in `scored`.
        """
        chains = self.scored(rewards)
        scored = [
            Scored(chain.index, None if chain.error else chain.reward(aggregate), chain.answer) for chain in chains
        ]
        choice = select(scored, strategy)
        ordered = [chains[index] for index in choice.order]
        prompt = self.prompt
        return Ranking(
            id=id,
            best=ordered[0],
            chains=ordered,
            answer=choice.answer,
            votes=[Vote(answer=v.answer, count=v.count, weight=v.weight, share=v.share) for v in choice.votes],
            strategy=choice.strategy,
            aggregate=aggregate,
            question=self.question,
            documents_used=self.prefix.documents_used,
            documents_given=self.documents_given,
            prompt_tokens=sum(len(prompt.prefix) + self.tail + len(chain.ids) for chain in prompt.chains),
            unique_tokens=len(prompt.prefix) + sum(len(chain.ids) for chain in set(prompt.chains)),
            seconds=seconds,
        )


class Preparation:
    """Turns requests into work for an engine. Safe to use from many threads at once.

    Args:
        encoder: Turns text into token ids.
        max_tokens: Longest prefix plus chain that the model can read, in tokens.
        steps: How a chain of thought given as one text is split into steps: one of `SPLIT_RULES`.
        answer: Reads the answer from a chain's text; None takes `extract_answer`.

    Raises:
        InputError: The rule for steps is unknown.
    """

    def __init__(
        self, encoder: PromptEncoder, max_tokens: int, steps: str, answer: Callable[[str], str | None] | None
    ) -> None:
        check_choice("rule for steps", steps, SPLIT_RULES)
        self.encoder, self.max_tokens = encoder, max_tokens
        self.steps = "whole" if encoder.system == "outcome" else steps  # outcome mode has one tag, at the very end
        self._answer = answer or extract_answer

    def prefix(self, question: str, documents: Sequence[str]) -> EncodedPrefix:
        """What all candidates of a question share.

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

    def work(
        self,
        question: str,
        candidates: Sequence[Candidate],
        documents: Sequence[str],
        prefix: EncodedPrefix | None = None,
    ) -> Work:
        """All that comes before the engine: what it is to run, and the chains that wait for their rewards.

        Args:
            question: The question.
            candidates: Its candidates.
            documents: Its documents.
            prefix: What `prefix` gave for the question and documents, if it has been asked already.

        Raises:
            InputError: A wrong type, a blank question, no candidates, or a question too long for the model.
            NothingScoredError: No candidate can be scored; it says why for each.
        """
        check_request(question, candidates, documents)
        prefix = prefix or self.prefix(question, documents)
        chains: list[ScoredChain] = []
        split: dict[int, Steps] = {}
        encoded: dict[int, EncodedChain] = {}
        for index, candidate in enumerate(candidates):
            steps, error = self._split(candidate)
            if steps is not None:
                chain = self.encoder.chain(steps.steps, steps.front)
                tokens = len(prefix.ids) + len(chain.ids)
                if tokens <= self.max_tokens:
                    split[index], encoded[index] = steps, chain
                else:
                    error = f"it is too long: {tokens} tokens with the question, of {self.max_tokens} at most"
            text = candidate if isinstance(candidate, str) else "\n".join(candidate)
            chains.append(ScoredChain(index=index, text=text, answer=self.read_answer(text, index), error=error))
        if not encoded:
            reasons = "; ".join(f"candidate {chain.index}: {chain.error}" for chain in chains)
            raise NothingScoredError(f"no candidate could be scored: {reasons}")
        prompt = EncodedPrompt(prefix.ids, tuple(encoded.values()))
        return Work(question, len(documents), prefix, prompt, len(self.encoder.tail_ids), chains, split)

    def read_answer(self, text: str, index: int) -> str | None:
        """The answer that a chain gives, or None; `index` names the chain in the message of an `InputError`."""
        return read_answer(self._answer, text, index)

    def _split(self, candidate: Candidate) -> tuple[Steps | None, str | None]:
        """A candidate's steps, or why it has none."""
        if self.encoder.system == "outcome" and not isinstance(candidate, str):
            candidate = "\n".join(candidate)
        try:
            steps = split_steps(candidate, self.steps)
        except InputError as error:
            return None, str(error)
        return (steps, None) if steps.steps else (None, "it is blank")


def check_request(question: object, candidates: object, documents: object) -> None:
    """Refuse what is not a question with candidates and documents.

    Raises:
        InputError: Naming the first thing that is wrong, and its place.
    """
    if not isinstance(question, str) or not question.strip():
        raise InputError("the question must be a text that is not blank")
    if isinstance(candidates, str) or not isinstance(candidates, Sequence):
        raise InputError("candidates must be a list of texts, or of lists of steps")
    if not candidates:
        raise InputError("there are no candidates: give at least one")
    for index, candidate in enumerate(candidates):
        steps = [candidate] if isinstance(candidate, str) else candidate
        if not isinstance(steps, Sequence) or not all(isinstance(step, str) for step in steps):
            raise InputError(f"candidate {index} must be a text or a list of steps")
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise InputError("documents must be a list of texts")
    for index, document in enumerate(documents):
        if not isinstance(document, str):
            raise InputError(f"document {index} must be a text")


def check_rewards(rewards: Sequence[Sequence[float]], steps: Sequence[int]) -> None:
    """Refuse rewards that are too few, too many, not numbers or not probabilities.

    Args:
        rewards: What an engine returned for one prompt, by chain and step.
        steps: Number of steps of each chain.

    Raises:
        ScoringError: Saying what is wrong with them.
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
