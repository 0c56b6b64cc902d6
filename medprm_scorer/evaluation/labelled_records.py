"""From a record to `JudgedQuestion`: a question whose candidates' answers are known to be right or wrong.

Two forms of records, told apart as in `medprm_scorer.request_parsing`:

- The released test set, with or without the fields of the authors' scorer. Per solution, `answer` (null: it gives
  none) and `score` (1, 0, or "None" where nobody can tell) are used as recorded; `PRM_score_list` holds its rewards.
  `PRM_min_score` and `PRM_score` follow from the list and are not read. Only where no solution has a `score` do the
  answers decide, and only if `correct_answer` is an option letter.
- The package's own: a request with `correct_answer`, and optionally `data_source` and `step_rewards` (parallel to
  `candidates`: lists of numbers, null where a candidate has none). Answers are read from the candidates' texts.

Answers are right if `normalize_answer` maps them and the correct one to the same key, so free text must agree word for
word: `MI` is not `myocardial infarction`. Where the answers are option letters, `(B) Aspirin` is read as `B`, and what
is no letter is refused, since nothing could ever be right.

A question is open-ended, and has no `right`, if it is not known of every candidate whether it is right. Keys that are
likely meant for others (`gold` for `correct_answer`) are refused: left alone, they would drop the question in silence.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.request_parsing import json_kind, parse_request
from medprm_scorer.results.models import RankRequest
from medprm_scorer.text.answers import normalize_answer, read
from medprm_scorer.text.answers.callers_functions import AnswerFunction, read_with
from medprm_scorer.text.sanitize import valid_unicode

_MEANT = {"correct_answer": ("answer", "gold", "label", "target"), "step_rewards": ("rewards", "PRM_score_list")}
_LEADING_LETTER = re.compile(r"\(?([a-z])[).:]")
_UNKNOWN = "None"
"""The `score` of solutions to open-ended questions in the released file: a string."""


@dataclass(frozen=True, repr=False)
class JudgedQuestion:
    """A question, its candidates' answers, and what is known of them. The `repr` shows no text.

    Args:
        id: The record's own id, or None.
        source: Its `data_source`; "" if it names none.
        question: The question, options inside.
        answers: Each candidate's answer; None if it gives none.
        right: Whether each candidate's answer is right; None if that is not known of all.
        rewards: Each candidate's step rewards in [0, 1] as stored, None for one that could not be scored; None as a
            whole if the record does not hold them for every candidate.
        request: What a model is to score.
    """

    id: str | int | None
    source: str
    question: str
    answers: tuple[str | None, ...]
    right: tuple[bool, ...] | None
    rewards: tuple[tuple[float, ...] | None, ...] | None
    request: RankRequest

    def __repr__(self) -> str:
        judged, scored = self.right is not None, self.rewards is not None
        return f"JudgedQuestion({len(self.answers)} candidates, judged={judged}, scored={scored})"


def parse_judged(record: Mapping[str, Any], answer: AnswerFunction | None = None) -> JudgedQuestion:
    """Check one decoded record and read what is known of its candidates.

    Args:
        record: A record in one of the two forms; see the module's head.
        answer: Reads the answer from a candidate's text, where none is recorded; None takes the package's own rules.

    Returns:
        The question; `answers`, `right` and `rewards` are parallel to the candidates of its `request`.

    Raises:
        InputError: `parse_request` refuses the record, a key that is read here has a wrong type or value, a reward is
            not a number in [0, 1], or `answer` failed. One line that names the key or the candidate's index.

    Example:
        >>> record = {"question": "Which?", "candidates": ["The answer is (A)", "The answer is (B)"]}
        >>> judged = parse_judged(record | {"correct_answer": "b.", "step_rewards": [[0.2], None]})
        >>> judged.answers, judged.right, judged.rewards
        (('A', 'B'), (False, True), ((0.2,), None))
        >>> judged
        JudgedQuestion(2 candidates, judged=True, scored=True)
    """
    request = parse_request(record)
    answers: list[str | None]
    if "candidates" in record:
        _refuse_near_misses(record)
        answers = [_read_answer(answer, request, index) for index in range(len(request.candidates))]
        right = _compared(answers, _correct_answer(record))
        rewards = _own_rewards(record, len(answers))
    else:
        solutions = record["solutions"]
        answers = [
            _recorded_answer(solution["answer"], f"solutions[{index}].answer")
            if "answer" in solution
            else _read_answer(answer, request, index)
            for index, solution in enumerate(solutions)
        ]
        if any("score" in solution for solution in solutions):
            right = _scores(solutions)
        else:
            correct = _correct_answer(record)
            right = _compared(answers, correct if _is_letter(correct) else None)
        rewards = _stored_rewards(solutions)
    return JudgedQuestion(
        id=request.id,
        source=_source(record),
        question=request.question,
        answers=tuple(answers),
        right=right,
        rewards=rewards,
        request=request,
    )


def _refuse_near_misses(record: Mapping[str, Any]) -> None:
    for meant, names in _MEANT.items():
        for name in names:
            if name in record and meant not in record:
                raise InputError(f"{name}: unknown key beside candidates; is {meant} meant?")


def _source(record: Mapping[str, Any]) -> str:
    source = record.get("data_source")
    if source is None:
        return ""
    if not isinstance(source, str):
        raise InputError(f"data_source: expected a string, found {json_kind(source)}")
    return valid_unicode(source).strip()


def _read_answer(answer: AnswerFunction | None, request: RankRequest, index: int) -> str | None:
    candidate = request.candidates[index]
    text = candidate if isinstance(candidate, str) else "\n".join(candidate)
    if answer is not None:
        return read_with(answer, text, request.question, index).answer
    return read(text, request.question).answer if text.strip() else None


def _recorded_answer(value: object, key: str) -> str | None:
    """An answer that stands in the record; a number is taken as it would be printed."""
    if value is None:
        return None
    if isinstance(value, str):
        return valid_unicode(value) if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{key}: expected a string, found a number that is not finite")
        return str(value)
    raise InputError(f"{key}: expected a string or null, found {json_kind(value)}")


def _correct_answer(record: Mapping[str, Any]) -> str | None:
    """The key of the correct answer, or None."""
    correct = _recorded_answer(record.get("correct_answer"), "correct_answer")
    return None if correct is None else normalize_answer(correct)


def _is_letter(key: str | None) -> bool:
    return key is not None and len(key) == 1 and "a" <= key <= "z"


def _compared(answers: list[str | None], correct: str | None) -> tuple[bool, ...] | None:
    if correct is None:
        return None
    given = [normalize_answer(answer) for answer in answers if answer is not None]
    if given and all(map(_is_letter, given)) and not _is_letter(correct):
        letter = _LEADING_LETTER.match(correct)
        if letter is None:
            raise InputError("correct_answer: expected an option letter, since the candidates answer with letters")
        correct = letter[1]
    return tuple(answer is not None and normalize_answer(answer) == correct for answer in answers)


def _scores(solutions: list[dict[str, Any]]) -> tuple[bool, ...] | None:
    right: list[bool | None] = []
    for index, solution in enumerate(solutions):
        if "score" not in solution:
            raise InputError(f"solutions[{index}].score: missing, while other solutions have one")
        score = solution["score"]
        if score is None or score == _UNKNOWN:
            right.append(None)
        elif isinstance(score, int | float) and score in (0, 1):
            right.append(bool(score))
        else:
            raise InputError(f'solutions[{index}].score: expected 1, 0, or "None" for open-ended questions')
    known = tuple(score for score in right if score is not None)
    return known if len(known) == len(right) else None


def _own_rewards(record: Mapping[str, Any], count: int) -> tuple[tuple[float, ...] | None, ...] | None:
    stored = record.get("step_rewards")
    if stored is None:
        return None
    if not isinstance(stored, list | tuple):
        raise InputError(f"step_rewards: expected a list, found {json_kind(stored)}")
    if len(stored) != count:
        raise InputError(f"step_rewards: expected one entry per candidate, which are {count}, found {len(stored)}")
    return tuple(_rewards(value, f"step_rewards[{index}]") for index, value in enumerate(stored))


def _stored_rewards(solutions: list[dict[str, Any]]) -> tuple[tuple[float, ...] | None, ...] | None:
    """The stored rewards; None without any. Some alone would have to be thrown away or mixed with another model's."""
    missing = [index for index, solution in enumerate(solutions) if "PRM_score_list" not in solution]
    if len(missing) == len(solutions):
        return None
    if missing:
        raise InputError(
            f"solutions[{missing[0]}].PRM_score_list: missing, while other solutions have one; score all or none"
        )
    return tuple(
        _rewards(solution["PRM_score_list"], f"solutions[{index}].PRM_score_list")
        for index, solution in enumerate(solutions)
    )


def _rewards(value: object, key: str) -> tuple[float, ...] | None:
    """The rewards of one candidate; None if it has none, as when it could not be scored."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise InputError(f"{key}: expected a list of numbers or null, found {json_kind(value)}")
    for place, reward in enumerate(value):
        if not isinstance(reward, int | float) or isinstance(reward, bool):
            raise InputError(f"{key}[{place}]: expected a number from 0 to 1, found {json_kind(reward)}")
        if not 0 <= reward <= 1:  # also false for NaN
            raise InputError(f"{key}[{place}]: a reward must be a number from 0 to 1; score the file again")
    return tuple(map(float, value)) or None
