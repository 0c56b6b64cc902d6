"""Shows an `Explanation` in a browser: each step with the documents that affect it, with marked sentences."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medprm_scorer.results import explanation_terminal as words
from medprm_scorer.results.facts import is_good
from medprm_scorer.results.page import colours, environment, render_page

if TYPE_CHECKING:
    from medprm_scorer.results.explanation import Explanation

_TEMPLATE = "results/explanation.html.j2"


@dataclass(frozen=True, repr=False)
class Stretch:
    """A part of a document: a sentence that affects steps, or the text between such sentences.

    Args:
        text: The part.
        supports: Numbers, from 1, of the steps that it supports.
        contradicts: Numbers of the steps that it contradicts.
    """

    text: str
    supports: tuple[int, ...] = ()
    contradicts: tuple[int, ...] = ()


def to_html(explanation: "Explanation") -> str:
    """The explanation as one self-contained page: it loads nothing, has no script, and all text is escaped."""
    return render_page("Med-PRM explanation", _TEMPLATE, **_values(explanation, links=True))


def to_html_fragment(explanation: "Explanation") -> str:
    """The explanation as one `<div>` with its own scoped style, for a notebook."""
    return environment().get_template(_TEMPLATE).render(_values(explanation, links=False))


def stretches(explanation: "Explanation", document: int) -> list[Stretch]:
    """A document in parts, so that each sentence that supports or contradicts a step can be marked.

    Args:
        explanation: The explanation with the sentences.
        document: Index of the document, from 0.
    """
    text = explanation.documents[document]
    marked: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for step in range(len(explanation.chain.steps)):
        found = explanation.sentence(step, document)
        if found is not None:
            marked.setdefault((found.start, found.end), []).append((step + 1, found.without))
    parts: list[Stretch] = []
    done = 0
    for (start, end), steps in sorted(marked.items()):
        parts.append(Stretch(text[done:start]))
        supports = tuple(step for step, moved in steps if moved > 0)
        contradicts = tuple(step for step, moved in steps if moved < 0)
        parts.append(Stretch(text[start:end], supports, contradicts))
        done = end
    return [part for part in (*parts, Stretch(text[done:])) if part.text]


def _values(explanation: "Explanation", *, links: bool) -> dict[str, Any]:
    """The values for the template; links between steps and documents use names that are unique only within a page."""
    chains = [explanation, *([explanation.runner_up] if explanation.runner_up else ())]
    return {
        "explanation": explanation,
        "chains": chains,
        "colours": colours,
        "does": words.does,
        "findings": words.findings,
        "headline": words.headline,
        "is_good": is_good,
        "links": links,
        "method": words.method(explanation),
        "stretches": stretches,
    }
