"""Shows a `Ranking` in a terminal: `to_rich` for the command line, `to_text` for `str(ranking)`.

Good and bad steps differ in three ways, so that no reader depends on colour: a mark (`+` from 0.5 up, otherwise `-`,
the model's own labels), a bar and the number. The page is in `page`.
"""

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medprm_scorer.results.facts import (
    first_bad_step,
    is_good,
    is_scored,
    losing_chain,
    majority_answer,
    weakest_step,
)
from medprm_scorer.text.sanitize import clean_text, one_line

if TYPE_CHECKING:
    from rich.console import OverflowMethod

    from medprm_scorer.results.models import Ranking, ScoredStep

WIDTH = 80
"""Columns of `to_text`."""

# Distinguishable with every common colour blindness, and legible on dark and light terminals
_GOOD, _BAD = "dodger_blue1", "dark_orange3"
BAR = 10
"""Columns of the bar that shows a reward."""
_MARKER = re.compile(r"\AStep \d+:\s*")  # the number is already next to it


def method(ranking: "Ranking") -> str:
    """How the winner was chosen, in one phrase."""
    return f"{ranking.strategy.replace('_', ' ')}, chain reward = {ranking.aggregate} of its steps"


def no_answer(ranking: "Ranking") -> str:
    """What is shown if there is no answer."""
    return "(declines to answer)" if ranking.declined else "(none given)"


def trust_note(ranking: "Ranking") -> str | None:
    """Whether the answer is trusted, in one phrase; None if no `trust` was given."""
    if ranking.trusted is None:
        return None
    if ranking.confidence is not None:
        verdict = "trusted" if ranking.trusted else "not trusted"
        return f"{ranking.confidence:.2f} that the answer is right (calibrated): {verdict}"
    return "trusted, by floors that are not calibrated" if ranking.trusted else "not trusted"


def sampling_note(ranking: "Ranking") -> str | None:
    """How many samples were drawn and why sampling stopped, in one phrase; None if the candidates were given."""
    if ranking.stopped is None or ranking.samples_drawn is None:
        return None
    drawn, ranked = ranking.samples_drawn, len(ranking.chains)
    few = f"{drawn} sample{'s' * (drawn != 1)} drawn"
    return f"{few if ranked == drawn else f'{few}, {ranked} of them ranked'}, stopped: {ranking.stopped}"


def costs(ranking: "Ranking") -> str:
    """What was read and run, in one line."""
    used, given = ranking.documents_used, ranking.documents_given
    documents = f"{used} of {given} documents read" if given else "no documents given"
    if 0 < used < given:
        documents += " (the others are blank or exceed the model's budget for documents)"
    tokens = f"{ranking.unique_tokens:,} tokens run for {ranking.prompt_tokens:,} tokens of prompts"
    return f"{documents}; {tokens}; {ranking.seconds:.2f} s"


def to_text(ranking: "Ranking") -> str:
    """The ranking as plain text of at most 80 columns: no ANSI codes, and ASCII except in the texts themselves."""
    return as_text(to_rich(ranking, ascii_only=True))


def as_text(content: RenderableType) -> str:
    """What a rich console shows, as plain text of at most 80 columns."""
    out = StringIO()
    console = Console(
        file=out, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    console.print(content)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def to_rich(ranking: "Ranking", *, ascii_only: bool = False, brief: bool = False) -> RenderableType:
    """The ranking for a rich console.

    Args:
        ranking: What to show.
        ascii_only: Draw bars and symbols in ASCII, for an output that can show nothing else.
        brief: Leave out the chains that did not win.
    """
    parts: list[RenderableType] = [
        _heading("Question"),
        _indented(Text(clean_text(ranking.question).strip())),
        _winner(ranking, ascii_only),
    ]
    parts += _votes(ranking)
    if not brief:
        parts += _others(ranking, ascii_only)
        parts += _unscored(ranking)
    return Group(*parts, Text(), Text(costs(ranking), style="dim"))


def _winner(ranking: "Ranking", ascii_only: bool) -> RenderableType:
    best = ranking.best
    head = Text()
    head.append("\nAnswer: ", style="bold")
    head.append(one_line(ranking.answer) if ranking.answer else no_answer(ranking), style="bold")
    head.append(f"   by {method(ranking)}", style="dim")
    head.append("\nWinner: ", style="bold")
    head.append(f"candidate [{best.index}], reward ")
    head.append(f"{best.reward(ranking.aggregate):.3f}", style="bold")
    trust = trust_note(ranking)
    if trust is not None:
        head.append("\nConfidence: ", style="bold")
        head.append(trust)
    sampled = sampling_note(ranking)
    if sampled is not None:
        head.append("\nSampling: ", style="bold")
        head.append(sampled)
    for caution in ranking.cautions:
        head.append("\nCaution: ", style=f"bold {_BAD}")
        head.append(caution)
    weakest = weakest_step(best) if len(best.steps) > 1 else 0
    return Group(head, _indented(_steps(best.steps, ascii_only, weakest, "weakest step")))


def losing_to_rich(ranking: "Ranking", *, ascii_only: bool = False) -> RenderableType | None:
    """A chain with another answer, up to the step where it breaks, for a rich console; None if none breaks."""
    chain = losing_chain(ranking)
    broken = first_bad_step(chain) if chain else None
    if chain is None or broken is None:
        return None
    head = Text()
    head.append("Losing chain: ", style="bold")
    head.append(f"candidate [{chain.index}], answer {one_line(chain.answer or '')}, reward ")
    head.append(f"{chain.reward(ranking.aggregate):.3f}", style="bold")
    head.append(f", breaks at step {broken} of {len(chain.steps)}")
    return Group(head, _indented(_steps(chain.steps[:broken], ascii_only, broken, "breaks here")))


def reward_cells(reward: float, ascii_only: bool) -> tuple[Text, Text, Text]:
    """A reward as a mark, a number and a bar of `BAR` columns."""
    style = style_of(reward)
    mark = "+" if is_good(reward) else "-"
    bar = ("#" if ascii_only else "█") * round(reward * BAR)
    empty = ("." if ascii_only else "░") * (BAR - len(bar))
    return (
        Text(mark, style=f"bold {style}"),
        Text(f"{reward:.3f}", style=f"bold {style}"),
        Text.assemble((bar, style), (empty, "dim")),
    )


def style_of(reward: float) -> str:
    """The colour of a reward."""
    return _GOOD if is_good(reward) else _BAD


def _steps(steps: Sequence["ScoredStep"], ascii_only: bool, marked: int, note: str) -> Table:
    """One row for each step: mark, reward, bar, text, and a note at the step number `marked`, from 1."""
    table = Table.grid(padding=(0, 1), expand=True)
    for width in (1, 5, BAR):
        table.add_column(width=width, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for number, step in enumerate(steps, start=1):
        text = Text(one_line(step.text) or "(text not kept)")
        if number == marked:
            text.append(f"  <- {note}", style=f"italic {style_of(step.reward)}")
        table.add_row(*reward_cells(step.reward, ascii_only), text)
    return table


def _votes(ranking: "Ranking") -> list[RenderableType]:
    if not ranking.votes:
        return [Text("\nNo chain gives an answer, so the highest reward decided.")]
    table = Table.grid(padding=(0, 2))
    table.add_column("answer", max_width=40, overflow="fold")
    for name in ("chains", "weight", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*(Text(name, style="dim") for name in ("answer", "chains", "weight", "share")))
    for vote in ranking.votes:
        won = "bold" if vote.answer == ranking.answer else ""
        cells = (one_line(vote.answer), str(vote.count), f"{vote.weight:.3f}", f"{vote.share:.1%}")
        table.add_row(*(Text(cell, style=won) for cell in cells))
    return [_heading("\nVotes"), _indented(table), _indented(Text(majority_note(ranking)))]


def majority_note(ranking: "Ranking") -> str:
    """The result of majority vote, in one sentence on one line."""
    majority = majority_answer(ranking)
    if majority is None:
        return "Majority vote has nothing to say: no chain gives an answer."
    most = max(vote.count for vote in ranking.votes)
    tied = [one_line(vote.answer) for vote in ranking.votes if vote.count == most]
    if len(tied) > 1:
        return f"Majority vote alone is a tie between {', '.join(tied[:-1])} and {tied[-1]}."
    if ranking.strategy == "majority_vote":
        return "Majority vote decided; rewards only break its ties."
    if majority == ranking.answer:
        return "Majority vote alone would have said the same."
    return f"Majority vote alone would have said {one_line(majority)}."


def _others(ranking: "Ranking", ascii_only: bool) -> list[RenderableType]:
    others = [chain for chain in ranking.chains if chain.index != ranking.best.index and is_scored(chain)]
    if not others:
        return []
    crop: OverflowMethod = "crop" if ascii_only else "ellipsis"
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(max_width=16, no_wrap=True, overflow=crop)
    table.add_column(ratio=1, no_wrap=True, overflow=crop)
    table.add_row(*(Text(name, style="dim") for name in ("chain", "reward", "answer", "weakest step")))
    for chain in others:
        reward = chain.reward(ranking.aggregate)
        weakest = weakest_step(chain)
        step = chain.steps[weakest - 1]
        table.add_row(
            Text(f"[{chain.index}]"),
            Text(f"{'+' if is_good(reward) else '-'} {reward:.3f}", style=style_of(reward)),
            Text(one_line(chain.answer) if chain.answer else "declines" if chain.declined else "none"),
            Text(
                f"{'cut off; ' if chain.truncated else ''}{weakest} of {len(chain.steps)} ({step.reward:.3f}): "
                f"{_MARKER.sub('', one_line(step.text))}"
            ),
        )
    return [_heading("\nOther chains, by reward"), _indented(table)]


def _unscored(ranking: "Ranking") -> list[RenderableType]:
    failed = [chain for chain in ranking.chains if not is_scored(chain)]
    if not failed:
        return []
    lines = [f"[{chain.index}]  {one_line(chain.error or 'it has no steps')}" for chain in failed]
    return [_heading("\nCould not be scored"), _indented(Text("\n".join(lines)))]


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _indented(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2), expand=False)
