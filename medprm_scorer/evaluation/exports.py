"""Exported results: one row per question, and the questions with their rewards in the authors' format."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medprm_scorer.aggregate import aggregate_rewards
from medprm_scorer.errors import InputError, OutputError
from medprm_scorer.evaluation.choices import Winners
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.files.whole_file import whole_file

_ROWS = 200  # rows of a Parquet file that are written at once


@dataclass(frozen=True, repr=False)
class Outcome:
    """The results for one question.

    Args:
        place: Its place in the file, from 0.
        record: The record.
        question: The question with what is known about it.
        rewards: Its step rewards; None if they were not used.
        chosen: What is chosen among its candidates; None if it has no judged answers.
        aggregate: How step rewards become a chain reward; None if they were not used.
        run: The model and settings with which the rewards were computed; None if unknown.
    """

    place: int
    record: Mapping[str, Any]
    question: LabelledQuestion
    rewards: StepRewards | None
    chosen: Winners | None
    aggregate: str | None
    run: Mapping[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Flat columns: id, source, gold, each choice's answer and whether it is right, and all rewards."""
        question, chosen, right = self.question, self.chosen, self.question.right
        row: dict[str, Any] = {
            "id": None if question.id is None else str(question.id),
            "place": self.place,
            "source": question.source,
            "gold": question.gold,
            "answers": list(question.answers),
            "right": None if right is None else list(right),
            "single": None if right is None else sum(right) / len(right),
            "oracle_right": None if right is None else any(right),
            "majority_vote_answer": chosen.majority_answer if chosen else None,
            "majority_vote_right": chosen.majority_right if chosen else None,
        }
        by_rewards = chosen if self.rewards is not None else None
        row |= {
            "best_of_n_answer": by_rewards.best_answer if by_rewards else None,
            "best_of_n_right": by_rewards.best_right if by_rewards else None,
            "weighted_vote_answer": by_rewards.weighted_answer if by_rewards else None,
            "weighted_vote_right": by_rewards.weighted_right if by_rewards else None,
        }
        steps = None if self.rewards is None else [None if one is None else list(one) for one in self.rewards]
        chains = None
        if steps is not None and self.aggregate is not None:
            chains = [None if one is None else aggregate_rewards(one, self.aggregate) for one in steps]
        return row | {"chain_rewards": chains, "step_rewards": steps}

    def scored_record(self) -> dict[str, Any]:
        """The record in the format of the released test set, with the rewards as the authors' scorer adds them.

        In addition, `run` records what the rewards were computed with; it is read back as `LabelledQuestion.made_with`.
        """
        question, request = self.question, self.question.request
        own = self.record.get("solutions", ())
        solutions = []
        for index, candidate in enumerate(request.candidates):
            text = candidate if isinstance(candidate, str) else "\n".join(candidate)
            kept = own[index] if index < len(own) else {}
            solution = {"solution": text} | {key: kept[key] for key in kept if not key.startswith("PRM_")}
            solution.setdefault("answer", question.answers[index])
            if question.right is not None:
                solution.setdefault("score", int(question.right[index]))
            if self.rewards is not None:
                solution |= _authors_fields(self.rewards[index], question.only_min and question.rewards is self.rewards)
            solutions.append(solution)
        run = {} if self.run is None or self.rewards is None else {"run": dict(self.run)}
        return {
            "question_id": question.id,
            "data_source": question.source,
            "question": request.question,
            "correct_answer": self.record.get("correct_answer"),
            "related_docs": request.documents,
            "solutions": solutions,
            **run,
        }


def _authors_fields(steps: tuple[float, ...] | None, only_min: bool) -> dict[str, Any]:
    if only_min:
        return {"PRM_min_score": min(steps or (), default=-math.inf)}
    steps = steps or ()
    return {
        "PRM_score_list": list(steps),
        "PRM_min_score": min(steps, default=-math.inf),
        "PRM_score": steps[-1] if steps else -math.inf,
    }


Export = Callable[[Outcome], None]


@contextmanager
def scored_file(path: str | Path) -> Iterator[Export]:
    """A JSON list with `Outcome.scored_record` of each question.

    Raises:
        OutputError: It cannot be written.
    """
    with whole_file(path) as file:
        begin = b"["

        def add(outcome: Outcome) -> None:
            nonlocal begin
            file.write(begin + b"\n" + json.dumps(outcome.scored_record()).encode())
            begin = b","

        yield add
        file.write(b"\n]\n" if begin == b"," else b"[]\n")


def per_question_file(path: str | Path) -> AbstractContextManager[Export]:
    """A file with `Outcome.row` of each question with judged answers: JSONL, or Parquet if its name ends in `.parquet`.

    Raises:
        InputError: Its name ends otherwise, or pyarrow is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".jsonl":
        return _rows_as_lines(path)
    if suffix != ".parquet":
        raise InputError(f"{path}: its name must end in .jsonl or .parquet")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow: pip install pyarrow, or write a .jsonl file") from None
    return _rows_as_parquet(path, pyarrow)


@contextmanager
def _rows_as_lines(path: str | Path) -> Iterator[Export]:
    with whole_file(path) as file:
        yield lambda outcome: _write(file, json.dumps(outcome.row()).encode() + b"\n")


def _write(file: Any, line: bytes) -> None:
    file.write(line)


@contextmanager
def _rows_as_parquet(path: str | Path, pyarrow: Any) -> Iterator[Export]:
    text, flag, number = pyarrow.string(), pyarrow.bool_(), pyarrow.float64()
    kinds = {
        "place": pyarrow.int64(),
        "single": number,
        "answers": pyarrow.list_(text),
        "right": pyarrow.list_(flag),
        "chain_rewards": pyarrow.list_(number),
        "step_rewards": pyarrow.list_(pyarrow.list_(number)),
    }

    def kind(name: str) -> Any:
        return kinds.get(name, flag if name.endswith("_right") else text)

    rows: list[dict[str, Any]] = []
    with whole_file(path) as file:
        writer = None

        def flush() -> None:
            nonlocal writer
            if rows:
                schema = pyarrow.schema([(name, kind(name)) for name in rows[0]])
                writer = writer or pyarrow.parquet.ParquetWriter(file, schema)
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows.clear()

        def add(outcome: Outcome) -> None:
            rows.append(outcome.row())
            if len(rows) == _ROWS:
                flush()

        yield add
        flush()
        if writer is None:
            raise OutputError(f"cannot write {path}: there is no question with judged answers")
        writer.close()
