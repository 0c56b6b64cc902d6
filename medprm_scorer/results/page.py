"""Shows a `Ranking` in a browser: `to_html` for a separate page, `to_html_fragment` for a notebook's cell.

The page loads nothing and runs no script. Text takes its colour from the page or notebook around it, so light and dark
both work; rewards are coloured from orange (0) through grey to blue (1), which people with common colour blindness can
tell apart, and every reward is also shown as a number.

Pages are Jinja templates (`*.html.j2`). Every value that a template prints is cleaned by `clean_text` and escaped by
the environment itself, so no template can forget to.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medprm_scorer.errors import InputError
from medprm_scorer.results.facts import is_good, is_scored, weakest_step
from medprm_scorer.results.terminal import costs, majority_note, method, no_answer, sampling_note, trust_note
from medprm_scorer.text.sanitize import clean_text, one_line

if TYPE_CHECKING:
    from jinja2 import Environment

    from medprm_scorer.results.models import Ranking

_GENERATOR = b'<meta name="generator" content="medprm">'  # in the first lines of every page of this package
_ORANGE, _GREY, _BLUE = (200, 82, 0), (150, 150, 150), (18, 100, 180)


def to_html(ranking: "Ranking", documents: Sequence[str] = ()) -> str:
    """The ranking as one self-contained page: it loads nothing, has no script, and all text is escaped.

    Args:
        ranking: What to show.
        documents: The documents of the ranking, which are then shown and marked as read or not.

    Raises:
        InputError: There are documents, but their number is not that of the ranking.
    """
    return render_page("Med-PRM ranking", "results/ranking.html.j2", **ranking_values(ranking, documents))


def to_html_fragment(ranking: "Ranking") -> str:
    """The ranking as one `<div>` with its own scoped style, for a notebook."""
    return environment().get_template("results/ranking.html.j2").render(ranking_values(ranking, ()))


def render_page(title: str, content: str, **values: Any) -> str:
    """A whole page in the browser's choice of light or dark.

    Args:
        title: The window's title.
        content: Name of the template of the content, relative to the package's folder.
        values: The values for the template; a text is cleaned and escaped where it is printed, unless it is `Markup`.
    """
    return environment().get_template("results/page.html.j2").render(title=title, content=content, **values)


def is_page(path: Path) -> bool:
    """Whether a file is empty or a page of this package, and so may be overwritten by another page.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or type(error).__name__}") from None
    return not start or _GENERATOR in start


@cache
def environment() -> "Environment":
    """The templates of this package: everything that they print is cleaned and escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("medprm_scorer", ""),
        autoescape=True,
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # a filter that strips must clean first, otherwise `strip` would silently drop control characters
    made.filters.update(line=one_line, block=lambda text: clean_text(text).strip())
    return made


def _clean(value: Any) -> Any:
    """A printed value, made safe to show; `Markup` stays `Markup`."""
    return type(value)(clean_text(value)) if isinstance(value, str) else value


def ranking_values(ranking: "Ranking", documents: Sequence[str]) -> dict[str, Any]:
    """The values for `ranking.html.j2`, for a page that shows a ranking and more.

    Raises:
        InputError: As in `to_html`.
    """
    if documents and len(documents) != ranking.documents_given:
        raise InputError(
            f"the ranking was made with {ranking.documents_given} documents, but {len(documents)} were passed"
        )
    return {
        "ranking": ranking,
        "documents": documents,
        "method": method(ranking),
        "majority_note": majority_note(ranking),
        "trust": trust_note(ranking),
        "sampled": sampling_note(ranking),
        "costs": costs(ranking),
        "colours": colours,
        "no_answer": no_answer,
        "is_good": is_good,
        "is_scored": is_scored,
        "weakest_step": weakest_step,
    }


def colours(reward: float) -> str:
    """The colour of a reward, and black or white for text on it, whichever is easier to read (WCAG 2 contrast)."""
    low, high, part = (_ORANGE, _GREY, reward * 2) if reward < 0.5 else (_GREY, _BLUE, reward * 2 - 1)
    red, green, blue = (round(start + (end - start) * part) for start, end in zip(low, high, strict=True))
    linear = [
        value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # contrast with black is (L + .05) / .05, with white 1.05 / (L + .05): equal at L = .179
    return f"--reward: {red} {green} {blue}; --on: {'#000' if luminance > 0.179 else '#fff'}"
