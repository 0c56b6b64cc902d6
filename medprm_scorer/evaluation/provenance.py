"""Where the rewards behind some figures come from: collected while they are read, and stated in every report."""

import datetime
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from medprm_scorer.evaluation.questions import Selection
from medprm_scorer.evaluation.results import Provenance, WithRewards
from medprm_scorer.evaluation.reward_sources import ComputedRewards, RewardSource
from medprm_scorer.evaluation.sheets import counted
from medprm_scorer.files.records import file_digest
from medprm_scorer.text.sanitize import one_line

_PACKAGES = ("medprm", "numpy", "torch", "transformers")
_SETTINGS = {"model": "weights", "system": "system prompt", "steps": "steps by rule"}


def trace(
    path: str | Path,
    source: RewardSource,
    selection: Selection,
    *,
    model: str | None = None,
    revision: str | None = None,
    aggregates: Sequence[str] = (),
    used: bool = True,
) -> dict[str, Any]:
    """The fields of `WithRewards`, after all questions were read.

    Args:
        path: The file that they were in.
        source: Where the rewards came from.
        selection: Which questions took part.
        model: What the scorer is called; None takes the engine's own name.
        revision: Which revision of it was asked for.
        aggregates: How step rewards became chain rewards.
        used: Whether rewards were used at all.
    """
    computed = source if isinstance(source, ComputedRewards) else None
    engine = source.made_by if computed else None
    name = model or engine if computed else source.made_by
    versions = {"python": platform.python_version()}
    for package in _PACKAGES if computed else _PACKAGES[:2]:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from the source tree
            versions[package] = "unknown"
    provenance = Provenance(
        file=Path(path).name,
        sha256=file_digest(path),
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        versions=versions,
        rewards="none" if not used else "model" if computed else "file",
        model=name,
        revision=revision,
        settings={key: str(value) for key, value in source.settings.items()},
        aggregates=list(aggregates),
        documents=selection.documents,
        sources=list(selection.sources),
        limit=selection.limit,
        candidates=selection.candidates,
    )
    return {
        "scored_here": computed.count if computed else 0,
        "kept": computed.kept if computed else 0,
        "without_documents": computed.without_documents if computed else 0,
        "documents_left_out": computed.documents_left_out if computed else 0,
        "model": name if computed and computed.count else None,
        "engine": engine,
        "provenance": provenance,
    }


def made_with(source: RewardSource, selection: Selection, model: str | None = None) -> dict[str, str] | None:
    """The `run` of a file of questions: where their rewards come from; None if nothing is known.

    Args:
        source: Where they come from.
        selection: Which questions take part; with which documents is what counts.
        model: What the scorer is called; None takes the engine's own name.
    """
    known = {key: str(value) for key, value in source.settings.items()}
    name = source.made_by
    if isinstance(source, ComputedRewards):
        known, name = {**known, "documents": selection.documents}, model or name
    return ({} if name is None else {"name": name}) | known or None


def document_lines(found: WithRewards) -> list[str]:
    """What to know about the documents that a model read, one sentence per line."""
    lines = []
    if found.without_documents:
        lines.append(
            f"{counted(found.without_documents, 'question')} without documents: the model judged such chains without "
            "any evidence."
        )
    if found.documents_left_out:
        lines.append(
            f"{counted(found.documents_left_out, 'question')} with documents that the model did not read: they did not "
            "fit, or its system prompt has no place for them."
        )
    return lines


def repeated_line(count: int, places: Sequence[tuple[int, int]], what: str) -> str:
    """A sentence that says which questions are repeated in the file.

    Args:
        count: How many.
        places: For the first few, the record and the earlier one; empty if unknown.
        what: The name of the figures that count each as a new question.
    """
    named = ", ".join(f"record {place} is the question of record {first} again" for place, first in places)
    named = f" ({named}{', …' if count > len(places) else ''})" if named else ""
    return f"{counted(count, 'question')} repeated{named}: {what} count each as a new question."


def rewards_line(found: WithRewards) -> str:
    """What computed the rewards, or that they were in the file."""
    if not found.scored_here:
        return "All rewards were in the file."
    model = f" by {one_line(found.model)}" if found.model else ""
    engine = f" [{one_line(found.engine)}]" if found.engine not in (None, found.model) else ""
    kept = f"; {found.kept:,} of them by earlier runs" if found.kept else ""
    return f"Rewards of {counted(found.scored_here, 'question')} were computed{model}{engine}{kept}."


def provenance_lines(known: Provenance | None) -> list[str]:
    """What the figures are based on, so that a shared report can be traced: lines that are safe to show."""
    if known is None:
        return []
    limits = []
    if known.sources:
        limits.append(f"data sources {', '.join(map(one_line, known.sources))}")
    if known.limit is not None:
        limits.append(f"at most {counted(known.limit, 'question')}")
    if known.candidates is not None:
        limits.append(f"at most {counted(known.candidates, 'candidate')} of each question")
    if known.documents != "given":
        limits.append({"none": "no documents", "shuffled": "documents of another question"}[known.documents])
    versions = ", ".join(f"{one_line(name)} {one_line(number)}" for name, number in known.versions.items())
    lines = [
        f"File: {one_line(known.file)}, SHA-256 {one_line(known.sha256)}",
        f"Rewards: {_rewards(known)}",
    ]
    if limits:
        lines.append(f"Limited to: {'; '.join(limits)}")
    return [*lines, f"Evaluated {one_line(known.date)} with {versions}"]


def _rewards(known: Provenance) -> str:
    """Where the rewards come from and what they depend on, on one line."""
    if known.rewards == "none":
        return "not used"
    parts = ["stored in the file"] if known.rewards == "file" else []
    if known.model or not parts:
        parts.append(f"computed by {one_line(known.model)}" if known.model else "computed")
    if known.revision is not None:
        parts.append(f"revision {one_line(known.revision)}")
    parts += [f"{_SETTINGS.get(name, one_line(name))} {one_line(value)}" for name, value in known.settings.items()]
    if known.aggregates:
        parts.append(f"chain reward = {', '.join(map(one_line, known.aggregates))}")
    return "; ".join(parts)
