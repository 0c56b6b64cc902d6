"""Reading requests as lines; what `read_records` reads is tried in `test_dataset`."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medprm_scorer.bulk import request_lines
from medprm_scorer.bulk.request_lines import decode_line, read_request_lines
from medprm_scorer.errors import InputError
from medprm_scorer.files import records
from medprm_scorer.results.request_parsing import request_id
from tests.support.properties import examples


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "requests"


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.binary(max_size=30) | st.sampled_from([b"{}", b'{"a": 1}', b" ", b"", b"[]", b"{"]), max_size=8),
    packed=st.booleans(),
)
def test_after_a_first_good_line_each_stands_for_itself(path, lines, packed):
    content = b"\n".join([b'{"first": 0}', *lines])
    path.write_bytes(gzip.compress(content) if packed else content)
    expected = [line.strip(b" \t\r\n") for line in content.split(b"\n")]
    found = list(read_request_lines(path))
    assert [line.text for line in found] == [line for line in expected if line]
    assert [line.place for line in found] == list(range(len(found)))
    assert [int(line.name.split()[1]) for line in found] == [n for n, line in enumerate(expected, 1) if line]
    assert all(0 < line.end <= path.stat().st_size for line in found)
    for line in found:
        try:
            value = decode_line(line.text)
        except InputError as error:
            message = str(error)
            with pytest.raises((ValueError, RecursionError)):
                json.loads(line.text.decode())
            assert "\n" not in message
        else:
            assert repr(value) == repr(json.loads(line.text.decode()))


def test_digests_tell_records_apart_and_not_how_they_stand_there(path):
    path.write_bytes(b'{"a": 1}\n{"a": 2}\r\n\n  {"a": 1}  ')
    first, second, third = (line.digest for line in read_request_lines(path))
    assert first == third != second


@pytest.mark.parametrize("size", [99, 100, 101, 199, 200, 201, 5000])
def test_a_line_too_long_to_be_held_is_known_by_its_digest(path, monkeypatch, size):
    monkeypatch.setattr(request_lines, "LONGEST", 100)
    long = b'{"a": "' + b"x" * (size - 9) + b'"}'
    digests = []
    for content in (long, long.replace(b"x", b"y"), long[:-3] + b'y"}'):
        path.write_bytes(b'{"a": 1}\n' + content + b"\n" + b'{"a": 2}')
        lines = list(read_request_lines(path))
        assert [line.text for line in lines] == [b'{"a": 1}', content if size < 100 else None, b'{"a": 2}']
        assert [line.name for line in lines] == ["line 1", "line 2", "line 3"]
        digests.append(lines[1].digest)
    assert len(set(digests)) == 3
    with pytest.raises(InputError, match="longer than 100 bytes"):
        decode_line(None)


def test_a_broken_first_line_is_one_line_and_objects_over_several_lines_are_objects(path):
    path.write_bytes(b'{"a": [1, \n{"a": 2}\n')
    assert [line.text for line in read_request_lines(path)] == [b'{"a": [1,', b'{"a": 2}']
    path.write_bytes(b'{"a":\n 1}\n{"a": NaN, "b": "\xd0\xba"}{"a": 3}')
    assert [json.dumps(decode_line(line.text)) for line in read_request_lines(path)] == [
        '{"a": 1}',
        '{"a": NaN, "b": "\\u043a"}',
        '{"a": 3}',
    ]


def test_the_repr_shows_no_text(path):
    path.write_text('{"a": "secret"}')
    assert "secret" not in repr(list(read_request_lines(path)))


def test_damaged_gzip(path):
    content = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(9999)))
    for damage in (content[:-9], content[:3000]):
        path.write_bytes(damage)
        read = 0
        with pytest.raises(InputError, match="the gzip file was cut short"):  # noqa: PT012
            for line in read_request_lines(path):
                assert decode_line(line.text) == {"a": read}
                read += 1


@pytest.mark.parametrize(
    "value", [None, 5, [], "x", {}, {"id": []}, {"id": True}, {"id": 1.5}, {"solutions": [], "id": 3}]
)
def test_no_usable_id(value):
    assert request_id(value) is None


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_what_is_no_object_in_a_list_is_a_record_that_fails_by_itself(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    values = [{"id": 1}, 5, -12345.5e2, "text, [", None, True, [1, {"id": 2}], {"id": 3}, 1234567890]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(values))
    assert [decode_line(line.text) for line in read_request_lines(path)] == values
    path.write_text("12345 678")  # not even a list
    with pytest.raises(InputError, match="is not a JSON object"):
        read_request_lines(path)
