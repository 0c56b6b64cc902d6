"""What each selection method chooses among all candidates of one question, and whether that is right.

`majority_vote` is plain self-consistency: rewards play no part, so candidates that could not be scored vote too, and a
tie goes to the answer seen first. `best_of_n` and `weighted_vote` are as in `medprm_scorer.selection`. An answer is
right if any candidate that gives it is right.

`authors_selection` counts as the authors' scripts do (github.com/eth-medical-ai-lab/Med-PRM, `python/`): it compares
raw answers without normalization, and a missing answer counts as an answer.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.selection import Scored, select
from medprm_scorer.text.answers import normalize_answer


@dataclass(frozen=True)
class Candidates:
    """All candidates of one question, in their order. The `repr` shows no text.

    Args:
        answers: The answer of each candidate; None or blank if it gives none.
        right: Whether each is right.
        rewards: The chain reward of each in [0, 1], by one aggregate; None if it could not be scored.

    Raises:
        InputError: There are no candidates, or the three differ in length.
        ScoringError: A reward is NaN or outside [0, 1].
    """

    answers: tuple[str | None, ...] = field(repr=False)
    right: tuple[bool, ...]
    rewards: tuple[float | None, ...]

    def __post_init__(self) -> None:
        check_judgements(self.right, self.answers)
        check_rewards(self.rewards, len(self.right))


@dataclass(frozen=True)
class Winners:
    """What is chosen among all candidates of one question. The `repr` shows no text.

    Equal answers are one string: the wording of the first candidate that gives the answer, scored or not.

    Args:
        majority_answer: The most frequent answer; None if no candidate gives one.
        majority_right: Whether that is right; False if there is none.
        best_answer: The answer of the candidate with the highest reward; None if that gives none.
        best_right: Whether that candidate is right; False if none could be scored.
        weighted_answer: The answer with the largest sum of rewards; None if no scored candidate gives one.
        weighted_right: Whether that is right. Without such an answer: whether the candidate with the highest reward is;
            False if none could be scored.
        weighted_reward: Highest reward of a candidate with `weighted_answer`, in [0, 1]. Without such an answer: the
            highest of all; None if none could be scored.
        counts: Number of candidates that give each answer, scored or not: most frequent first, then first seen first.
    """

    majority_answer: str | None = field(repr=False)
    majority_right: bool
    best_answer: str | None = field(repr=False)
    best_right: bool
    weighted_answer: str | None = field(repr=False)
    weighted_right: bool
    weighted_reward: float | None
    counts: dict[str, int] = field(repr=False)


@dataclass(frozen=True)
class AuthorsSelection:
    """What the authors' scripts count for one question.

    Args:
        majority_right: Some candidate with score 1 has the most common raw answer (None counts as an answer).
        best_right: The candidate with the largest minimum reward has score 1; None without rewards.
        weighted_right: Some candidate with score 1 has the raw answer with the largest sum of minimum rewards; None
            without rewards.
    """

    majority_right: bool
    best_right: bool | None
    weighted_right: bool | None


def winners(candidates: Candidates) -> Winners:
    """What majority vote, best-of-n and weighted vote choose among all candidates of one question.

    Args:
        candidates: The candidates, with the rewards of one aggregate.

    Returns:
        The answers, whether they are right, and how many candidates gave each answer.

    Example:
        >>> found = winners(Candidates(("A", "B", "(a)"), (False, True, False), (0.2, 0.9, 0.3)))
        >>> found.majority_answer, found.weighted_answer, found.weighted_reward, found.counts
        ('A', 'B', 0.9, {'A': 2, 'B': 1})
        >>> found
        Winners(majority_right=False, best_right=True, weighted_right=True, weighted_reward=0.9)
    """
    rewards = candidates.rewards
    keys, right_keys = answer_keys(candidates.answers, candidates.right)
    written: dict[str | None, str] = {}
    for key, answer in zip(keys, candidates.answers, strict=True):
        if key is not None and answer is not None:
            written.setdefault(key, answer)
    votes = Counter(key for key in keys if key is not None).most_common()  # of equal counts, the first seen first
    best = max((i for i in range(len(keys)) if rewards[i] is not None), key=lambda i: rewards[i] or 0.0, default=None)
    winner = _weighted_winner(candidates.answers, rewards, range(len(keys)))
    return Winners(
        majority_answer=written[votes[0][0]] if votes else None,
        majority_right=bool(votes) and votes[0][0] in right_keys,
        best_answer=None if best is None else written.get(keys[best]),
        best_right=best is not None and bool(candidates.right[best]),
        weighted_answer=None if winner is None else written.get(keys[winner]),
        weighted_right=winner is not None and (bool(candidates.right[winner]) or keys[winner] in right_keys),
        weighted_reward=None if winner is None else rewards[winner],
        counts={written[key]: count for key, count in votes},
    )


def authors_selection(
    answers: Sequence[Hashable], scores: Sequence[bool], min_rewards: Sequence[float | None] | None
) -> AuthorsSelection:
    """Count one question as the authors do: `Counter` over raw answers, None included; the first seen wins a tie.

    Args:
        answers: The recorded answer of each candidate, unchanged.
        scores: Whether each has score 1.
        min_rewards: The smallest step reward of each in [0, 1]; None for a candidate without rewards, which is never
            chosen. The whole argument is None if there are no rewards.

    Raises:
        InputError: There are no candidates, or the lengths differ.
        ScoringError: A reward is NaN or outside [0, 1].

    Example:
        >>> authors_selection(["A", None, None], [True, False, False], [0.2, 0.7, 0.7])
        AuthorsSelection(majority_right=False, best_right=False, weighted_right=False)
    """
    check_judgements(scores, answers)
    right_answers = {answer for answer, score in zip(answers, scores, strict=True) if score}
    majority = Counter(answers).most_common(1)[0][0] in right_answers
    if min_rewards is None:
        return AuthorsSelection(majority, None, None)
    check_rewards(min_rewards, len(scores))
    weights: dict[Hashable, float] = {}
    best: tuple[float, bool] | None = None
    for answer, score, reward in zip(answers, scores, min_rewards, strict=True):
        if reward is not None:
            weights[answer] = weights.get(answer, 0.0) + reward
            if best is None or reward > best[0]:
                best = (reward, bool(score))
    if best is None:
        return AuthorsSelection(majority, False, False)
    return AuthorsSelection(majority, best[1], max(weights, key=weights.__getitem__) in right_answers)


def answer_keys(answers: Sequence[str | None], right: Sequence[bool]) -> tuple[list[str | None], set[str | None]]:
    """The key of each answer (None for one that does not vote), and the keys of the right answers."""
    keys = [normalize_answer(answer) if answer is not None and answer.strip() else None for answer in answers]
    return keys, {key for key, is_right in zip(keys, right, strict=True) if is_right and key is not None}


def weighted_vote(
    answers: Sequence[str | None],
    right: Sequence[bool],
    rewards: Sequence[float | None],
    row: Sequence[int],
    keys: Sequence[str | None],
    right_keys: set[str | None],
) -> bool:
    """Whether the weighted vote among some of the candidates is right, as `medprm_scorer.selection` computes it.

    Args:
        answers: The answer of each candidate.
        right: Whether each is right.
        rewards: The chain reward of each.
        row: Indices of those that take part.
        keys: As from `answer_keys`.
        right_keys: As from `answer_keys`.
    """
    winner = _weighted_winner(answers, rewards, row)
    return winner is not None and (bool(right[winner]) or keys[winner] in right_keys)


def check_judgements(right: Sequence[bool], answers: Sequence[object]) -> None:
    """Refuse an empty list of candidates, or different numbers of answers and judgements.

    Raises:
        InputError: One of these is the case; the message says which.
    """
    if not len(right):
        raise InputError("there are no candidates to choose from: pass at least one")
    if len(answers) != len(right):
        raise InputError(f"{len(answers)} answers but {len(right)} judgements: give one of each per candidate")


def check_rewards(rewards: Sequence[float | None], total: int, aggregate: str = "") -> None:
    """Refuse the wrong number of rewards, or rewards that are not probabilities.

    Raises:
        InputError: There is not one for each candidate.
        ScoringError: One is NaN or outside [0, 1].
    """
    of = f" ({aggregate})" if aggregate else ""
    if len(rewards) != total:
        raise InputError(f"{len(rewards)} rewards{of} but {total} candidates: give one per candidate, None if unscored")
    for place, reward in enumerate(rewards):
        if reward is not None and not 0.0 <= reward <= 1.0:  # also true for NaN
            raise ScoringError(f"the reward{of} of candidate {place} is {reward}, not a probability")


def _weighted_winner(answers: Sequence[str | None], rewards: Sequence[float | None], row: Sequence[int]) -> int | None:
    """The candidate that `select` puts first; None if none in the row could be scored."""
    if all(rewards[i] is None for i in row):
        return None
    return select([Scored(i, rewards[i], answers[i]) for i in row], "weighted_vote").order[0]
