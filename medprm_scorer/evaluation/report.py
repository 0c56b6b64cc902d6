"""Shows an `Evaluation` in a terminal: `to_rich` for the command line, `to_text` for a file or a log."""

import math

from rich.console import RenderableType

from medprm_scorer.evaluation.provenance import document_lines, provenance_lines, repeated_line, rewards_line
from medprm_scorer.evaluation.report_tables import LABELS, find_cell, sheets
from medprm_scorer.evaluation.results import Evaluation
from medprm_scorer.evaluation.sheets import FEW, Report, Sheet, Signs, counted


def to_text(evaluation: Evaluation, *, official: bool = False) -> str:
    """The evaluation as plain text of at most 80 columns: no ANSI codes, and ASCII except in names.

    Args:
        evaluation: What to show.
        official: With the authors' own selection.
    """
    return _report(evaluation, ascii_only=True, official=official).to_text()


def to_rich(evaluation: Evaluation, *, ascii_only: bool = False, official: bool = False) -> RenderableType:
    """The evaluation for a rich console.

    Args:
        evaluation: What to show.
        ascii_only: Write symbols in ASCII, for an output that can show nothing else.
        official: Also show the authors' own selection, next to majority vote.
    """
    return _report(evaluation, ascii_only=ascii_only, official=official).to_rich()


def _report(evaluation: Evaluation, *, ascii_only: bool, official: bool) -> Report:
    found = sheets(evaluation, ascii_only=ascii_only, official=official)
    notes = [*method(evaluation, found), *provenance_lines(evaluation.provenance)]
    return Report(headline(evaluation, ascii_only=ascii_only), summary(evaluation), found, notes)


def headline(evaluation: Evaluation, *, ascii_only: bool = False) -> str:
    """The headline figure: the weighted vote against majority vote, with all candidates, over all questions."""
    if not evaluation.sizes or not evaluation.total.cells:
        return "Nothing to compare: no question has a judged answer."
    signs = Signs.of(evaluation.flips, ascii_only)
    n = max(evaluation.sizes)
    first = evaluation.aggregates[0] if evaluation.aggregates else None
    choices = ("weighted_vote", "majority_vote") if first else ("majority_vote", "single", "oracle")
    cells = {choice: find_cell(evaluation.total, n, choice, first) for choice in choices}
    parts = [f"{LABELS[choice]} {signs.value(cell.accuracy if cell else None)}" for choice, cell in cells.items()]
    vote = cells.get("weighted_vote")
    if vote is not None:
        parts += [signs.gain(vote.gain), f"p {signs.p(vote.p_value)}"]
    found = ", ".join(parts)
    questions = counted(evaluation.total.questions, "question")
    total = evaluation.total
    size = "each with all of its candidates" if total.fewer.get(n) == total.questions else f"n = {n}"
    return f"{found[0].upper()}{found[1:]} (percent of {questions}, {size})"


def summary(evaluation: Evaluation) -> list[str]:
    """What was evaluated and what was left out, one sentence per line."""
    total = evaluation.total
    lines = [
        f"{counted(total.questions, 'question')}, {counted(total.candidates, 'candidate')}, "
        f"{counted(len(evaluation.sources), 'data source')}"
    ]
    if total.open_ended:
        lines.append(
            f"{counted(total.open_ended, 'question')} left out: it is not known for any candidate whether it is right "
            "(open-ended, or without a correct answer)."
        )
    if evaluation.repeated:
        lines.append(repeated_line(evaluation.repeated, evaluation.repeated_places, "intervals and tests"))
    if total.unanswered:
        gives = "gives no answer and never votes" if total.unanswered == 1 else "give no answer and never vote"
        lines.append(f"{counted(total.unanswered, 'candidate')} {gives}.")
    if total.unscored:
        lines.append(f"{counted(total.unscored, 'candidate')} could not be scored; rewards never choose them.")
    if total.without_rewards:
        lines.append(
            f"{counted(total.without_rewards, 'question')} without any scored candidate: choices by rewards count as "
            "wrong there."
        )
    lines += document_lines(evaluation)
    fewer = [(n, count) for n, count in sorted(total.fewer.items()) if count]
    if fewer:
        have = "has" if fewer[0][1] == 1 else "have"
        first = f"{counted(fewer[0][1], 'question')} {have} fewer than {counted(fewer[0][0], 'candidate')}"
        rest = "".join(f", {count:,} fewer than {n:,}" for n, count in fewer[1:])
        lines.append(f"{first}{rest}; such a question takes part with all of them.")
    if total.unjudged:
        counts = "counts as wrong" if total.unjudged == 1 else "count as wrong"
        lines.append(f"{counted(total.unjudged, 'candidate')} without a judgement, beside judged ones, {counts}.")
    if evaluation.options_appended:
        lines.append(f"{counted(evaluation.options_appended, 'question')} with separate options: they were appended.")
    if evaluation.failed:
        lines.append(f"{counted(evaluation.failed, 'line')} left out: an error of medprm score instead of a request.")
    if evaluation.scored_here or evaluation.aggregates:
        lines += [rewards_line(evaluation)] if evaluation.scored_here or total.questions else []
    elif total.questions:
        lines.append("No rewards were used.")
    few = [source for source in evaluation.sources if 0 < source.questions < FEW]
    if 0 < total.questions < FEW:
        lines.append(f"Fewer than {FEW} questions in all: the intervals are too narrow.")
    elif few:
        lines.append(f"{counted(len(few), 'source')} with fewer than {FEW} questions: such intervals are too narrow.")
    return lines


def method(evaluation: Evaluation, shown: list[Sheet]) -> list[str]:
    """How the figures were computed, one paragraph per entry.

    Args:
        evaluation: Where the figures come from.
        shown: The tables above the notes: their p-values are counted.
    """
    found = [
        "Where n is less than a question's number of candidates, its figures are expected values over subsets of n (at "
        f"most {evaluation.subsets:,} per question, seed {evaluation.seed}). Intervals are 95% bootstrap intervals "
        f"over questions ({evaluation.resamples:,} resamples); p is of the two-sided paired sign-flip permutation test "
        f"against majority vote ({evaluation.flips:,} flips); where few questions differ, an interval may leave out 0 "
        "although p is large: trust p then. A tie of votes goes to the answer that comes first in the file."
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


def _rounded(value: float) -> str:
    """Rounded down to two significant digits, never in exponents."""
    places = 1 - math.floor(math.log10(value))
    return f"{math.floor(value * 10**places) / 10**places:.{places}f}"
