"""From a record to `LabelledQuestion`: a question whose candidates' answers are known to be right or wrong.

There are three forms of records:

- The released test set, with or without the fields of the authors' scorer. Each solution's `answer` (null: it gives
  none) and `score` (1, 0, or "None" if unknown) are used as recorded; `PRM_score_list` holds its rewards. A file with
  only `PRM_min_score` is read as one reward per candidate. If no solution has a `score`, the answers decide, provided
  that `correct_answer` is an option.
- The package's own: a request with `correct_answer`, and optionally `data_source` and `step_rewards` (parallel to
  `candidates`: lists of numbers, null where a candidate has none). Answers are read from the candidates' texts.
- A line that `medprm score` wrote (`ranking` or `error`): the first or second form, with its rewards. It holds no
  documents, so it can only be scored again without documents.

Answers are right if `normalize_answer` maps them and the correct one to the same key, so free text must agree word for
word: `MI` is not `myocardial infarction`. Text that is exactly an option's (`yes` for `(A) yes`) counts as that option.
If the answers are option letters, `(B) Aspirin` is read as `B`, and a correct answer that is not a letter is refused,
since no candidate could be right. So is a letter that is neither an option of the question nor any candidate's answer.
If the correct answer is a letter and the question has no options, they are elsewhere: `(A) 180 mg` is then read as `A`,
where `MedPRM.rank` would read the dose.

A question is open-ended, and has no `right`, if it is not known of any candidate whether it is right. If only some
scores are "None", these candidates count as wrong, as in the authors' scripts. Keys that look like mistakes (`gold` for
`correct_answer`) are refused: if they were ignored, the question would be dropped silently.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medprm_scorer.errors import InputError
from medprm_scorer.results.models import RankRequest
from medprm_scorer.results.request_parsing import json_kind, parse_request
from medprm_scorer.text.answers import DECLINED, normalize_answer, read
from medprm_scorer.text.answers.callers_functions import AnswerFunction, read_with
from medprm_scorer.text.answers.options import find_options
from medprm_scorer.text.sanitize import valid_unicode

StepRewards = tuple[tuple[float, ...] | None, ...]
"""For each candidate its step rewards in [0, 1], or None if it could not be scored."""

_MEANT = {"correct_answer": ("answer", "gold", "label", "target"), "step_rewards": ("rewards", "PRM_score_list")}
_LEADING_LETTER = re.compile(r"\(?([a-z])[).:]")
_OPTION = re.compile(r"^[ \t]{0,8}\(([A-Z])\) ?(\S[^\n]{0,500})$", re.MULTILINE)
_RUN = ("name", "model", "system", "steps", "dtype", "deterministic", "documents")
_LONGEST_SETTING = 4096  # characters; this package never writes more
PROCESSBENCH = "ProcessBench's label k becomes step_labels: k times 1, then 0, then nulls; its label -1 becomes all 1"
_UNKNOWN = "None"
"""The `score` of a solution without a judgement: a string."""


@dataclass(frozen=True, repr=False)
class LabelledQuestion:
    """A question, its candidates' answers, and what is known about them. The `repr` shows no text.

    Args:
        id: The record's own id, or None.
        source: Its `data_source`; "" if it names none.
        gold: Its `correct_answer`, unchanged; None if it has none.
        answers: Each candidate's answer; None if it gives none.
        right: Whether each candidate's answer is right; None if that is not known of any.
        unjudged: How many candidates count as wrong because their score is "None" while others have one.
        raw_answers: The answers exactly as recorded; the same as `answers` if none are.
        scores: Whether each candidate has score 1, if there are scores; otherwise `right`.
        rewards: The stored step rewards; None if the record does not hold them.
        only_min: Whether these are only the smallest step reward of each candidate.
        request: The request that a model scores; its `question` and `documents` are the ones to show.
        made_with: What the rewards were computed with, as recorded by `medprm score` and `medprm evaluate --scored`;
            otherwise None.
        given: How many candidates the record holds, including those that do not take part.
        lacks_documents: Whether it is a line of `medprm score`, which does not hold the request's documents.
    """

    id: str | int | None
    source: str
    gold: str | None
    answers: tuple[str | None, ...]
    right: tuple[bool, ...] | None
    unjudged: int
    raw_answers: tuple[Hashable, ...]
    scores: tuple[bool, ...] | None
    rewards: StepRewards | None
    only_min: bool
    request: RankRequest
    made_with: Mapping[str, Any] | None = None
    given: int = 0
    lacks_documents: bool = False

    @property
    def digest(self) -> bytes:
        """Digest of the question's text, including its options: equal for equal questions."""
        return hashlib.sha256(self.request.question.encode()).digest()[:16]

    def __repr__(self) -> str:
        judged, scored = self.right is not None, self.rewards is not None
        return f"LabelledQuestion({len(self.answers)} candidates, judged={judged}, scored={scored})"


def parse_labelled(
    record: Mapping[str, Any], answer: AnswerFunction | None = None, most: int | None = None
) -> LabelledQuestion:
    """Check one decoded record and read what it says about its candidates.

    Args:
        record: A record in one of the forms in the module's docstring. An error line of `medprm score` without its
            request is not one of them: see `is_error_only`.
        answer: Reads the answer from a candidate's text if none is recorded; None uses the package's own rules. For a
            text that declines to answer it returns `DECLINED`, which votes and is never right.
        most: Read only that many candidates, from the first; None for all.

    Returns:
        The question; its data on candidates is parallel to those of its `request`.

    Raises:
        InputError: `parse_request` refuses the record, a key that is read here has a wrong type or value, a reward is
            not a number in [0, 1], there is not one reward for each step of a list of steps, or `answer` failed. The
            message is one line that names the key or the candidate's index.

    Example:
        >>> record = {"question": "Which?", "candidates": ["The answer is (A)", "The answer is (B)"]}
        >>> labelled = parse_labelled(record | {"correct_answer": "b.", "step_rewards": [[0.2], None]})
        >>> labelled.answers, labelled.right, labelled.rewards
        (('A', 'B'), (False, True), ((0.2,), None))
        >>> labelled
        LabelledQuestion(2 candidates, judged=True, scored=True)
    """
    made_with, lacks_documents = None, False
    if isinstance(record, Mapping):
        made_with = _run(record)
        if "ranking" in record or "error" in record:
            lacks_documents, record = _lacks_documents(record), plain_record(record)
    given_candidates = _candidates(record)
    record = _first(record, most) if isinstance(record, Mapping) else record
    request = parse_request(record)
    count, unjudged, only_min = len(request.candidates), 0, False
    has_scores = "candidates" not in record and any("score" in solution for solution in record["solutions"])
    gold = record.get("correct_answer")
    if has_scores and not isinstance(gold, str):  # with scores it decides nothing, and may be of any type
        gold = None
    gold = _recorded_answer(gold, "correct_answer")
    answers: list[str | None]
    scores: tuple[bool, ...] | None = None
    if "candidates" in record:
        _refuse_near_misses(record)
        answers = [_read_answer(answer, request, index, gold) for index in range(count)]
        raw: list[Any] = list(answers)
        right = _compared(answers, gold, request.question)
        rewards = _own_rewards(record, request)
    else:
        solutions = record["solutions"]
        answers, raw = [], []
        for index, solution in enumerate(solutions):
            recorded = "answer" in solution
            key = f"solutions[{index}].answer"
            answers.append(
                _recorded_answer(solution["answer"], key) if recorded else _read_answer(answer, request, index, gold)
            )
            raw.append(solution["answer"] if recorded else answers[-1])
        if has_scores:
            given = _scores(solutions)
            scores = tuple(score is True for score in given)
            known = any(score is not None for score in given)
            right, unjudged = (scores, given.count(None)) if known else (None, 0)
        else:
            options = _options(request.question)
            correct = None if gold is None else options.get(normalize_answer(gold), normalize_answer(gold))
            right = _compared(answers, gold if _is_letter(correct) else None, request.question)
        rewards, only_min = _stored_rewards(solutions)
    return LabelledQuestion(
        id=request.id,
        source=_source(record),
        gold=gold,
        answers=tuple(answers),
        right=right,
        unjudged=unjudged,
        raw_answers=tuple(raw),
        scores=right if scores is None else scores,
        rewards=rewards,
        only_min=only_min,
        request=request,
        made_with=made_with,
        given=given_candidates,
        lacks_documents=lacks_documents,
    )


def is_error_only(record: Mapping[str, Any]) -> bool:
    """Whether this is a line of `medprm score` for a request that could not be read: there is nothing to judge."""
    return "error" in record and "ranking" not in record and "request" not in record and "question" not in record


def plain_record(line: Mapping[str, Any]) -> dict[str, Any]:
    """The record that a line of `medprm score` was made from, as far as the line holds it, with the line's rewards.

    Raises:
        InputError: It is not such a line, or it was changed.
    """
    try:
        kept = {key: line[key] for key in ("data_source", "correct_answer") if key in line}
        if "ranking" in line:
            chains = sorted(line["ranking"]["chains"], key=lambda chain: int(chain["index"]))
            question, texts = line["ranking"]["question"], [chain["text"] for chain in chains]
            rewards = [None if chain["error"] else [step["reward"] for step in chain["steps"]] for chain in chains]
        else:
            question, texts = line["request"]["question"], line["request"]["candidates"]
            rewards = [None] * len(texts)
        if "solutions" not in line:
            return {"id": line["id"], "question": question, "candidates": texts, "step_rewards": rewards, **kept}
        solutions = [
            {"solution": text, **solution, "PRM_score_list": steps}
            for text, solution, steps in zip(texts, line["solutions"], rewards, strict=True)
        ]
        return {"question_id": line["id"], "question": question, "solutions": solutions, **kept}
    except (KeyError, TypeError, ValueError):
        raise InputError("ranking: not as medprm score writes it") from None


def _run(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    run = record.get("run")
    if not isinstance(run, Mapping):
        return None
    if not all(isinstance(run.get(key, ""), str) and len(run.get(key, "")) <= _LONGEST_SETTING for key in _RUN):
        raise InputError("run: not as medprm writes it; leave it out if the rewards are not medprm's")
    return run


def _lacks_documents(line: Mapping[str, Any]) -> bool:
    """Whether there were documents; also True if that is unknown, as for a request that could not be scored."""
    ranking = line.get("ranking")
    return not isinstance(ranking, Mapping) or ranking.get("documents_given") != 0


def _candidates(record: object) -> int:
    """How many candidates there are; 0 for a record that will be refused."""
    if not isinstance(record, Mapping):
        return 0
    found = record.get("candidates" if "candidates" in record else "solutions")
    return len(found) if isinstance(found, list | tuple) else 0


def _first(record: Mapping[str, Any], most: int | None) -> Mapping[str, Any]:
    """The record with only its first candidates."""
    if most is None:
        return record
    keys = ("candidates", "step_rewards") if "candidates" in record else ("solutions",)
    return {**record, **{key: record[key][:most] for key in keys if isinstance(record.get(key), list | tuple)}}


def _refuse_near_misses(record: Mapping[str, Any]) -> None:
    for meant, names in _MEANT.items():
        for name in names:
            if name in record and meant not in record:
                hint = f" {PROCESSBENCH}" if name == "label" and json_kind(record[name]) == "a number" else ""
                raise InputError(f"{name}: unknown key beside candidates; is {meant} meant?{hint}")


def _source(record: Mapping[str, Any]) -> str:
    source = record.get("data_source")
    if source is None:
        return ""
    if not isinstance(source, str):
        raise InputError(f"data_source: expected a string, found {json_kind(source)}")
    return valid_unicode(source).strip()


def _read_answer(answer: AnswerFunction | None, request: RankRequest, index: int, gold: str | None) -> str | None:
    """The answer in a candidate's text.

    If the right answer is a letter, and the question has no options, the options are elsewhere: letters are then read
    as they are, without the question.
    """
    candidate = request.candidates[index]
    text = candidate if isinstance(candidate, str) else "\n".join(candidate)
    if not text.strip():
        return None
    if answer is not None:
        found = read_with(answer, text, request.question, index)
    else:
        lacks_options = gold is not None and _is_letter(normalize_answer(gold)) and not find_options(request.question)
        found = read(text, None if lacks_options else request.question)
    return DECLINED if found.declined else found.answer


def _recorded_answer(value: object, key: str) -> str | None:
    """A recorded answer; a number is taken as it would be printed."""
    if value is None:
        return None
    if isinstance(value, str):
        return valid_unicode(value) if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{key}: expected a string, found a number that is not finite")
        return str(value)
    raise InputError(f"{key}: expected a string or null, found {json_kind(value)}")


def _is_letter(key: str | None) -> bool:
    return key is not None and len(key) == 1 and "a" <= key <= "z"


def _options(question: str) -> dict[str, str]:
    """Maps the text of each option in the question to its letter; omits equal texts and single letters."""
    found = [(normalize_answer(text), letter.lower()) for letter, text in _OPTION.findall(question)]
    times = Counter(text for text, _ in found)
    return {text: letter for text, letter in found if times[text] == 1 and not _is_letter(text)}


def _compared(answers: Sequence[str | None], gold: str | None, question: str) -> tuple[bool, ...] | None:
    if gold is None:
        return None
    options = _options(question)
    correct, *given = (
        None if text is None else options.get(normalize_answer(text), normalize_answer(text))
        for text in (gold, *answers)
    )
    voting = [key for key in given if key is not None]
    if voting and all(map(_is_letter, voting)) and not _is_letter(correct):
        letter = _LEADING_LETTER.match(correct or "")
        if letter is None:
            raise InputError("correct_answer: expected an option letter, since the candidates answer with letters")
        correct = letter[1]
    letters = {letter.lower() for letter, _ in _OPTION.findall(question)}
    if len(letters) > 1 and _is_letter(correct) and correct not in {*letters, *given}:
        raise InputError("correct_answer: the question has no such option, so no candidate could be right")
    return tuple(key is not None and key == correct for key in given)


def _scores(solutions: Sequence[Mapping[str, Any]]) -> list[bool | None]:
    """Whether each solution is right; None if unknown."""
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
            raise InputError(f'solutions[{index}].score: expected 1, 0, or "None" if unknown')
    return right


def _own_rewards(record: Mapping[str, Any], request: RankRequest) -> StepRewards | None:
    count, stored = len(request.candidates), record.get("step_rewards")
    if stored is None:
        return None
    if not isinstance(stored, list | tuple):
        raise InputError(f"step_rewards: expected a list, found {json_kind(stored)}")
    if len(stored) != count:
        raise InputError(f"step_rewards: expected one entry for each of {count} candidates, found {len(stored)}")
    found = tuple(_rewards(value, f"step_rewards[{index}]") for index, value in enumerate(stored))
    for index, (steps, rewards) in enumerate(zip(request.candidates, found, strict=True)):
        if rewards is not None and not isinstance(steps, str) and len(steps) != len(rewards):
            raise InputError(
                f"step_rewards[{index}]: candidate {index} has {len(steps)} steps, but rewards for {len(rewards)}; "
                "give one for each, or have the file scored again"
            )
    return found


def _stored_rewards(solutions: Sequence[Mapping[str, Any]]) -> tuple[StepRewards | None, bool]:
    """The stored rewards, and whether they are smallest rewards only; None without any.

    Rewards for only some candidates are refused: they would have to be discarded, or mixed with another model's.
    """
    for key in ("PRM_score_list", "PRM_min_score"):
        missing = [index for index, solution in enumerate(solutions) if key not in solution]
        if not missing:
            only_min = key == "PRM_min_score"
            return tuple(
                _rewards(_as_list(solution[key]) if only_min else solution[key], f"solutions[{index}].{key}")
                for index, solution in enumerate(solutions)
            ), only_min
        if len(missing) < len(solutions):
            raise InputError(f"solutions[{missing[0]}].{key}: missing, while other solutions have one")
    return None, False


def _as_list(minimum: object) -> list[object]:
    """A smallest reward as a list of one reward; an empty list for -Infinity, which the authors write for no steps."""
    return [] if minimum is None or minimum == -math.inf else [minimum]


def _rewards(value: object, key: str) -> tuple[float, ...] | None:
    """The rewards of one candidate; None if it has none, for example because it could not be scored."""
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
