import codecs
import gzip
import itertools
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.make_test_set import OPEN_ENDED, questions, write
from medprm_scorer.errors import InputError
from medprm_scorer.files import records as reading
from medprm_scorer.files.records import file_size, read_records
from tests.support.properties import examples

SECRET = "Mrs Example born 1950"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), max_size=8)
FORMS = {
    "list": lambda records, ascii_: json.dumps(records, ensure_ascii=ascii_),
    "pretty list": lambda records, ascii_: json.dumps(records, ensure_ascii=ascii_, indent=2),
    "lines": lambda records, ascii_: "\n".join(json.dumps(record, ensure_ascii=ascii_) for record in records),
    "blank lines": lambda records, ascii_: "".join(f"\r\n \n{json.dumps(record)}\r\n" for record in records),
    "pretty objects": lambda records, ascii_: "\n".join(json.dumps(record, indent=1) for record in records),
}


@pytest.fixture
def file(tmp_path):
    def make(content: str | bytes) -> Path:
        path = tmp_path / "records.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return make


def values(path: Path | str) -> list[dict]:
    return [record.value for record in read_records(path)]


def refusal(path: Path | str) -> tuple[int, str]:
    """How many records come before the error, and its message; the message has one line and shows no text."""
    read = 0
    with pytest.raises(InputError) as caught:  # noqa: PT012
        for _ in read_records(path):
            read += 1
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    assert message.startswith((f"{path}: ", f"cannot read {path}: "))
    return read, message.removeprefix(f"{path}: ")


# ---------------------------------------------------------------- what is read


@settings(max_examples=examples(120), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=RECORDS,
    form=st.sampled_from(sorted(FORMS)),
    ascii_=st.booleans(),
    mark=st.booleans(),
    packed=st.booleans(),
    chunk=st.integers(1, 80),
)
def test_any_form_in_chunks_of_any_size_reads_as_json_loads(tmp_path, records, form, ascii_, mark, packed, chunk):
    content = (codecs.BOM_UTF8 if mark else b"") + FORMS[form](records, ascii_).encode()
    path = tmp_path / "any.name"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        if not records and "list" not in form:
            assert "empty" in refusal(path)[1]
            return
        found = list(read_records(path))
    assert [record.value for record in found] == records
    assert [record.place for record in found] == list(range(len(records)))
    ends = [record.end for record in found]
    assert ends == sorted(ends)
    assert all(0 < end <= file_size(path) for end in ends)


def test_a_string_with_brackets_quotes_and_commas_across_chunks(file, monkeypatch):
    record = {"a": '],[{"x": "\\"}, {' * 50, "é\n": [[["]"]]]}
    for chunk in (1, 7, 64, 1000):
        monkeypatch.setattr(reading, "_CHUNK", chunk)
        assert values(file(json.dumps([record] * 3))) == [record] * 3
        assert values(file(json.dumps([record] * 3, ensure_ascii=False))) == [record] * 3


def test_an_empty_list_holds_nothing(file):
    assert values(file(" [ \n ] \n")) == []


def test_infinities_of_the_authors_scorer_are_passed_on(file):
    record = {"PRM_min_score": float("-inf"), "big": float("inf")}
    assert values(file('[{"PRM_min_score": -Infinity, "big": 1e999}]')) == [record]


def test_lone_surrogate_escapes_are_passed_on(file):
    assert values(file(r'[{"a": "x\ud800"}]')) == [{"a": "x\ud800"}]


def test_progress_ends_at_the_size_of_the_file(file, monkeypatch):
    monkeypatch.setattr(reading, "_CHUNK", 10)
    path = file("\n".join(json.dumps({"a": number}) for number in range(20)))
    ends = [record.end for record in read_records(path)]
    assert ends[-1] == file_size(path) == path.stat().st_size


def test_the_repr_shows_no_text(file):
    (record,) = read_records(file(json.dumps({"question": SECRET})))
    assert SECRET not in repr(record)


def test_reading_may_stop_early(file):
    reader = read_records(file('{"a": 1}\n{"a": 2}\nnonsense'))
    assert next(reader).value == {"a": 1}
    reader.close()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("content", ["", " \n\t\r\n", "\ufeff", "\ufeff \n"])
def test_an_empty_file(file, content):
    assert refusal(file(content)) == (
        0,
        "the file is empty; expected a JSON list of records, or one JSON object per line",
    )


GOOD = json.dumps({"question": SECRET})


@pytest.mark.parametrize(
    ("content", "read", "says"),
    [
        (f"[{GOOD}, {GOOD}, 5]", 2, "record 2 (line 1) is not a JSON object"),
        (f"[{GOOD},\n{GOOD},\n]", 2, "record 2 (line 3) is not a JSON object"),
        (f'[{GOOD}, "{SECRET}"]', 1, "record 1 (line 1) is not a JSON object"),
        (f"[[{GOOD}]]", 0, "record 0 (line 1) is not a JSON object"),
        ("[,]", 0, "record 0 (line 1) is not a JSON object"),
        (f"{GOOD}\n\n{SECRET}\n", 1, "record 1 (line 3) is not a JSON object"),
        (f"{GOOD},\n{GOOD}", 1, "record 1 (line 1) is not a JSON object"),
        (SECRET, 0, "record 0 (line 1) is not a JSON object"),
        (f"[{GOOD}] {GOOD}", 1, "more text after the end of the list, at line 1"),
        (f"[{GOOD}]]", 1, "more text after the end of the list, at line 1"),
        (f"[{GOOD}\n {GOOD}]", 1, "expected a comma or the end of the list after 1 records, at line 2"),
        (f"[{GOOD}", 1, "the list does not end: the file was cut short after 1 records"),
        (f"[{GOOD},", 1, "the list does not end: the file was cut short after 1 records"),
        ("[", 0, "the list does not end: the file was cut short after 0 records"),
        (f"[{GOOD},\n{GOOD[:-5]}", 1, "record 1 is not valid JSON at line 2, or the file was cut short there"),
        (f"{GOOD}\n{GOOD[:-5]}", 1, "record 1 is not valid JSON at line 2, or the file was cut short there"),
        (f"{GOOD}\n{GOOD[:-5]}\n{GOOD}\n{GOOD}", 1, "record 1 is not valid JSON at line 2"),
        (f'{GOOD}\n{{"{SECRET}": }}\n{GOOD}\n{GOOD}', 1, "record 1 is not valid JSON at line 2"),
        (f'{GOOD}\n{{"a" "b"}}\n{GOOD}\n{GOOD}', 1, "record 1 is not valid JSON at line 2"),
        (f"{{question: 1}}\n{GOOD}\n{GOOD}", 0, "record 0 is not valid JSON at line 1"),
        (f'{GOOD}\n{{"a": \n{GOOD}\n{GOOD}', 1, "record 1 is not valid JSON at line 4"),
        (f'{GOOD}\n{{"a": {"9" * 5000}}}', 1, "record 1 (line 2) holds a number with too many digits"),
        (f'{GOOD}\n{{"a": {"[" * 200_000}', 1, "record 1 (line 2) is nested too deeply"),
        (f'[{GOOD},\n{{"a": {"[" * 200_000}{"]" * 200_000}}}]', 1, "record 1 (line 2) is nested too deeply"),
        (
            f'{GOOD}\n{{"a": "\xff"}}'.encode("latin-1"),
            1,
            "record 1 (line 2) is not UTF-8 text; save the file as UTF-8",
        ),
        (f'[{GOOD},\n{{"a": "\xff"}}]'.encode("latin-1"), 1, "record 1 (line 2) is not UTF-8 text; save the file as"),
        (f"{GOOD}\né".encode()[:-1], 1, "record 1 (line 2) is not UTF-8 text"),
        (GOOD.encode("utf-16"), 0, "record 0 (line 1) is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file, monkeypatch, content, read, says):
    for chunk in (1 if len(content) < 1000 else 100, 50, 1 << 20):
        monkeypatch.setattr(reading, "_CHUNK", chunk)
        found, message = refusal(file(content))
        assert found == read
        assert message.startswith(says)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), chunk=st.integers(1, 60), as_list=st.booleans())
def test_a_file_cut_anywhere_gives_its_whole_records_and_then_an_error(tmp_path, data, chunk, as_list):
    records = [{"a": number, "b": ['x"\n', "é", {"c": -1.5}], "d": None} for number in range(4)]
    parts = [json.dumps(record, ensure_ascii=False).encode() for record in records]
    content = b"[" + b", ".join(parts) + b"]" if as_list else b"\n".join(parts)
    cut = data.draw(st.integers(1, len(content) - 1))
    path = tmp_path / "cut.json"
    path.write_bytes(content[:cut])
    ends = list(itertools.accumulate((len(part) + (2 if as_list else 1) for part in parts), initial=int(as_list)))
    whole = sum(cut >= start + len(part) for start, part in zip(ends, parts, strict=False))
    at_border = not as_list and any(cut - start - len(part) in (0, 1) for start, part in zip(ends, parts, strict=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        if at_border:
            assert values(path) == records[:whole]
        else:
            assert refusal(path)[0] == whole


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60) | st.text('[]{},:"\\ \n1e-aNu', max_size=60).map(str.encode),
    chunk=st.integers(1, 70),
)
def test_anything_else_is_an_input_error(tmp_path, content, chunk):
    path = tmp_path / "noise"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        try:
            found = values(path)
        except InputError:
            return
    try:
        text = content.decode("utf-8-sig")
        whole = json.loads(text) if text.lstrip(" \t\r\n").startswith("[") else None
    except ValueError:
        whole = "refused"
    decoder, at, expected = json.JSONDecoder(), 0, []
    while whole is None and text[at:].strip(" \t\r\n"):
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
        value, at = decoder.raw_decode(text, at)
        expected.append(value)
    assert repr(found) == repr(expected if whole is None else whole)


def test_an_unclosed_quote_does_not_read_the_whole_file(file, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST", 5000)
    monkeypatch.setattr(reading, "_CHUNK", 1000)
    path = file('[{"a": "' + "x" * 1_000_000 + '"}]')
    message = "record 0 (line 1) is too long, or a quote in it is not closed, or it is not valid JSON at line 1"
    assert refusal(path) == (0, message)


def test_files_that_cannot_be_read(tmp_path, file):
    assert "No such file" in refusal(tmp_path / "missing.json")[1]
    assert "directory" in refusal(tmp_path)[1]
    refusal(tmp_path / "null\0.json")
    broken = file(gzip.compress(json.dumps([{"a": SECRET * 99}] * 99).encode())[:-20])
    assert refusal(broken)[1] == "the gzip file was cut short: copy or download it again"
    whole = bytearray(gzip.compress(json.dumps([{"a": SECRET * 99}] * 99).encode()))
    whole[-6] ^= 1  # its checksum
    assert refusal(file(bytes(whole)))[1] == "the gzip file is damaged: copy or download it again"
    for path in (tmp_path / "missing.json", tmp_path / "null\0.json"):
        with pytest.raises(InputError):
            file_size(path)


# ---------------------------------------------------------------- a large file


@pytest.mark.parametrize("lines", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path, lines):
    path = tmp_path / "large.json"
    if lines:
        with path.open("w") as file:
            for record in itertools.islice(questions(0, True), 60):
                file.write(json.dumps(record) + "\n")
        count = 60
    else:
        count = write(path, 60e6, scores=True)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(path)) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6


# ---------------------------------------------------------------- the benchmark's file


def test_the_made_up_test_set_is_what_it_says(tmp_path):
    path = tmp_path / "made.json"
    count = write(path, 3e6, seed=3, scores=True)
    found = values(path)
    assert len(found) == count
    assert 3e6 <= path.stat().st_size < 3.6e6
    assert found == json.loads(path.read_text())
    assert found == list(itertools.islice(questions(3, True), count))
    assert all("PRM_score_list" not in solution for solution in next(questions(3, False))["solutions"])


def test_majority_vote_is_right_for_about_70_percent_of_the_made_up_questions():
    judged = [q for q in itertools.islice(questions(1, True), 250) if q["data_source"] not in OPEN_ENDED]
    right, of_right, of_wrong = 0, [], []
    for question in judged:
        answers = [solution["answer"] for solution in question["solutions"] if solution["answer"] is not None]
        right += max("ABCD", key=answers.count) == question["correct_answer"]
        for solution in question["solutions"]:
            if solution["PRM_score_list"]:
                (of_right if solution["score"] else of_wrong).append(solution["PRM_min_score"])
    assert 200 < len(judged) < 250
    assert 0.6 < right / len(judged) < 0.8
    assert 0.03 < sum(of_right) / len(of_right) - sum(of_wrong) / len(of_wrong) < 0.3
