"""How an `Evaluation` looks in a browser: one page with the curve, the tables and the questions in dispute.

The page loads nothing and runs no script, and follows the reader's choice of light or dark. Unlike the terminal it
shows questions: those where the weighted vote and majority vote differ, each to unfold.
"""

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.plots import scaling_svg
from medprm_scorer.evaluation.report import Sheet, method, sheets, source_name, summary
from medprm_scorer.evaluation.results import Disagreement, Evaluation
from medprm_scorer.results.page import STYLE, page, safe_text
from medprm_scorer.text.sanitize import clean_text

_STYLE = """
.medprm-report .wide { overflow-x: auto; margin: .4em 0 1.2em; }
.medprm-report .wide svg { display: block; width: 100%; min-width: 34rem; height: auto; }
.medprm-report .wide table { overflow-wrap: normal; }
.medprm-report .wide td:first-child { min-width: 7em; max-width: 16em; overflow-wrap: anywhere; }
.medprm-report .wide td.number:first-child { min-width: 0; overflow-wrap: normal; }
.medprm-report .wide th { vertical-align: bottom; font-weight: 600; }
.medprm-report .wide .number { white-space: normal; }
.medprm-report .wide .number span { white-space: nowrap; }
.medprm-report h3 { font-size: 1em; margin: 1em 0 .2em; }
.medprm-report dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em; margin: .6em 0; }
.medprm-report dd { margin: 0; min-width: 0; }
"""

_NUMBER = ' class="number"'
_ANSWERS = 20  # shown of a question at most; the rest is counted


def to_html(evaluation: Evaluation) -> str:
    """The evaluation as one page that stands alone: nothing to load, no script, all text escaped.

    Without matplotlib the page says how to get the curve in its place.
    """
    first, *others = summary(evaluation)
    parts = [
        f'<div class="medprm-report"><style>{STYLE}{_STYLE}</style>',
        "<h1>Med-PRM evaluation</h1>",
        f"<p><b>{safe_text(first)}</b></p>",
        *(f"<p>{safe_text(line)}</p>" for line in others),
        "<h2>Accuracy by number of candidates</h2>",
        _curve(evaluation),
        "<h2>Figures</h2>",
        *(_table(sheet) for sheet in sheets(evaluation, official=True)),
        f'<p class="soft">{safe_text(method(evaluation))}</p>',
        _disagreements(evaluation),
        "</div>",
    ]
    return page("Med-PRM evaluation", "\n".join(parts))


def _curve(evaluation: Evaluation) -> str:
    try:
        return f'<div class="wide">{scaling_svg(evaluation)}</div>'
    except InputError as error:  # matplotlib is missing
        return f'<p class="soft">{safe_text(str(error))}</p>'


def _table(sheet: Sheet) -> str:
    numbered = all(row[0].isdigit() for row in sheet.rows)
    heads = "".join(
        f"<th{_NUMBER if place or numbered else ''}>{_words(name)}</th>" for place, name in enumerate(sheet.columns)
    )
    label = _NUMBER if numbered else ' dir="auto"'
    rows = "".join(
        f"<tr><td{label}>{safe_text(row[0])}</td>{''.join(map(_figure, row[1:]))}</tr>" for row in sheet.rows
    )
    return (
        f'<h3>{safe_text(sheet.title)}</h3><div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _words(name: str) -> str:
    """A head that breaks between its words only, not at a hyphen."""
    return " ".join(f"<span>{safe_text(word)}</span>" for word in name.split())


def _figure(text: str) -> str:
    """One figure; a narrow screen may break the line before its bracket only."""
    value, *rest = text.split(" [", 1)
    parts = [f"<span>{safe_text(value)}</span>", *(f'<span class="soft">[{safe_text(part)}</span>' for part in rest)]
    return f"<td{_NUMBER}>{' '.join(parts)}</td>"


def _disagreements(evaluation: Evaluation) -> str:
    shown = evaluation.disagreements
    if not evaluation.total.questions:
        return ""
    if not evaluation.disagreed:
        return "<h2>Disagreements</h2><p>The weighted vote and majority vote give the same answers.</p>"
    marks = [(item.right, item.majority_right) for item in shown]
    tallies = [
        ("reward right, majority wrong", marks.count((True, False))),
        ("reward wrong, majority right", marks.count((False, True))),
        ("both wrong", marks.count((False, False))),
    ]
    if (True, True) in marks:
        tallies.append(("both right", marks.count((True, True))))
    counted = "".join(f'<tr><td>{name}</td><td class="number">{count:,}</td></tr>' for name, count in tallies)
    return "\n".join(
        [
            "<h2>Disagreements</h2>",
            "<p>Questions where the weighted vote over all candidates and majority vote give different answers: "
            f"showing first {len(shown):,} of {evaluation.disagreed:,}. Of those shown:</p>",
            f"<table><tbody>{counted}</tbody></table>",
            *(_disagreement(item) for item in shown),
        ]
    )


def _disagreement(item: Disagreement) -> str:
    name = f"question [{item.place}]"
    if item.id is not None:
        name += f", <bdi>{safe_text(_line(str(item.id)))}</bdi>"
    reward = "" if item.reward is None else f", best reward {item.reward:.3f}"
    counts = list(item.counts.items())
    rows = "".join(
        f'<tr><td dir="auto">{safe_text(_line(answer))}</td><td class="number">{count:,}</td></tr>'
        for answer, count in counts[:_ANSWERS]
    )
    if len(counts) > _ANSWERS:
        left = sum(count for _, count in counts[_ANSWERS:])
        rows += f'<tr><td>{len(counts) - _ANSWERS:,} other answers</td><td class="number">{left:,}</td></tr>'
    return (
        f"<details><summary><bdi>{safe_text(source_name(item.source))}</bdi>, {name}: "
        f"weighted vote {_verdict(item.right)}, majority vote {_verdict(item.majority_right)}</summary>"
        f'<p class="pre" dir="auto">{safe_text(item.question.strip())}</p>'
        f"<dl><dt>weighted vote</dt><dd>{_answer(item.answer)} {_verdict(item.right)}{reward}</dd>"
        f"<dt>majority vote</dt><dd>{_answer(item.majority_answer)} {_verdict(item.majority_right)}</dd></dl>"
        '<table><thead><tr><th>answer</th><th class="number">candidates</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def _answer(answer: str | None) -> str:
    return "(none)" if answer is None else f"<bdi><b>{safe_text(_line(answer))}</b></bdi>"


def _verdict(right: bool) -> str:
    return "✓&nbsp;right" if right else "✗&nbsp;wrong"


def _line(text: str) -> str:
    return clean_text(text, newlines=False).strip()
