"""Shows a `Calibration` in a terminal and as a figure. It begins with the promise, or says that there is none."""

from io import StringIO
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medprm_scorer.evaluation.plots import figure_type, save_figure
from medprm_scorer.trust.calibration import Calibration, Reliability
from medprm_scorer.trust.trust import FittedOn

_NO_VALUE = "-"


def headline(found: Calibration) -> str:
    """One sentence: the promise, or that nothing can be trusted."""
    trust = found.trust
    if trust.threshold is None:
        return (
            f"Nothing can be trusted: at the first threshold tested, at most {trust.risk:.1%} errors cannot be "
            f"promised with a probability of {1 - trust.delta:.0%}, and testing ends there. Coverage 0 %."
        )
    return (
        f"Answers with a confidence of at least {trust.threshold:.3f} are trusted: at most {trust.risk:.1%} of them "
        f"are wrong, with a probability of {1 - trust.delta:.0%}. Coverage {found.coverage:.0%}."
    )


def to_text(found: Calibration) -> str:
    """The calibration as plain text of at most 80 columns, in ASCII except for the names of settings."""
    out = StringIO()
    console = Console(file=out, width=80, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(to_rich(found, ascii_only=True))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def to_rich(found: Calibration, *, ascii_only: bool = False) -> RenderableType:
    """The calibration for a rich console.

    Args:
        found: What to show.
        ascii_only: Write symbols in ASCII, for an output that can show nothing else.
    """
    trust = found.trust
    lines = [
        f"{found.questions:,} questions: {trust.fitted:,} for the probability, {trust.calibrated:,} for the threshold",
        f"{found.accuracy:.1%} of all answers are right; {found.unanswered:,} questions have no answer",
    ]
    if found.upper is not None:
        lines.append(
            f"{trust.errors:,} of {trust.answered:,} trusted answers are wrong; the error rate is below "
            f"{found.upper:.2%}, except with a probability of {trust.delta:g}"
        )
    if found.repeated:
        lines.append(f"{found.repeated:,} repeated questions were left out: an earlier question has the same text")
    notes = [
        "The promise holds for questions from the same source, ranked in the same way (docs/trust.md).",
        f"It was made with {_made_with(trust.fitted_on)}.",
    ]
    return Group(
        Text(headline(found), style="bold"),
        Text("\n" + "\n".join(lines)),
        Text("\nRisk by coverage, on the questions for the threshold", style="bold"),
        Padding(_risk_table(found, "*" if ascii_only else "•"), (0, 0, 0, 2), expand=False),
        Text("\nReliability on the same questions", style="bold"),
        Padding(_reliability_table(found), (0, 0, 0, 2), expand=False),
        Text("\n" + "\n".join(notes), style="dim"),
    )


def save_plot(found: Calibration, path: str | Path) -> None:
    """Draw risk against coverage, and reliability, into a file.

    Raises:
        InputError: The suffix is unknown, or matplotlib is missing.
        OutputError: The file cannot be written.
    """
    figure = figure_type()(figsize=(9.6, 4.4), dpi=160, layout="constrained", facecolor="white")
    risk, reliable = figure.subplots(1, 2)
    rows = sorted((row for row in found.rows if row.risk is not None), key=lambda row: row.coverage)
    across = [100 * row.coverage for row in rows]
    risk.fill_between(across, [100 * r.low for r in rows], [100 * r.high for r in rows], color="#0072B2", alpha=0.18)
    risk.plot(across, [100 * (row.risk or 0.0) for row in rows], "o-", color="#0072B2", label="error rate")
    risk.axhline(100 * found.trust.risk, color="#D55E00", linestyle="--", label="largest that is allowed")
    if found.trust.threshold is not None:
        risk.axvline(100 * found.coverage, color="#7f7f7f", linestyle=":", label="coverage of the promise")
    risk.set(xlabel="questions answered (%)", ylabel="of these answered wrongly (%)", xlim=(0, 103))
    risk.set_ylim(bottom=0)
    for part, colour, name in ((found.before, "#E69F00", "share or reward"), (found.after, "#0072B2", "confidence")):
        points = [(b.mean, b.right, b.right - b.low, b.high - b.right) for b in part.bins]
        if points:
            mean, right, below, above = zip(*points, strict=True)
            reliable.errorbar(mean, right, [below, above], fmt="o-", color=colour, capsize=2, label=name)
    reliable.plot([0, 1], [0, 1], color="#7f7f7f", linestyle=":")
    reliable.set(xlabel="probability", ylabel="answers that are right", xlim=(0, 1.02), ylim=(0, 1.02))
    for axes in (risk, reliable):
        axes.grid(color="#80808059", linewidth=0.6)
        axes.legend(frameon=False, fontsize=9.5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{found.questions:,} questions; bands and bars: exact 95% intervals", fontsize=10.5)
    save_figure(figure, path)


def _risk_table(found: Calibration, mark: str) -> Table:
    table = _table("", "confidence from", "coverage", "answered", "wrong", "% wrong", "95% interval")
    for row in found.rows:
        chosen = found.trust.threshold == row.threshold
        risk = _NO_VALUE if row.risk is None else f"{row.risk:.1%}"
        table.add_row(
            *(mark if chosen else "", f"{row.threshold:.3f}", f"{row.coverage:.0%}", f"{row.answered:,}"),
            *(f"{row.errors:,}", risk, f"{row.low:.1%} to {row.high:.1%}"),
            style="bold" if chosen else "",
        )
    return table


def _reliability_table(found: Calibration) -> Table:
    table = _table("", "ECE", "Brier")
    parts: tuple[tuple[str, Reliability], ...] = (
        ("before: share of the votes, or reward", found.before),
        ("after: confidence", found.after),
    )
    for name, part in parts:
        table.add_row(name, f"{part.ece:.3f}", f"{part.brier:.3f}")
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    return table


def _made_with(fitted: FittedOn) -> str:
    count = f"{fitted.fewest}" if fitted.fewest == fitted.most else f"{fitted.fewest} to {fitted.most}"
    known = {
        **fitted.settings,
        "strategy": fitted.strategy,
        "aggregate": fitted.aggregate,
        "stopping rule": fitted.stop or "none",
        "candidates": count,
        "documents": f"for {fitted.documents}",
    }
    return ", ".join(f"{name} {value}" for name, value in known.items())
