"""The budget of evidence, and the texts of what frameworks pass around."""

import pytest

from medprm_integrations.shared.evidence import Evidence, document_texts, within_budget
from medprm_scorer import InputError


def test_evidence_passes_over_what_does_not_fit():
    def count(text):
        return len(text.split())

    evidence = within_budget(["new " * 90, "b c", " ", "b c", "d", "e f g"], count, budget=8)
    assert (evidence.texts, evidence.left_out) == (("b c", "d"), 2)
    assert "b c" not in repr(evidence)
    assert within_budget(["x"], count, budget=2).texts == ("x",)
    assert within_budget(["x"], count, budget=1).left_out == 1


def test_what_fits_is_read_whole(demo):
    texts = ["dose " * 4000, "limit " * 900, *(f"Label {n}: " + "dose 5 mg. " * 80 for n in range(9))]
    evidence = within_budget(texts, demo.count_tokens)
    ranking = demo.rank("Which dose?", ["Step 1: 5 mg."], evidence.texts)
    assert ranking.documents_used == ranking.documents_given == len(evidence.texts) == 11 - evidence.left_out > 1


def test_what_is_no_list_of_documents_is_refused():
    assert document_texts(None, str, "node") == []
    assert document_texts(("a", "b"), lambda one: one, "node") == ["a", "b"]
    for bad in ("text", b"text", 5, {"a": 1}):
        with pytest.raises(InputError, match=r"documents must be a list of texts or nodes|document 0 must be"):
            document_texts(bad, lambda one: one, "node")
    with pytest.raises(InputError, match="document 1 must be a text or a node, not int"):
        document_texts(["secret", 5], lambda one: one, "node")


def test_nothing_fits_only_where_something_was_there():
    def count(text):
        return len(text)

    assert not Evidence(()).nothing_fits(count, 5)
    assert Evidence((), left_out=1).nothing_fits(count, 5)
    assert Evidence(("12345", "1")).nothing_fits(count, 5)
    assert not Evidence(("1234", "12345")).nothing_fits(count, 5)
