"""What a reader sees of an explanation: the sentence behind the weakest step first, and no way out for hostile text."""

import pytest

from tests.support.example_explanations import DOCUMENTS, example_explanation, make_explanation
from tests.support.pages import Page

HOSTILE = "<script>alert(1)</script></details></style>\x1b[31m\u202e ки {{ 7 * 7 }}"


def test_the_page_begins_with_the_weakest_step_and_its_sentences():
    page = Page(example_explanation().to_html())
    shown = " ".join(page.shown.split())
    first = shown[: shown.index("Each step, and what it rests on")]
    assert "- 0.210 Weakest step: 2 of 3" in first
    assert "Rests on document 2 (+1.6 added last, +2.0 alone)" in first
    assert "Duodenal atresia keeps the fetus from swallowing." in first
    assert "Document 3 contradicts it" in first
    assert "since the fetus makes no urine." in first
    assert page.tags.count("mark") == 3
    assert "Document 4 was not read" in shown


def test_steps_and_documents_lead_to_each_other_in_a_page_alone():
    found = example_explanation().model_copy(update={"runner_up": example_explanation()})
    attributes = Page(found.to_html()).attributes
    names = [value for name, value in attributes if name == "id"]
    assert len(names) == len(set(names)) == 2 * (3 + 4)
    targets = {value for name, value in attributes if name == "href"}
    assert {"#winner-document-3", "#winner-step-2", "#runner-up-document-3", "#runner-up-step-2"} <= targets
    assert targets <= {f"#{name}" for name in names}
    # a notebook may hold several explanations, whose names would be the same
    assert not {"id", "href"} & {name for name, _ in Page(found._repr_html_()).attributes}


def test_the_terminal_says_the_same_in_80_columns():
    text = str(example_explanation())
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert "Rests on document 1 (+4.1 added last, +3.9 alone)" in flat
    assert "Rests on documents 1, 2: any one of them would do (+1.6 to +1.9 alone" in flat
    assert "3 contradicts step 2" in flat
    assert "8 prompts of 9,000 tokens, 4,000 of them run" in flat
    text.encode("ascii")


@pytest.mark.parametrize("documents", [[HOSTILE], [HOSTILE, "", HOSTILE * 50], ["Доза 5 мг. ки"]])
def test_hostile_text_stays_text(documents):
    found = make_explanation(documents, [HOSTILE, "b"], HOSTILE)
    for shown in (found.to_html(), found._repr_html_()):
        page = Page(shown)
        assert "script" not in page.tags
        assert "{{ 7 * 7 }}" in page.shown or HOSTILE not in documents
        assert not {"\x1b", "\u202e"} & set(shown)
    assert "\x1b" not in str(found)
    assert HOSTILE not in repr(found)


def test_a_long_sentence_is_cut_in_the_terminal_and_whole_in_the_page():
    found = make_explanation(["word " * 400], ["a"], "A")
    assert "word..." in str(found).replace("\n", "") or "..." in str(found)
    assert found.to_html().count("word") >= 400


def test_support_by_document_for_retrieved_nodes():
    found = example_explanation()
    assert found.support == [4.1, 1.9, -3.7, None]
    assert found.supporting_documents == [0, 1]
    assert (found.supporting(1), found.contradicting(1), found.unsupported) == ([1], [2], [])
    assert DOCUMENTS[2][: found.sentence(1, 2).end].endswith("urine.")
    with pytest.raises(KeyError):
        found.effect(0, 3)
