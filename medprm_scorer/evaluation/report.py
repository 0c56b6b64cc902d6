"""How an `Evaluation` looks in a terminal: `to_rich` for the command line, `to_text` for a file or a log.

The headline comes first, then what the figures rest on, then the tables. All tables fit into 80 columns, unless names
are long; narrower than that, rich folds them.
"""

import math
from io import StringIO
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medprm_scorer.evaluation.report_tables import LABELS, Sheet, Signs, find_cell, sheets
from medprm_scorer.evaluation.results import Evaluation
from medprm_scorer.text.sanitize import one_line

WIDTH = 80
"""Columns of `to_text`."""

_INDENT = 2
_SETTINGS = {"model": "weights", "system": "system prompt", "steps": "steps by rule"}
_FEW = 30  # questions; with fewer, a percentile bootstrap covers less than it says


def to_text(evaluation: Evaluation, *, official: bool = False) -> str:
    """The evaluation as plain text of at most 80 columns: no ANSI codes, and ASCII but for what names hold.

    Args:
        evaluation: What to draw.
        official: With the authors' own selection.
    """
    out = StringIO()
    console = Console(
        file=out, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    console.print(to_rich(evaluation, ascii_only=True, official=official))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def to_rich(evaluation: Evaluation, *, ascii_only: bool = False, official: bool = False) -> RenderableType:
    """The evaluation for a rich console.

    Args:
        evaluation: What to draw.
        ascii_only: Write signs in ASCII, for an output that can show nothing else.
        official: With the authors' own selection, beside majority vote.
    """
    found = sheets(evaluation, ascii_only=ascii_only, official=official)
    parts: list[RenderableType] = [Text(headline(evaluation, ascii_only=ascii_only), style="bold"), Text()]
    parts += [Text(line) for line in summary(evaluation)]
    for sheet in found:
        parts += [Text(), Text(sheet.title, style="bold"), Padding(_table(sheet), (0, 0, 0, _INDENT), expand=False)]
    notes = (*method(evaluation, found), *provenance(evaluation))
    return Group(*parts, Text(), *(Text(note, style="dim") for note in notes))


def headline(evaluation: Evaluation, *, ascii_only: bool = False) -> str:
    """The one figure that matters: the weighted vote against majority vote, with all candidates, over all questions."""
    if not evaluation.sizes or not evaluation.total.cells:
        return "Nothing to compare: no question has a judged answer."
    signs = Signs.of(evaluation, ascii_only)
    n = max(evaluation.sizes)
    first = evaluation.aggregates[0] if evaluation.aggregates else None
    choices = ("weighted_vote", "majority_vote") if first else ("majority_vote", "single", "oracle")
    cells = {choice: find_cell(evaluation.total, n, choice, first) for choice in choices}
    parts = [f"{LABELS[choice]} {signs.value(cell.accuracy if cell else None)}" for choice, cell in cells.items()]
    vote = cells.get("weighted_vote")
    if vote is not None:
        parts += [signs.gain(vote.gain), f"p {signs.p(vote.p_value)}"]
    found = ", ".join(parts)
    questions = _count(evaluation.total.questions, "question")
    return f"{found[0].upper()}{found[1:]} (percent of {questions}, n = {n})"


def summary(evaluation: Evaluation) -> list[str]:
    """What was evaluated and what was left out, a sentence to a line."""
    total = evaluation.total
    lines = [
        f"{_count(total.questions, 'question')}, {_count(total.candidates, 'candidate')}, "
        f"{_count(len(evaluation.sources), 'data source')}"
    ]
    if total.open_ended:
        lines.append(
            f"{_count(total.open_ended, 'question')} left out: it is not known of every candidate whether it is right "
            "(open-ended, or without a correct answer)."
        )
    if evaluation.repeated:
        lines.append(
            f"{_count(evaluation.repeated, 'question')} repeated: intervals and tests count each as a new question."
        )
    if total.unanswered:
        gives = "gives no answer and never votes" if total.unanswered == 1 else "give no answer and never vote"
        lines.append(f"{_count(total.unanswered, 'candidate')} {gives}.")
    if total.unscored:
        lines.append(f"{_count(total.unscored, 'candidate')} could not be scored; rewards never choose them.")
    if total.without_rewards:
        lines.append(
            f"{_count(total.without_rewards, 'question')} without any scored candidate: choices by rewards count as "
            "wrong there."
        )
    if evaluation.without_documents:
        lines.append(
            f"{_count(evaluation.without_documents, 'question')} without documents: the model judged such chains "
            "without any evidence."
        )
    if evaluation.documents_left_out:
        lines.append(
            f"{_count(evaluation.documents_left_out, 'question')} with documents that the model did not read: they did "
            "not fit, or its system prompt takes none."
        )
    fewer = [(n, count) for n, count in sorted(total.fewer.items()) if count]
    if fewer:
        have = "has" if fewer[0][1] == 1 else "have"
        first = f"{_count(fewer[0][1], 'question')} {have} fewer than {_count(fewer[0][0], 'candidate')}"
        rest = "".join(f", {count:,} fewer than {n:,}" for n, count in fewer[1:])
        lines.append(f"{first}{rest}; such a question takes part with all of them.")
    if total.unjudged:
        counts = "counts as wrong" if total.unjudged == 1 else "count as wrong"
        lines.append(f"{_count(total.unjudged, 'candidate')} that nobody judged, beside judged ones, {counts}.")
    if evaluation.options_appended:
        lines.append(
            f"{_count(evaluation.options_appended, 'question')} with options beside the question: they were appended."
        )
    if evaluation.failed:
        lines.append(f"{_count(evaluation.failed, 'line')} left out: an error of medprm score instead of a request.")
    if evaluation.scored_here:
        model = f" by {one_line(evaluation.model)}" if evaluation.model else ""
        engine = f" [{one_line(evaluation.engine)}]" if evaluation.engine not in (None, evaluation.model) else ""
        kept = f"; {evaluation.kept:,} of them by earlier runs" if evaluation.kept else ""
        lines.append(f"Rewards of {_count(evaluation.scored_here, 'question')} were computed{model}{engine}{kept}.")
    elif total.questions:
        lines.append("All rewards were in the file." if evaluation.aggregates else "No rewards were used.")
    few = [source for source in evaluation.sources if 0 < source.questions < _FEW]
    if 0 < total.questions < _FEW:
        lines.append(f"Fewer than {_FEW} questions in all: the intervals are too narrow.")
    elif few:
        lines.append(f"{_count(len(few), 'source')} with fewer than {_FEW} questions: such intervals are too narrow.")
    return lines


def method(evaluation: Evaluation, shown: list[Sheet]) -> list[str]:
    """How the figures came about, a paragraph to each entry.

    Args:
        evaluation: Where the figures come from.
        shown: The tables that stand above it: their p-values are counted.
    """
    found = [
        "Where n is less than a question's number of candidates, its figures are expected values over subsets of n (at "
        f"most {evaluation.subsets:,} per question, seed {evaluation.seed}). Intervals are 95% bootstrap intervals "
        f"over questions ({evaluation.resamples:,} resamples); p is of the two-sided paired sign-flip permutation test "
        f"against majority vote ({evaluation.flips:,} flips); where few questions differ, an interval may leave out 0 "
        "though p is large: believe p. A tie of votes goes to the answer that comes first in the file."
    ]
    if evaluation.stopping is not None:
        found.append(
            f"Stopping rules were simulated in {evaluation.stopping.orders:,} random orders of each question's "
            f"candidates (seed {evaluation.seed}), at most {evaluation.stopping.maximum:,} of them: confident=c stops "
            "when, by the rewards, the leading answer stays ahead with probability c, agree=k when k samples agree. A "
            "rule that is chosen by these figures looks better than it is: choose on some questions, report on others."
        )
    count = sum(sheet.p_values for sheet in shown)
    if count > 1:
        found.append(
            f"There are {count} p-values above. Where nothing differs, one in 20 is below 0.05 by chance: choose the "
            f"one that counts before looking, or compare each with 0.05 / {count} = {_rounded(0.05 / count)}."
        )
    return found


def provenance(evaluation: Evaluation) -> list[str]:
    """What the figures rest on, so that a report can be traced after it was passed on: lines that are safe to show."""
    known = evaluation.provenance
    if known is None:
        return []
    limits = []
    if known.sources:
        limits.append(f"data sources {', '.join(map(one_line, known.sources))}")
    if known.limit is not None:
        limits.append(f"at most {_count(known.limit, 'question')}")
    if known.candidates is not None:
        limits.append(f"at most {_count(known.candidates, 'candidate')} of each question")
    if known.documents != "given":
        limits.append({"none": "no documents", "shuffled": "documents of another question"}[known.documents])
    versions = ", ".join(f"{one_line(name)} {one_line(number)}" for name, number in known.versions.items())
    lines = [
        f"File: {one_line(known.file)}, SHA-256 {one_line(known.sha256)}",
        f"Rewards: {rewards_source(evaluation)}",
    ]
    if limits:
        lines.append(f"Limited to: {'; '.join(limits)}")
    return [*lines, f"Evaluated {one_line(known.date)} with {versions}"]


def rewards_source(evaluation: Evaluation) -> str:
    """Where the rewards come from and what they depend on, on one line; "not known" without provenance."""
    known = evaluation.provenance
    if known is None:
        return "not known"
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


def _table(sheet: Sheet) -> Table:
    """A table in which only a name longer than the screen allows breaks within a word."""
    table = Table.grid(padding=(0, 2))
    heads = []
    for place, name in enumerate(sheet.columns):
        cells = [row[place] for row in sheet.rows]
        is_name = place == 0 and not sheet.has_numbers_for_labels
        table.add_column(justify="left" if is_name else "right", overflow="fold")
        heads.append(wrap(name, max(map(cell_len, [*cells, *name.split()])), break_on_hyphens=False))
    height = max(map(len, heads))
    table.add_row(*(Text("\n".join([""] * (height - len(head)) + head), style="dim") for head in heads))
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rounded(value: float) -> str:
    """Rounded down to two significant digits, never in exponents."""
    places = 1 - math.floor(math.log10(value))
    return f"{math.floor(value * 10**places) / 10**places:.{places}f}"
