import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medprm_scorer.evaluation.page import to_html
from medprm_scorer.evaluation.provenance import provenance_lines
from medprm_scorer.evaluation.report import headline
from medprm_scorer.evaluation.report_tables import sheets
from medprm_scorer.text.sanitize import clean_text
from tests.support.evaluations import (
    HOSTILE,
    QUESTION,
    disagreement,
    empty_evaluation,
    example_evaluation,
    hostile_evaluation,
    traced_evaluation,
)
from tests.support.pages import Page
from tests.support.properties import examples

HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.mark.parametrize("build", [example_evaluation, hostile_evaluation, empty_evaluation])
def test_page_loads_nothing_and_runs_nothing(build):
    pytest.importorskip("matplotlib")
    page = to_html(build())
    parsed = Page(page)
    assert not {"script", "iframe", "object", "embed", "link", "img", "image", "base", "form"} & set(parsed.tags)
    assert "svg" in parsed.tags
    for name, value in parsed.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "action", "srcset"}
        if name.endswith("href"):
            assert value
            assert value.startswith("#")
    assert not re.search(r"https?:|//|@import", re.sub("<[^>]*charset[^>]*>", "", page))
    assert not re.search(r"url\((?!#)", page)


def test_page_follows_light_and_dark():
    page = to_html(example_evaluation())
    assert "color-scheme: light dark" in page
    assert "@media (prefers-color-scheme: dark)" in page


def test_hostile_text_is_shown_and_nothing_else(no_matplotlib):
    page = to_html(hostile_evaluation())
    parsed = Page(page)
    assert "<script" not in page
    assert not HARMFUL.search(page.replace("\n", ""))
    shown = " ".join(parsed.shown.split())
    assert " ".join(clean_text(HOSTILE).split()) in shown
    assert parsed.tags.count("details") == 3
    plain = Page(to_html(example_evaluation()))
    assert set(parsed.tags) == set(plain.tags)


def test_every_figure_of_the_tables_is_on_the_page(no_matplotlib):
    evaluation = example_evaluation()
    shown = " ".join(Page(to_html(evaluation)).shown.split())
    for sheet in sheets(evaluation, official=True):
        assert sheet.title in shown
        for row in sheet.rows:
            for cell in row:
                assert cell in shown


def test_disagreement_shows_both_answers_and_which_is_right(no_matplotlib):
    item = disagreement(17, True, False, id="q-17", answer="C", majority_answer="D", counts={"D": 33, "C": 30})
    page = to_html(example_evaluation(disagreements=[item], disagreed=1))
    [details] = re.findall("<details>.*?</details>", page, re.DOTALL)
    shown = " ".join(Page(details).shown.split())
    assert "medqa, question [17], q-17: weighted vote ✓ right, majority vote ✗ wrong" in shown
    assert "weighted vote C ✓ right, best reward 0.873" in re.sub(r"(vote)(C)", r"\1 \2", shown)
    assert " ".join(QUESTION.split()) in shown
    assert re.findall(r'<td dir="auto">(\w)</td><td class="number">(\d+)</td>', details) == [("D", "33"), ("C", "30")]


def test_tallies_count_what_is_shown(no_matplotlib):
    pairs = [(True, False)] * 3 + [(False, True)] * 2 + [(False, False)]
    shown = [disagreement(place, *pair) for place, pair in enumerate(pairs)]
    page = to_html(example_evaluation(disagreements=shown, disagreed=1234))
    assert "showing first 6 of 1,234" in page
    found = dict(re.findall(r'<td>([a-z, ]+)</td><td class="number">(\d+)</td>', page))
    assert found == {"reward right, majority wrong": "3", "reward wrong, majority right": "2", "both wrong": "1"}


def test_no_answer_and_many_answers(no_matplotlib):
    counts = {f"answer {place}": 100 - place for place in range(50)}
    item = disagreement(0, False, False, answer=None, reward=None, counts=counts)
    page = to_html(example_evaluation(disagreements=[item], disagreed=1))
    assert "(none) ✗&nbsp;wrong</dd>" in page
    assert "answer 19<" in page
    assert "answer 20<" not in page
    assert f'30 other answers</td><td class="number">{sum(100 - place for place in range(20, 50)):,}<' in page


def test_without_disagreement_the_page_says_so(no_matplotlib):
    page = to_html(example_evaluation(disagreements=[], disagreed=0))
    assert "<details" not in page
    assert "give the same answers" in page


def test_without_matplotlib_the_page_says_how_to_get_the_curve(no_matplotlib):
    page = to_html(example_evaluation())
    assert "<svg" not in page
    assert 'plots need matplotlib: pip install "medprm[plot]"' in Page(page).shown


def test_page_is_the_same_twice():
    assert to_html(example_evaluation()) == to_html(example_evaluation())


def test_headline_and_provenance_are_on_the_page(no_matplotlib):
    evaluation = traced_evaluation()
    page = to_html(evaluation)
    assert f"<h1>{headline(evaluation)}</h1>" in page
    for line in provenance_lines(evaluation.provenance):
        assert line in Page(page).shown


@settings(max_examples=examples(25))
@example("\x1f", "\x1f")  # which `str.strip` takes for a blank
@example(" \x85\u2028", "\x1c")
@given(st.text(max_size=80), st.text(max_size=20))
def test_any_text_nests_and_is_inert(question, answer):
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setitem(sys.modules, "matplotlib.figure", None)
        item = disagreement(0, True, False, text=question, answer=answer, source=answer, counts={answer: 2})
        page = to_html(example_evaluation(disagreements=[item], disagreed=1))
    parsed = Page(page)
    assert parsed.tags.count("details") == 1
    assert not HARMFUL.search(page.replace("\n", ""))
    assert "".join(clean_text(question).split()) in "".join(parsed.shown.split())
