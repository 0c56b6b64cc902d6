"""Where a question's step rewards come from: either the file, or a model with a journal of its results."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medprm_scorer.errors import InputError, MedPRMError, NothingScoredError, QuestionTooLongError, with_message
from medprm_scorer.evaluation.journal import Journal
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.evaluation.questions import Checked
from medprm_scorer.scorer import MedPRM

_SETTINGS = ("model", "system", "steps", "dtype", "deterministic", "documents")  # rewards depend on these


class RewardSource(ABC):
    """Where step rewards come from; use it in a `with` block."""

    computes = False
    """Whether a model computes them."""

    def of(self, place: int, question: LabelledQuestion, aggregates: Sequence[str]) -> StepRewards:
        """The step rewards of a question's candidates.

        Args:
            place: Its place in the file, for messages.
            question: The question.
            aggregates: How they will become chain rewards; stored minimum rewards can be used for `min` only.

        Raises:
            InputError: There are none, or they cannot be used; the message names the record.
            MedPRMError: The model failed.
        """
        self.open()  # an error here is not the record's fault
        try:
            return self._rewards(question, aggregates)
        except MedPRMError as error:
            raise with_message(error, f"record {place}: {error}") from None

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the rewards depend on besides the texts, as far as known."""

    @property
    @abstractmethod
    def made_by(self) -> str | None:
        """A readable name of what computed the rewards; None if unknown."""

    def open(self) -> None:  # noqa: B027 - a file needs none
        """Prepare the source; a second call does nothing."""

    def close(self) -> None:  # noqa: B027
        """Close what was opened."""

    def __enter__(self) -> "RewardSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _rewards(self, question: LabelledQuestion, aggregates: Sequence[str]) -> StepRewards: ...


def reward_source(prm: "MedPRM | Callable[[], MedPRM] | None", journal: str | Path | None) -> RewardSource:
    """The source: a model if there is one, otherwise the file's own records.

    Args:
        prm: The scorer, or what loads it.
        journal: Where computed rewards are kept; None: keep none.
    """
    return StoredRewards() if prm is None else ComputedRewards(prm, journal)


def refuse_stored(path: str | Path, found: Checked, rescore: bool) -> None:
    """Refuse to compute rewards for a file that already holds some, unless `rescore` is set.

    Raises:
        InputError: The file holds rewards; the message says for how many questions.
    """
    if found.stored and not rescore:
        raise InputError(
            f"{path} holds rewards for {found.stored:,} questions: leave the model out to use them, or score the file "
            "again (--rescore)"
        )


class StoredRewards(RewardSource):
    """Takes rewards from the file's own records."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._made_by: str | None = None
        self._seen = False

    @property
    def settings(self) -> dict[str, Any]:
        """What the rewards were computed with, according to the records; empty if they do not say."""
        return self._settings

    @property
    def made_by(self) -> str | None:
        """What computed the rewards, according to the first record."""
        return self._made_by

    def _rewards(self, question: LabelledQuestion, aggregates: Sequence[str]) -> StepRewards:
        if question.only_min and set(aggregates) - {"min"}:
            raise InputError("the file holds only PRM_min_score: the aggregate of chain rewards can only be min")
        if question.rewards is None:
            raise InputError(
                "the file holds no rewards for it: name a model that computes them (--model, or --url for a server), "
                "or leave rewards out (--no-rewards)"
            )
        made_with = question.made_with or {}
        run = {key: value for key, value in made_with.items() if key in _SETTINGS}
        if self._seen and run != self._settings:
            raise InputError("its rewards were computed with another model or settings than the earlier ones")
        if not self._seen and isinstance(made_with.get("name"), str):
            self._made_by = made_with["name"]
        self._settings, self._seen = run, True
        return question.rewards


class ComputedRewards(RewardSource):
    """Computes step rewards when they are first needed, and stores them in a journal.

    Args:
        prm: The scorer, or what loads it.
        path: Where the journal is kept; None: keep none.

    Attributes:
        count: Questions whose rewards were requested.
        kept: Those of them whose rewards were in the journal.
        without_documents: Those of them that have no documents.
        documents_left_out: Those of them whose documents did not all fit.
    """

    computes = True

    def __init__(self, prm: MedPRM | Callable[[], MedPRM], path: str | Path | None) -> None:
        self._given, self._path = prm, path
        self._prm: MedPRM | None = None
        self._journal: Journal | None = None
        self.count = self.kept = self.without_documents = self.documents_left_out = 0

    @property
    def made_by(self) -> str | None:
        """The engine's own name; None if no rewards were requested."""
        return self._prm.engine.name if self._prm else None

    @property
    def settings(self) -> dict[str, Any]:
        """What the rewards depend on besides the texts."""
        return dict(self._prm.settings) if self._prm else {}

    def open(self) -> None:
        """Load the scorer, and open the journal."""
        self._opened()

    def _opened(self) -> MedPRM:
        if self._prm is None:
            prm = self._given if isinstance(self._given, MedPRM) else self._given()
            if self._path is not None:
                self._journal = Journal(self._path, {"holds": "step rewards", **prm.settings})
            self._prm = prm
        return self._prm

    def _rewards(self, question: LabelledQuestion, aggregates: Sequence[str]) -> StepRewards:
        del aggregates  # all of them can be computed
        prm = self._opened()
        request = question.request
        texts = request.model_dump(include={"question", "documents", "candidates", "tagged"})
        key = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
        known = self._journal.get(key) if self._journal is not None else None
        self.count += 1
        self.kept += known is not None
        self.without_documents += not request.documents
        if known is None:
            known = _score(prm, question)
            if self._journal is not None:
                self._journal.add(key, known)
        self.documents_left_out += known["documents_left_out"]
        return tuple(None if steps is None else tuple(steps) for steps in known["rewards"])

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()


def _score(prm: MedPRM, question: LabelledQuestion) -> dict[str, Any]:
    """What the journal stores for a question: its candidates' step rewards, and whether all documents were read."""
    (ranking,) = prm.rank_batch([question.request])
    if isinstance(ranking, NothingScoredError | QuestionTooLongError):  # counted as unscored; the run continues
        return {"rewards": [None] * len(question.request.candidates), "documents_left_out": False}
    if isinstance(ranking, MedPRMError):
        raise ranking
    chains = sorted(ranking.chains, key=lambda chain: chain.index)
    return {
        "rewards": [chain.step_rewards if chain.error is None else None for chain in chains],
        "documents_left_out": ranking.documents_used < ranking.documents_given,
    }
