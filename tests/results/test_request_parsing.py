import io
import json
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medprm_scorer.errors import InputError
from medprm_scorer.results.models import RankRequest
from medprm_scorer.results.request_parsing import parse_request, read_request
from medprm_scorer.text.answers import extract_answer
from medprm_scorer.text.steps import split_steps
from tests.support.properties import examples

SECRET = "Mrs Example, born 1950"
OWN = {"question": "Which? (A) (B)", "candidates": ["Step 1: So (A)", ["Step 1: No", "So (B)"]]}
RELEASED = {
    "question_id": 7,
    "data_source": "med_qa",
    "question": "Which? (A) (B)",
    "correct_answer": "A",
    "related_docs": ["One", "Two"],
    "solutions": [
        {"solution": "Step 1: X.\n\nStep 2: The answer is (A)", "prm_processed_solution": "ignored ки", "score": 1},
        {"prm_processed_solution": "Step 1: Y. ки Step 2: The answer is (B) ки", "answer": "B", "score": "None"},
        {"solution": None, "prm_processed_solution": "Step 1: Z. ки"},
    ],
}


@pytest.fixture
def write(tmp_path):
    def to_file(content: object) -> str:
        path = tmp_path / "request.json"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return to_file


# ---------------------------------------------------------------- records


def test_own_form():
    request = parse_request({**OWN, "documents": ["D"], "id": "q1", "correct_answer": "A"})
    assert request == RankRequest(question=OWN["question"], candidates=OWN["candidates"], documents=["D"], id="q1")


@pytest.mark.parametrize("extra", [{}, {"documents": None, "id": None}, {"documents": []}])
def test_documents_and_id_are_optional(extra):
    request = parse_request({**OWN, **extra})
    assert request.documents == []
    assert request.id is None


def test_released_record():
    request = parse_request(RELEASED)
    assert request.id == 7
    assert request.documents == ["One", "Two"]
    assert request.candidates == [
        "Step 1: X.\n\nStep 2: The answer is (A)",
        ["Step 1: Y.", "Step 2: The answer is (B)"],
        ["Step 1: Z."],
    ]


def test_blank_candidates_are_kept_for_the_scorer_to_report():
    assert parse_request({**OWN, "candidates": ["", [], "x"]}).candidates == ["", [], "x"]
    tags_only = {"question": "Q", "solutions": [{"prm_processed_solution": " ки"}, {"solution": "x"}]}
    assert parse_request(tags_only).candidates == [[], "x"]


def test_lone_surrogates_are_replaced():
    request = parse_request(json.loads(r'{"question": "Q \ud800", "candidates": ["\udfffx"], "id": "\ud83d"}'))
    assert request.question == "Q \ufffd"
    assert request.candidates == ["\ufffdx"]
    request.model_dump_json().encode()


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (None, "JSON object"),
        ([OWN], "JSON object"),
        ("text", "JSON object"),
        (3, "JSON object"),
        ({}, "question"),
        ({**OWN, "question": None}, "question"),
        ({**OWN, "question": 3}, "question"),
        ({**OWN, "question": " \n"}, "question"),
        ({"question": "Q"}, "candidates"),
        ({**OWN, "candidates": None}, "candidates"),
        ({**OWN, "candidates": SECRET}, "candidates"),
        ({**OWN, "candidates": {"a": SECRET}}, "candidates"),
        ({**OWN, "candidates": []}, "candidates: the list is empty"),
        ({**OWN, "candidates": ["x", None]}, "candidates[1]"),
        ({**OWN, "candidates": ["x", 2.5]}, "candidates[1]"),
        ({**OWN, "candidates": [{"text": SECRET}]}, "candidates[0]"),
        ({**OWN, "candidates": [["x", ["nested"]]]}, "candidates[0][1]"),
        ({**OWN, "documents": SECRET}, "documents"),
        ({**OWN, "documents": [SECRET, True]}, "documents[1]"),
        ({**OWN, "docs": [SECRET]}, "docs"),
        ({**OWN, "related_docs": [SECRET]}, "related_docs"),
        ({**OWN, "id": True}, "id"),
        ({**OWN, "id": [SECRET]}, "id"),
        ({**OWN, "id": 1.5}, "id"),
        ({**RELEASED, "related_docs": SECRET}, "related_docs"),
        ({**RELEASED, "solutions": []}, "solutions"),
        ({**RELEASED, "solutions": [SECRET]}, "solutions[0]"),
        ({**RELEASED, "solutions": [{"answer": SECRET}]}, "solutions[0]"),
        ({**RELEASED, "solutions": [{"solution": [SECRET]}]}, "solutions[0].solution"),
        ({**RELEASED, "solutions": [{"prm_processed_solution": 1}]}, "solutions[0].prm_processed_solution"),
        ({**RELEASED, "question_id": [SECRET]}, "question_id"),
    ],
)
def test_wrong_records_name_the_key_and_show_no_text(record, names):
    with pytest.raises(InputError) as caught:
        parse_request(record)
    message = str(caught.value)
    assert names in message
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.__cause__ is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["question", "candidates", "documents", "id", "solutions", "related_docs", "question_id"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON)
@settings(max_examples=examples(300))
def test_any_record_is_a_request_or_an_input_error(record):
    try:
        request = parse_request(record)
    except InputError:
        return
    assert RankRequest.model_validate_json(request.model_dump_json()) == request


# ---------------------------------------------------------------- files


def test_file_stdin_and_byte_order_mark(write, monkeypatch):
    expected = parse_request(OWN)
    assert read_request(write(OWN)) == expected
    assert read_request(write(b"\xef\xbb\xbf" + json.dumps(OWN).encode())) == expected
    assert read_request(write("\n" + json.dumps(OWN, indent=2) + "\n\n")) == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(OWN).encode())))
    assert read_request("-") == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (b'{"question": "x",\n  oops}', "not valid JSON at line 2, column 3"),
        (b"oops", "not valid JSON at line 1, column 1"),
        (b'{"question": "\xff\xfe"}', "not UTF-8"),
        (json.dumps(OWN).encode("utf-16"), "not UTF-8"),
        (json.dumps([OWN, OWN]), "a list of 2; a request file holds one request"),
        (json.dumps(OWN) + "\n" + json.dumps(OWN) + "\n", "at line 2; a request file holds one request"),
        (json.dumps(OWN) + " }", "more text after the first JSON value, at line 1"),
        ("[" * 200_000, "nested too deeply"),
        ('{"question": "x", "id": ' + "9" * 5000 + "}", "too many digits"),
        ('{"question": "x"}', "candidates: missing"),
    ],
)
def test_unreadable_files_say_what_is_wrong(write, content, says):
    path = write(content)
    with pytest.raises(InputError) as caught:
        read_request(path)
    message = str(caught.value)
    assert says in message
    assert path in message
    assert "\n" not in message


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*nowhere\.json: No such file"):
        read_request(str(tmp_path / "nowhere.json"))
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory|Permission denied"):
        read_request(str(tmp_path))


def test_several_requests_are_refused(write):
    with pytest.raises(InputError, match="holds one request"):
        read_request(write(json.dumps(OWN) + "\n" + json.dumps(OWN)))


@given(st.binary(max_size=60))
@settings(max_examples=examples(100))
def test_any_bytes_are_an_input_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with pytest.raises(InputError):  # no 60 bytes at random hold a request
        read_request(str(path))


# ---------------------------------------------------------------- shipped request


def test_the_card_request_is_the_card_s_own_and_has_sound_and_unsound_chains():
    text = resources.files("medprm_scorer").joinpath("data/card_request.json").read_text(encoding="utf-8")
    request = parse_request(json.loads(text))
    assert "ки" not in text
    assert request.id == "model-card"
    assert request.question.endswith("(E) Polycystic kidney disease")
    assert [document.split(".")[0] for document in request.documents] == [
        "Causes of Posterior Urethral Valves",
        "Amniotic Fluid Index -- Pathophysiology -- Polyhydramnios",
    ]
    assert [extract_answer(candidate) for candidate in request.candidates] == ["D", "C", "A", "C", "E", "C", "B"]
    assert [len(split_steps(candidate).steps) for candidate in request.candidates] == [6, 4, 4, 5, 4, 4, 4]
    assert {split_steps(candidate).rule for candidate in request.candidates} == {"marker"}
