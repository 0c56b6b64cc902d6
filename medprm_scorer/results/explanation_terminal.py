"""Shows an `Explanation` in a terminal; also the phrases for each step and document, shared with the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medprm_scorer.results.terminal import BAR, as_text, reward_cells, style_of
from medprm_scorer.text.sanitize import one_line

if TYPE_CHECKING:
    from medprm_scorer.results.explanation import Effect, Explanation

_LONGEST = 300  # most characters of a quoted sentence


@dataclass(frozen=True)
class Finding:
    """A readable finding: the effect of one document on a step, or that no document has any.

    Args:
        words: A phrase on one line, without any text of the request.
        quote: The sentence behind it, safe to show; "" if unknown.
        verdict: `supports`, `contradicts` or `nothing`.
        documents: Numbers of the documents, from 1, ascending.
    """

    words: str
    quote: str = ""
    verdict: str = "nothing"
    documents: tuple[int, ...] = ()


def findings(explanation: "Explanation", step: int) -> list[Finding]:
    """The effect of each document on a step, supporting ones first; a single finding if no document has an effect.

    Args:
        explanation: The explanation.
        step: Index of the step, from 0.
    """
    found = []
    for verdict, places in (
        ("supports", explanation.supporting(step)),
        ("contradicts", explanation.contradicting(step)),
    ):
        rows = [explanation.effect(step, place) for place in places]
        found += [_one(explanation, row) for row in rows if not row.repeated]
        found += _repeated([row for row in rows if row.repeated], verdict)
        if verdict == "supports" and not rows:
            found.append(Finding("Rests on no document."))
    return found


def _one(explanation: "Explanation", row: "Effect") -> Finding:
    number = row.document + 1
    who = f"Rests on document {number}" if row.verdict == "supports" else f"Document {number} contradicts it"
    return Finding(f"{who} ({moves(row)})", _quote(explanation, row), row.verdict, (number,))


def _repeated(rows: Sequence["Effect"], verdict: str) -> list[Finding]:
    """A finding for documents any one of which would suffice."""
    if not rows:
        return []
    documents = tuple(sorted(row.document + 1 for row in rows))
    numbers = [str(number) for number in documents]
    alone = sorted(row.alone for row in rows)
    figures = f"{alone[0]:+.1f}" if len(rows) == 1 else f"{alone[0]:+.1f} to {alone[-1]:+.1f}"
    one = len(rows) == 1
    named = f"document {numbers[0]}" if one else f"documents {', '.join(numbers)}"
    alike = "others say the same" if one else "any one of them would do"
    against = f"{named.capitalize()} {'contradicts' if one else 'contradict'} it"
    who = f"Rests on {named}" if verdict == "supports" else against
    return [Finding(f"{who}: {alike} ({figures} alone, leaving one out changes nothing)", "", verdict, documents)]


def moves(row: "Effect") -> str:
    """The figures of an effect in one phrase."""
    shapley = "" if row.shapley is None else f"Shapley {row.shapley:+.1f}, "
    return f"{shapley}{row.without:+.1f} added last, {row.alone:+.1f} alone"


def does(explanation: "Explanation", document: int) -> str:
    """The effect of a document on all steps, in one phrase."""
    if document not in explanation.documents_read:
        return "was not read"
    parts = []
    for verdict in ("supports", "contradicts"):
        rows = [row for row in explanation.effects if row.document == document and row.verdict == verdict]
        if rows:
            numbers = ", ".join(str(row.step + 1) for row in rows)
            parts.append(f"{verdict} {'step' if len(rows) == 1 else 'steps'} {numbers}")
    return " and ".join(parts) or "moves no step"


def headline(explanation: "Explanation") -> str:
    """Which chain this is about, on one line."""
    chain = explanation.chain
    answer = f"answer {one_line(chain.answer)}" if chain.answer else "no answer"
    return f"Candidate [{chain.index}], {answer}"


def weakest(explanation: "Explanation") -> str:
    """The weakest step's number and reward."""
    step = explanation.weakest
    return (
        f"Weakest step: {step + 1} of {len(explanation.chain.steps)}, reward {explanation.chain.steps[step].reward:.3f}"
    )


def method(explanation: "Explanation") -> str:
    """How the effects were computed and what that cost, in sentences."""
    cost = explanation.cost
    shapley = f"Shapley values are of {explanation.permutations} random orders. " if explanation.permutations else ""
    return (
        "Effects are differences of a step's log-odds: a document added last, and alone. Below "
        f"{explanation.noise:g} they count as nothing. They say what the rewards depend on, not what is true. {shapley}"
        f"{cost.prompts} prompts of {cost.prompt_tokens:,} tokens, {cost.unique_tokens:,} of them run; "
        f"{cost.seconds:.2f} s."
    )


def to_text(explanation: "Explanation") -> str:
    """The explanation as plain text of at most 80 columns, ASCII except in the texts themselves."""
    return as_text(to_rich(explanation, ascii_only=True))


def to_rich(explanation: "Explanation", *, ascii_only: bool = False) -> RenderableType:
    """The explanation for a rich console.

    Args:
        explanation: What to show.
        ascii_only: Draw bars in ASCII, for an output that can show nothing else.
    """
    parts: list[RenderableType] = [*_chain(explanation, ascii_only)]
    if explanation.runner_up is not None:
        parts += [Text("\nRunner-up", style="bold"), *_chain(explanation.runner_up, ascii_only)]
    return Group(*parts, Text(), Text(method(explanation), style="dim"))


def _chain(explanation: "Explanation", ascii_only: bool) -> list[RenderableType]:
    head = Text(headline(explanation), style="bold")
    head.append(f"\n{weakest(explanation)}")
    for caution in explanation.cautions:
        head.append("\nCaution: ", style=f"bold {style_of(0.0)}")
        head.append(caution)
    table = Table.grid(padding=(0, 1), expand=True)
    for width in (1, 5, BAR):
        table.add_column(width=width, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for place, step in enumerate(explanation.chain.steps):
        text = Text(one_line(step.text))
        for finding in findings(explanation, place):
            style = {"supports": style_of(1.0), "contradicts": style_of(0.0)}.get(finding.verdict, "dim")
            text.append(f"\n  {finding.words}", style=style)
            if finding.quote:
                text.append(f'\n    "{finding.quote}"', style="italic")
        table.add_row(*reward_cells(step.reward, ascii_only), text)
    documents = Text("\nDocuments", style="bold")
    for place in range(len(explanation.documents)):
        documents.append(f"\n  {place + 1:>2}  {does(explanation, place)}", style="not bold")
    shown = [documents] if explanation.documents else []
    return [head, Text("\nSteps", style="bold"), Padding(table, (0, 0, 0, 2), expand=False), *shown]


def _quote(explanation: "Explanation", row: "Effect") -> str:
    sentence = explanation.sentence(row.step, row.document)
    if sentence is None:
        return ""
    text = one_line(explanation.documents[row.document][sentence.start : sentence.end])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
