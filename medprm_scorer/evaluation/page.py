"""Shows an `Evaluation` in a browser: one page with the curves, the tables and the disputed questions.

`report_to_html` shows any other report: its sentences and its tables, without any text of a question.

The page loads nothing and runs no script, and follows the reader's choice of light or dark. Unlike the terminal it
shows questions: those on which the weighted vote and majority vote differ, each in a section that unfolds.
"""

from medprm_scorer.errors import InputError
from medprm_scorer.evaluation.plots import scaling_svg
from medprm_scorer.evaluation.provenance import provenance_lines
from medprm_scorer.evaluation.report import headline, method, summary
from medprm_scorer.evaluation.report_tables import sheets, source_name
from medprm_scorer.evaluation.results import Evaluation
from medprm_scorer.evaluation.sheets import Report
from medprm_scorer.results.page import render_page

_ANSWERS = 20  # most answers shown for a question; the rest are counted
_VERDICTS = {  # of the weighted vote and of majority vote
    (True, False): "reward right, majority wrong",
    (False, True): "reward wrong, majority right",
    (False, False): "both wrong",
    (True, True): "both right",
}


def report_to_html(kind: str, report: Report) -> str:
    """A report as one self-contained page: it loads nothing, has no script, and all text is escaped.

    Args:
        kind: What it is a report of; the title of the page.
        report: The report.
    """
    return render_page(kind, "evaluation/report.html.j2", kind=kind, report=report)


def to_html(evaluation: Evaluation) -> str:
    """The evaluation as one self-contained page: it loads nothing, has no script, and all text is escaped.

    Without matplotlib, the page says how to get the curves instead of showing them.
    """
    from markupsafe import Markup

    curve, no_curve = None, ""
    try:
        curve = Markup(scaling_svg(evaluation))  # matplotlib escapes the texts in it
    except InputError as error:  # matplotlib is missing
        no_curve = str(error)
    found = sheets(evaluation, official=True)
    marks = [(item.right, item.majority_right) for item in evaluation.disagreements]
    return render_page(
        "Med-PRM evaluation",
        "evaluation/evaluation.html.j2",
        evaluation=evaluation,
        headline=headline(evaluation),
        summary=summary(evaluation),
        curve=curve,
        no_curve=no_curve,
        sheets=found,
        notes=method(evaluation, found),
        provenance=provenance_lines(evaluation.provenance),
        source_name=source_name,
        tallies=[
            (name, marks.count(mark)) for mark, name in _VERDICTS.items() if mark in marks or mark != (True, True)
        ],
        most_answers=_ANSWERS,
    )
