"""Where a question's step rewards come from: the file, or a model and the journal of what it has done; never both."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medprm_scorer.errors import InputError, MedPRMError, NothingScoredError, QuestionTooLongError
from medprm_scorer.evaluation.journal import Journal
from medprm_scorer.evaluation.labelled_records import LabelledQuestion, StepRewards
from medprm_scorer.scorer import MedPRM


class StoredRewards:
    """Takes rewards from the file's own records."""

    def __init__(self) -> None:
        self.made_with: dict[str, Any] = {}
        """What the rewards were computed with; empty if the file does not say."""
        self._seen = False

    def rewards(self, question: LabelledQuestion) -> StepRewards:
        """The stored step rewards.

        Raises:
            InputError: There are none, or they are not of the same model as those before.
        """
        if question.rewards is None:
            raise InputError(
                "the file holds no rewards for it: name a model that computes them (--model, or --url for a server), "
                "or leave rewards out (--no-rewards)"
            )
        made_with = question.made_with or {}
        run = {key: value for key, value in made_with.items() if key in ("model", "system", "steps", "dtype")}
        if self._seen and run != self.made_with:
            raise InputError("its rewards were computed with another model or other settings than those before it")
        self.made_with, self._seen = run, True
        return question.rewards


class ComputedRewards:
    """Computes step rewards when they are first needed, and keeps them in a journal.

    Args:
        prm: The scorer, or what loads it.
        path: Where the journal is kept; None: keep none.

    Attributes:
        count: Questions whose rewards were asked for.
        kept: Those of them whose rewards were in the journal.
        without_documents: Those of them that have no documents.
        documents_left_out: Those of them whose documents did not all fit.
    """

    def __init__(self, prm: MedPRM | Callable[[], MedPRM], path: str | Path | None) -> None:
        self._given, self._path = prm, path
        self._prm: MedPRM | None = None
        self._journal: Journal | None = None
        self.count = self.kept = self.without_documents = self.documents_left_out = 0

    @property
    def name(self) -> str | None:
        """What computes the rewards, for people; None if none were asked for."""
        return self._prm.engine.name if self._prm else None

    @property
    def settings(self) -> dict[str, str]:
        """What the rewards depend on beside the texts."""
        return self._prm.settings if self._prm else {}

    def open(self) -> MedPRM:
        """The scorer; the first call loads it and opens the journal."""
        if self._prm is None:
            prm = self._given if isinstance(self._given, MedPRM) else self._given()
            if self._path is not None:
                self._journal = Journal(self._path, {"holds": "step rewards", **prm.settings})
            self._prm = prm
        return self._prm

    def rewards(self, question: LabelledQuestion) -> StepRewards:
        """The step rewards of a question's candidates, from the journal if they are there."""
        prm = self.open()
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
    """What the journal keeps of a question: its candidates' step rewards, and whether all documents were read."""
    (ranking,) = prm.rank_batch([question.request])
    if isinstance(ranking, NothingScoredError | QuestionTooLongError):  # counted as unscored; the others are worth it
        return {"rewards": [None] * len(question.request.candidates), "documents_left_out": False}
    if isinstance(ranking, MedPRMError):
        raise ranking
    chains = sorted(ranking.chains, key=lambda chain: chain.index)
    return {
        "rewards": [chain.step_rewards if chain.error is None else None for chain in chains],
        "documents_left_out": ranking.documents_used < ranking.documents_given,
    }
