import re
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from medprm_scorer.errors import InputError
from medprm_scorer.results.facts import majority_answer
from medprm_scorer.results.models import Ranking, ScoredChain, ScoredStep
from medprm_scorer.results.page import colours, to_html, to_html_fragment
from medprm_scorer.results.terminal import losing_to_rich, to_rich, to_text
from medprm_scorer.text.sanitize import clean_text
from tests.support.example_rankings import QUESTION, example_ranking, make_chain, make_ranking
from tests.support.pages import Page
from tests.support.paths import ROOT
from tests.support.properties import examples

HOSTILE = (
    "<script>alert(1)</script> \x1b[2J\x1b]0;title\x07 \x9b31m [bold red]markup[/] :smile: "
    "\u202eevil\u202c \u2066x\u2069 \x00 \u2028 &amp; \"quoted' </div></body> \r overwritten"
)
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def hostile_ranking(text: str = HOSTILE) -> Ranking:
    """Every place where text from outside can stand holds `text`; unchecked, so it may be what pydantic refuses."""
    steps = [ScoredStep.model_construct(text=text, reward=reward) for reward in (0.9, 0.2)]
    best = ScoredChain.model_construct(index=0, text=text, steps=steps, answer=text, error=None)
    other = ScoredChain.model_construct(index=1, text=text, steps=steps, answer=None, error=None)
    failed = ScoredChain.model_construct(index=2, text=text, steps=[], answer=None, error=text)
    sound = make_ranking([make_chain(0, (0.9, 0.2), "C")])
    votes = [sound.votes[0].model_copy(update={"answer": text})]
    changes = {"best": best, "chains": [best, other, failed], "question": text, "answer": text, "votes": votes}
    return sound.model_copy(update=changes)


def render(ranking: Ranking, **options: object) -> str:
    out = StringIO()
    console = Console(file=out, width=90, **options)
    console.print(to_rich(ranking))
    return out.getvalue()


# ---------------------------------------------------------------- trust


@pytest.mark.parametrize(
    ("confidence", "trusted", "shown"),
    [
        (0.931, True, "0.93 that the answer is right (calibrated): trusted"),
        (0.5, False, "0.50 that the answer is right (calibrated): not trusted"),
        (None, True, "trusted, by floors that are not calibrated"),
        (None, False, "not trusted"),
    ],
)
def test_how_far_an_answer_is_trusted_is_shown(confidence, trusted, shown):
    ranking = make_ranking([make_chain(0, (0.9, 0.8), "C")]).model_copy(
        update={"confidence": confidence, "trusted": trusted}
    )
    assert f"Confidence: {shown}\n" in str(ranking)
    assert f"<p>Confidence: {shown}.</p>" in ranking.to_html()


def test_without_a_judge_nothing_is_said_of_trust():
    ranking = make_ranking([make_chain(0, (0.9, 0.8), "C")])
    assert "Confidence" not in str(ranking) + ranking.to_html()


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize(
    ("drawn", "stopped", "shown"),
    [
        (1, "all", "1 sample drawn, stopped: all"),
        (12, "confident", "12 samples drawn, 1 of them ranked, stopped: confident"),
    ],
)
def test_how_many_samples_were_drawn_and_why_no_more_is_shown(drawn, stopped, shown):
    ranking = make_ranking([make_chain(0, (0.9, 0.8), "C")]).model_copy(
        update={"samples_drawn": drawn, "stopped": stopped}
    )
    assert f"Sampling: {shown}\n" in str(ranking)
    assert f"<p>Sampling: {shown}.</p>" in ranking.to_html()


def test_of_given_candidates_no_sampling_is_shown():
    ranking = make_ranking([make_chain(0, (0.9, 0.8), "C")])
    assert "Sampling" not in str(ranking) + ranking.to_html()


# ---------------------------------------------------------------- cautions


def test_a_sound_ranking_needs_no_caution():
    ranking = make_ranking([make_chain(0, (0.9, 0.8), "C"), make_chain(1, (0.2,), "D")], documents_given=1)
    assert ranking.cautions == []
    assert "Caution" not in str(ranking)
    assert "Caution" not in ranking.to_html()


def test_chains_that_did_not_vote_are_told_of():
    ranking = make_ranking(
        [make_chain(0, (0.8,), "B"), make_chain(1, (0.9,), None), make_chain(2, (0.7,), "B")], documents_given=1
    )
    assert ranking.answer == "B"
    assert ranking.cautions == [
        "1 of 3 chains gives no answer that could be read, and did not vote.",
        "Candidate [1], which has the highest reward, is one of them.",
    ]
    for shown in (str(ranking), ranking.to_html()):
        assert "1 of 3 chains gives no answer" in " ".join(shown.split())


def test_a_vote_that_was_not_taken_is_told_of():
    """One wrong chain with an answer that can be read does not win over seven better ones without."""
    chains = [make_chain(0, (0.013,), "B"), *(make_chain(n, (0.785,), None) for n in range(1, 8))]
    ranking = make_ranking(chains, documents_given=1)
    assert (ranking.answer, ranking.best.index, ranking.strategy) == (None, 1, "best_of_n")
    (caution,) = ranking.cautions
    assert caution.startswith("The 1 of 8 chains whose answer could be read hold less than half of all reward")
    (caution,) = make_ranking(chains[1:], documents_given=1).cautions
    assert caution.startswith("No chain gives an answer that could be read")
    assert make_ranking(chains[1:], "best_of_n", documents_given=1).cautions == []


def test_chains_that_were_cut_off_or_decline_or_all_differ_are_told_of():
    one, two = make_chain(0, (0.9,), "A"), make_chain(1, (0.6,), "B")
    cut_off = make_ranking([one.model_copy(update={"truncated": True}), two], documents_given=1)
    assert cut_off.best.index == 1
    assert cut_off.cautions == ["1 of 2 chains was cut off before the end, and had no part in the choice."]
    declined = make_ranking([one.model_copy(update={"declined": True, "answer": None}), two], documents_given=1)
    assert (declined.answer, declined.declined) == (None, True)
    assert declined.cautions == ["The winning chain says that the question cannot be answered."]
    assert majority_answer(declined) is None
    differ = make_ranking([make_chain(n, (0.9,), f"diagnosis {n}") for n in range(5)], documents_given=1)
    assert differ.cautions == ["5 chains give 5 different answers."]


def test_nothing_but_doubtful_chains_is_told_of():
    ranking = make_ranking([make_chain(0, (0.9, 0.4), "B"), make_chain(1, (0.1, 0.99), "C")], documents_given=1)
    (caution,) = ranking.cautions
    assert caution == "Every chain has a step below 0.5: do not rely on this answer."
    assert caution in ranking.to_html()
    assert make_ranking([make_chain(0, (0.4,), "B"), make_chain(1, (0.5,), "C")], documents_given=1).cautions == []


def test_documents_of_which_none_was_read_are_told_of():
    ranking = make_ranking([make_chain(0, (0.9,), "B")], documents_used=0)
    assert ranking.cautions[0].startswith("None of the 2 documents was read: the first alone exceeds")
    assert "0 of 2 documents read;" in str(ranking)
    (caution,) = make_ranking([make_chain(0, (0.9,), "B")]).cautions
    assert caution.startswith("1 of 2 documents were read: the others exceed")
    assert make_ranking([make_chain(0, (0.9,), "B")], documents_given=1).cautions == []


def test_cautions_show_no_text_from_outside():
    ranking = hostile_ranking("SECRET")
    assert ranking.cautions
    assert "SECRET" not in " ".join(ranking.cautions)


# ---------------------------------------------------------------- text


def test_text_shows_winner_votes_majority_others_and_failures():
    text = to_text(example_ranking())
    assert "Answer: C" in text
    assert "candidate [1], reward 0.930" in text
    assert re.search(r"^  \+ 0\.990 #{10} Step 1: ", text, re.MULTILINE)
    assert "<- weakest step" in text
    assert re.search(r"^  C +1 +0\.930 +75\.0%$", text, re.MULTILINE)
    assert re.search(r"^  D +2 +0\.310 +25\.0%$", text, re.MULTILINE)
    assert "Majority vote alone would have said D." in text
    assert re.search(r"^  \[2\] +- 0\.200 +D +2 of 2 \(0\.200\): the amniotic", text, re.MULTILINE)
    assert re.search(r"^  \[4\] +- 0\.400 +none ", text, re.MULTILINE)
    assert "[3]  it has 9,000 tokens and the model takes 8,192" in text
    assert "1 of 2 documents read" in text
    assert "4,210 tokens run for" in text


def test_text_is_plain_and_fits_80_columns():
    text = str(example_ranking())
    assert text == to_text(example_ranking())
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_a_low_step_has_another_mark_and_a_shorter_bar():
    text = to_text(make_ranking([make_chain(0, (0.9, 0.1), "C")]))
    assert re.search(r"^  \+ 0\.900 #{9}\. ", text, re.MULTILINE)
    assert re.search(r"^  - 0\.100 #\.{9} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        ("weighted_vote", "Majority vote alone would have said D."),
        ("best_of_n", "Majority vote alone would have said D."),
        ("majority_vote", "Majority vote decided; rewards only break its ties."),
    ],
)
def test_majority_is_named_under_every_strategy(strategy, sentence):
    ranking = example_ranking(strategy)
    assert majority_answer(ranking) == "D"
    assert sentence in to_text(ranking)
    assert sentence in to_html(ranking)


def test_majority_that_agrees_is_said_to_agree():
    assert "would have said the same" in to_text(make_ranking([make_chain(0, (0.9,), "C")]))


def test_without_answers_and_with_a_single_chain():
    text = to_text(make_ranking([make_chain(0, (0.9,))]))
    assert "(none given)" in text
    assert "No chain gives an answer" in text
    assert "best of n" in text
    assert "Other chains" not in text
    assert "weakest" not in text
    assert "(none given)" in to_html(make_ranking([make_chain(0, (0.9,))]))


def test_sixty_four_chains_take_one_line_each():
    chains = [make_chain(index, (0.9, 0.5 + index / 200), "ABCD"[index % 4]) for index in range(64)]
    lines = to_text(make_ranking(chains)).splitlines()
    assert sum(bool(re.match(r"  \[\d+\] ", line)) for line in lines) == 63


# ---------------------------------------------------------------- terminal


def test_colour_terminal_shows_good_and_bad_in_two_colours():
    drawn = render(example_ranking("majority_vote"), force_terminal=True, color_system="truecolor")
    assert len(set(re.findall(r"\x1b\[1;(38;5;\d+)m", drawn))) == 2


def test_no_color_and_pipes_keep_mark_bar_and_number(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    for drawn in (render(example_ranking(), force_terminal=True), render(example_ranking())):
        assert "38;5" not in drawn
        assert re.search(r"\+\S* \S*0\.990\S* ██████████", drawn)


def test_brief_leaves_the_others_out():
    out = StringIO()
    Console(file=out, width=90).print(to_rich(example_ranking(), brief=True))
    assert "Votes" in out.getvalue()
    assert "Other chains" not in out.getvalue()


def test_the_losing_chain_ends_at_the_step_where_it_breaks():
    ranking = make_ranking(
        [
            make_chain(0, (0.9, 0.8), "C"),
            make_chain(1, (0.1,), "A"),
            make_chain(2, (0.4, 0.4, 0.4), "D"),
            make_chain(3, (0.7, 0.4, 0.2), "D"),  # of the most frequent other answer, the chain that breaks last
            make_chain(4, (0.6,), "B"),  # lost, and does not break
        ]
    )
    out = StringIO()
    Console(file=out, width=160).print(losing_to_rich(ranking, ascii_only=True))
    head, first, last = out.getvalue().splitlines()
    assert head == "Losing chain: candidate [3], answer D, reward 0.200, breaks at step 2 of 3"
    assert "+ 0.700 #######..." in first
    assert "- 0.400 ####......" in last
    assert last.rstrip().endswith("<- breaks here")


def test_without_a_chain_that_breaks_there_is_none_to_show():
    assert losing_to_rich(make_ranking([make_chain(0, (0.9,), "C"), make_chain(1, (0.6,), "D")])) is None
    assert losing_to_rich(make_ranking([make_chain(0, (0.9,), "C"), make_chain(1, (0.1,), None)])) is None
    assert not CONTROLS.search(render_losing(hostile_ranking()))


def render_losing(ranking: Ranking) -> str:
    out = StringIO()
    wrong = ranking.chains[0].model_copy(update={"index": 5, "answer": ranking.answer + "x"})
    Console(file=out, width=90).print(
        losing_to_rich(ranking.model_copy(update={"chains": [*ranking.chains, wrong]}), ascii_only=True)
    )
    return out.getvalue()


@pytest.mark.parametrize("draw", [to_text, render], ids=["text", "rich"])
def test_hostile_text_cannot_steer_the_terminal(draw):
    drawn = draw(hostile_ranking())
    assert not CONTROLS.search(drawn)
    assert "[bold red]markup[/]" in drawn.replace("\n", "")  # shown, not obeyed
    assert ":smile:" in drawn


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain (A) – µg/ml", "plain (A) – µg/ml"),
        ("a\x1b[31mb", "a\ufffd[31mb"),
        ("a\x9bb\x85c\x7fd", "a\ufffdb\ufffdc\ufffdd"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree four"),
        ("\u202eabc\u2069", "\ufffdabc\ufffd"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("👩‍⚕️ مرحبا می‌خواهم שלום", "👩‍⚕️ مرحبا می‌خواهم שלום"),
    ],
)
def test_clean_text(text, clean):
    assert clean_text(text) == clean
    assert clean_text(text, newlines=False) == clean.replace("\n", " ")


@given(st.text(st.characters(), max_size=80))
@settings(max_examples=examples(100))
def test_any_text_can_be_drawn_everywhere(text):
    ranking = hostile_ranking(text)
    assert not CONTROLS.search(clean_text(text))
    assert not CONTROLS.search(to_text(ranking))
    page = to_html(ranking)
    page.encode("utf-8")
    Page(page)


# ---------------------------------------------------------------- HTML


def test_nothing_in_a_template_escapes_the_escaping():
    """What a template prints is escaped unless it is marked as safe, which one place alone may do."""
    folder = ROOT / "medprm_scorer"
    for template in [*folder.rglob("*.j2"), *folder.rglob("*.css")]:
        assert not re.search(r"\|\s*safe|autoescape|Markup", template.read_text(encoding="utf-8")), template
    marks = [path.name for path in folder.rglob("*.py") if "Markup(" in path.read_text(encoding="utf-8")]
    assert marks == ["page.py"]  # of an evaluation: the curves that matplotlib drew


@pytest.mark.parametrize("text", ["\x1f", "\x1c\x85", " \x1f "])
def test_controls_that_python_takes_for_blanks_are_shown(text):
    """`str.strip` would drop them, and the page would be silent about them."""
    page = to_html(hostile_ranking(text), [text, text])
    # answer, winner, vote, question, 2 documents, 4 steps, the failure and its text
    assert page.count(clean_text(text).strip()) == 12


def test_documents_are_shown_and_which_of_them_was_read():
    page = to_html(example_ranking(), ["The label says 5 mg.", HOSTILE])
    shown = " ".join(Page(page).shown.split())
    assert "Document 1 of 2, read The label says 5 mg." in re.sub(r"(read)(The)", r"\1 \2", shown)
    assert "Document 2 of 2, not read" in shown
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "Document" not in example_ranking().to_html().split("</style>")[2]
    assert example_ranking().to_html(["a", "b"]) == to_html(example_ranking(), ["a", "b"])


def test_documents_are_marked_by_their_places():
    ranking = example_ranking().model_copy(update={"documents_read": [1]})
    shown = Page(ranking.to_html(["a", "b"])).shown
    assert "Document 1 of 2, not read" in shown
    assert "Document 2 of 2, read" in shown


def test_chains_that_decline_or_were_cut_off_are_named_so():
    declines = make_chain(0, (0.9,)).model_copy(update={"declined": True})
    cut_off = make_chain(1, (0.8,), "B").model_copy(update={"truncated": True})
    ranking = make_ranking([declines, cut_off, make_chain(2, (0.4,))])
    shown = " ".join(Page(to_html(ranking)).shown.split())
    assert "Answer: (declines to answer)" in shown
    assert "reward 0.900, declines to answer" in shown
    assert "reward 0.800, answer B, cut off before its end" in shown
    text = to_text(ranking)
    assert "Answer: (declines to answer)" in text
    assert "cut off; 1 of 1 (0.800)" in text


def test_other_documents_than_the_rankings_own_are_refused():
    with pytest.raises(InputError, match="made with 2 documents, but 1 were passed"):
        example_ranking().to_html(["secret"])


def test_page_stands_alone_and_is_well_formed():
    page = to_html(example_ranking())
    elements = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in page
    assert 'name="viewport"' in page
    assert "<title>" in page
    assert "prefers-color-scheme: dark" in page
    assert not {"script", "link", "img", "iframe", "object"} & set(elements.tags)
    assert not {"src", "href", "onclick", "onload"} & {name for name, _ in elements.attributes}
    assert "url(" not in page
    assert "@import" not in page


def test_page_shows_every_chain_step_by_step_with_numbers():
    ranking = example_ranking()
    elements = Page(ranking.to_html())
    assert elements.tags.count("details") == 4
    assert elements.tags.count("li") == sum(len(chain.steps) for chain in ranking.chains)
    for chain in ranking.chains:
        for reward in chain.step_rewards:
            assert f"{'+' if reward >= 0.5 else '-'} {reward:.3f}" in elements.shown
    assert "[3] could not be scored: it has 9,000 tokens" in elements.shown
    assert QUESTION in elements.shown


def test_notebook_fragment_is_one_div_with_scoped_rules():
    fragment = example_ranking()._repr_html_()
    assert fragment == to_html_fragment(example_ranking())
    assert fragment.startswith('<div class="medprm-report">')
    assert fragment.endswith("</div>")
    style = re.search(r"<style>(.*?)</style>", fragment, re.DOTALL).group(1)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", style) for part in rule.split(",")]
    assert selectors
    assert all(selector.startswith((".medprm-report", "@media ")) for selector in selectors)


def test_hostile_text_stays_text_in_the_page():
    page = to_html(hostile_ranking())
    elements = Page(page)
    assert "script" not in elements.tags
    assert "&lt;script&gt;" in page
    assert not CONTROLS.search(page)
    assert page.count("</body>") == 1


def test_lone_surrogates_do_not_break_writing(tmp_path):
    page = to_html(hostile_ranking("half \ud83d pair"))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert "half \ufffd pair" in page


def _luminance(colour):
    parts = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_colours_run_from_orange_to_blue_and_their_numbers_are_legible():
    def parse(reward):
        red, green, blue, ink = re.fullmatch(
            r"--reward: (\d+) (\d+) (\d+); --on: (#000|#fff)", colours(reward)
        ).groups()
        return (int(red), int(green), int(blue)), ink

    warmth = [parse(step / 50)[0][0] - parse(step / 50)[0][2] for step in range(51)]
    assert warmth == sorted(warmth, reverse=True)
    assert warmth[0] > 100
    assert warmth[-1] < -100
    for step in range(51):
        colour, ink = parse(step / 50)
        light, dark = sorted((_luminance(colour), 0.0 if ink == "#000" else 1.0), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, AA


def test_text_is_returned_in_a_notebook_too(monkeypatch):
    """Rich shows its output by itself when it finds a notebook; `str(ranking)` must not be left empty by that."""

    class ZMQInteractiveShell:
        pass

    monkeypatch.setattr("builtins.get_ipython", ZMQInteractiveShell, raising=False)
    assert "Winner" in str(example_ranking())


def test_a_tie_of_the_majority_vote_is_called_one():
    ranking = example_ranking()
    votes = [vote.model_copy(update={"count": 2}) for vote in ranking.votes]
    assert len(votes) > 1
    assert "a tie between" in str(ranking.model_copy(update={"votes": votes}))
