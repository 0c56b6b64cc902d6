import pytest

from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import (
    DOCUMENT_TOKEN_BUDGET,
    NEGATIVE_LABEL,
    POSITIVE_LABEL,
    STEP_TAG,
    SYSTEM_PROMPTS,
    document_block,
    system_prompt,
    user_prefix,
)

# fmt: off
# Written out again, each on one line, so that a slip in the module's pieces shows.
RAG = "You are an evaluator assessing the logicality and validity of the reasoning in each step of the given explanation. In order to support the evaluation, the relevant documents, the question, and the explanation are provided sequentially. If the reasoning contains errors, output - after that step. If the reasoning in a step is logical and valid, output + after that step. "  # noqa: E501
NO_DOCUMENTS = "You are an evaluator assessing the logicality and validity of the reasoning in each step of the given explanation. In order to support the evaluation, the question and the explanation are provided. If the reasoning contains errors, output - after that step. If the reasoning in a step is logical and valid, output + after that step. "  # noqa: E501
OUTCOME = "You are an evaluator assessing the overall quality and correctness of the final answer in the given explanation. In order to support the evaluation, the question and the explanation are provided. If the final answer is incorrect or not well-supported, output -. If the final answer is correct and well-supported, output +."  # noqa: E501
CARD = "You are an evaluator assessing the logicality and validity of each reasoning step. If a step is valid, append '+' after that step; if invalid, append '-'."  # noqa: E501
# fmt: on


def test_system_prompts_to_the_letter():
    assert dict(SYSTEM_PROMPTS) == {"rag": RAG, "no_documents": NO_DOCUMENTS, "outcome": OUTCOME, "card": CARD}


def test_constants():
    assert (STEP_TAG, POSITIVE_LABEL, NEGATIVE_LABEL, DOCUMENT_TOKEN_BUDGET) == (" ки", " +", " -", 3072)
    assert [hex(ord(letter)) for letter in STEP_TAG] == ["0x20", "0x43a", "0x438"]  # Cyrillic, not Latin look-alikes


def test_system_prompts_cannot_be_changed():
    with pytest.raises(TypeError):
        SYSTEM_PROMPTS["rag"] = "x"


@pytest.mark.parametrize(
    ("mode", "has_documents", "expected"),
    [
        ("auto", True, RAG),
        ("auto", False, NO_DOCUMENTS),
        ("rag", False, RAG),
        ("no_documents", True, NO_DOCUMENTS),
        ("outcome", True, OUTCOME),
        ("card", False, CARD),
    ],
)
def test_system_prompt(mode, has_documents, expected):
    assert system_prompt(mode, has_documents) == expected


def test_unknown_system_prompt_lists_the_known():
    with pytest.raises(InputError, match="rag, auto, no_documents, outcome, card"):
        system_prompt("RAG", True)


def test_documents_are_numbered():
    assert document_block([]) == ""
    assert document_block([" a\n", "", "c"]) == "Document 1:  a\n\n\nDocument 2: \n\nDocument 3: c\n\n"


def test_a_document_with_its_own_number_is_not_numbered_twice():
    assert document_block(["Document 1: a", "Document 2:b"]) == "Document 1: a\n\nDocument 2:b\n\n"


@pytest.mark.parametrize(
    "text", ["Document 2: a", "Document 10: a", " Document 1: a", "document 1: a", "Document 1 a", "x Document 1: a"]
)
def test_any_other_number_is_the_documents_own_text(text):
    assert document_block([text]) == f"Document 1: {text}\n\n"


def test_the_cards_request_gives_the_cards_text():
    docs = ["Document 1: Causes of Posterior Urethral Valves.", "Document 2: Amniotic Fluid Index -- Pathophysiology"]
    question = "A 29-year-old G1P0 female presents. Which? \n\n(A) Renal agenesis\n(B) Pulmonary hypoplasia"
    explanation = "Step 1: Large. ки Step 2: The answer is D. ки"
    doc_block = "\n\n".join(docs) + "\n\n"  # these two lines: as in the card's quick start
    user_content = f"{doc_block}Question: {question}\n\nExplanation: {explanation}"
    assert f"{user_prefix(question, docs)} {explanation}" == user_content


def test_prefix_without_documents_and_with_hostile_text():
    assert user_prefix(" q ки <|eot_id|>\x00\u202e\ud800 ", ()) == (
        "Question:  q ки <|eot_id|>\x00\u202e\ud800 \n\nExplanation:"
    )


@pytest.mark.parametrize(
    ("question", "documents"), [("q", "one text"), ("q", ["a", None]), ("q", [b"a"]), (None, []), (b"q", [])]
)
def test_wrong_types(question, documents):
    with pytest.raises(InputError):
        user_prefix(question, documents)


def test_messages_show_no_text():
    with pytest.raises(InputError, match=r"documents\[1\] must be text, not list") as caught:
        document_block(["secret", ["secret"]])
    assert "secret" not in str(caught.value)
