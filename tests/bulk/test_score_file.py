"""`score_file`: order, bounds, going on, and whose fault an error is."""

import asyncio
import gc
import gzip
import json
import math
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.make_test_set import write
from medprm_scorer import InputError, MedPRM, OutputError, Ranking, ScoringError, ascore_file, score_file
from medprm_scorer.bulk import score_file as scoring
from tests.support.cheap_engine import CheapEngine, cheap_prm, requests

SECRET = "Mrs Example born 1950"


def without_times(path: Path) -> list[bytes]:
    lines = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        value = json.loads(line)
        if "ranking" in value:
            value["ranking"]["seconds"] = 0
        del value["run"]["record"]
        lines.append(json.dumps(value).encode())
    return lines


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in requests(60)))
    return path


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "rankings.jsonl"


@pytest.fixture
def cheap(demo):
    return lambda fault=None, delay=0.0: cheap_prm(demo, CheapEngine(fault, delay))


def spoiled(demo, question: str):
    """A fault that recognises a question, by its tokens, in any call."""
    ids = tuple(demo.encoder.prefix(question, []).ids)
    return lambda prompts: any(tuple(prompt.prefix) == ids for prompt in prompts)


# ---------------------------------------------------------------- the results


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("in_flight", [1, 5])
def test_one_line_each_in_order_whatever_order_the_engine_ends_in(file, out, cheap, batch, in_flight):
    prm = cheap(delay=0.02)
    found = score_file(file, out, prm, batch=batch, in_flight=in_flight)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"q{number}" for number in range(60)]
    assert (found.records, found.errors, found.earlier) == (60, 4, 0)
    for request, line in zip(requests(60), lines, strict=True):
        assert list(line["run"]) == ["record", "strategy", "aggregate", "model", "system", "steps"]
        if request["candidates"] == [" "]:
            assert line["error"] == "no candidate could be scored: candidate 0: it is blank"
        else:
            ranking = Ranking.model_validate(line["ranking"])
            alone = prm.rank(request["question"], request["candidates"], request["documents"], id=request["id"])
            assert ranking.model_copy(update={"seconds": 0}) == alone.model_copy(update={"seconds": 0})
    assert prm.engine.most <= in_flight
    assert max(prm.engine.calls) <= batch


def test_the_same_as_the_model_itself(file, out, demo):
    """With the demo model, in packed batches or not."""
    few = file.with_name("few.jsonl")
    few.write_text("".join(json.dumps(record) + "\n" for record in requests(8)))
    score_file(few, out, demo, batch=3, strategy="best_of_n", aggregate="mean")
    for request, line in zip(requests(8), map(json.loads, out.open()), strict=True):
        if "ranking" in line:
            ranking, options = Ranking.model_validate(line["ranking"]), {"strategy": "best_of_n", "aggregate": "mean"}
            alone = demo.rank(request["question"], request["candidates"], request["documents"], **options)
            assert ranking.best.text == alone.best.text
            for chain, other in zip(ranking.chains, alone.chains, strict=True):
                assert chain.step_rewards == pytest.approx(other.step_rewards, abs=1e-5)
            assert (ranking.strategy, ranking.aggregate) == ("best_of_n", "mean")


def test_every_form_of_input_gives_the_same(file, out, cheap, tmp_path):
    score_file(file, out, cheap())
    forms = {
        "list.json": json.dumps(requests(60)).encode(),
        "pretty.json": json.dumps(requests(60), indent=1).encode(),
        "objects.json": b"\n".join(json.dumps(record, indent=1).encode() for record in requests(60)),
        "packed.jsonl.gz": gzip.compress(file.read_bytes()),
        "packed list": gzip.compress(json.dumps(requests(60)).encode()),
        "marked.jsonl": b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n\r\n \n"),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
        score_file(tmp_path / name, tmp_path / f"{name}.out", cheap())
        assert without_times(tmp_path / f"{name}.out") == without_times(out), name


def test_the_released_test_sets_form(out, cheap, tmp_path):
    count = write(tmp_path / "test_set.json", 2e6)
    found = score_file(tmp_path / "test_set.json", out, cheap())
    assert (found.records, found.errors) == (count, 0)
    lines = [json.loads(line) for line in out.open()]
    assert [line["id"] for line in lines] == list(range(count))
    assert all(len(line["ranking"]["chains"]) == 64 for line in lines)
    assert all(line["ranking"]["documents_given"] == 10 for line in lines)


def test_in_a_loop(file, out, cheap):
    found = asyncio.run(ascore_file(file, out, cheap()))
    assert found.records == 60

    async def inside():
        with pytest.raises(RuntimeError, match="event loop"):
            score_file(file, out, cheap())

    asyncio.run(inside())


def test_an_empty_list(out, tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    assert score_file(tmp_path / "empty.json", out, lambda: pytest.fail("no model is needed")).records == 0
    assert out.read_bytes() == b""


# ---------------------------------------------------------------- hostile lines


def test_hostile_lines_are_errors_in_their_place(out, cheap, tmp_path, monkeypatch):
    monkeypatch.setattr("medprm_scorer.bulk.request_lines.LONGEST", 5000)
    good = json.dumps(requests(1)[0]).encode()
    lines = {
        good: None,
        b'{"id": "a", "question": "' + SECRET.encode(): "not valid JSON at character 24",
        b"\xff\xfe{}": "not UTF-8",
        b'{"id": "x", "question": "' + b"y" * 9000 + b'"}': "longer than 67,108,864 bytes",
        b"[1, 2]": "a JSON object",
        b"null": "a JSON object",
        b"\x00": "not valid JSON",
        b"[" * 4000: "nested too deeply",
        b'{"id": ' + b"9" * 4500 + b"}": "too many digits",
        b'{"id": "dup", "question": 5}': "question: expected a string",
        b'{"id": {"deep": 1}, "question": "Which?", "candidates": ["A"]}': "id: expected a string or an integer",
        b'{"id": NaN, "question": "Which?", "candidates": ["A"]}': "id: expected",
        b'{"id": "dup", "question": "Which?", "candidates": []}': "the list is empty",
        b'{"question_id": 7, "question": "Which?", "solutions": [5]}': "solutions[0]: expected",
        good + good: "not valid JSON",
        b'{"id": "\\ud800", "question": "Which?", "candidates": ["The answer is (A) \\u2028 \\u009b2J"]}': None,
        b'{"id": "last", "question": "Which?", "candidates": ["The answer is (A)"]}': None,
    }
    path = tmp_path / "hostile.jsonl"
    path.write_bytes(good + b"\n\n" + b"\n \n".join(lines))  # the first twice: ids need not be different
    found = score_file(path, out, cheap(), batch=3)
    content = out.read_bytes()
    assert content.isascii()
    assert SECRET not in content.decode()
    results = [json.loads(line) for line in content.decode().split("\n")[:-1]]
    assert len(results) == found.records == len(lines) + 1
    for (line, error), result in zip(lines.items(), results[1:], strict=True):
        assert set(result) <= {"id", "run", "ranking", "error", "request"}
        if error is None:
            assert "ranking" in result, (line[:60], result)
        else:
            assert error.replace("67,108,864", "5,000") in result["error"], line[:60]
    assert found.errors == sum(error is not None for error in lines.values())
    assert [result["id"] for result in results] == [
        "q0", "q0", None, None, None, None, None, None, None, None, "dup", None, None, "dup", 7, None, "\ufffd", "last",
    ]  # fmt: skip
    assert len(found.problems) == 5
    assert found.problems[0] == "line 5: not valid JSON at character 24"


@pytest.mark.parametrize(
    "content", [b"", b" \n\n", b"id,question\n1,Which?\n", b"\x89PNG\r\n", b'"text"\n', b"5", b"\xff"]
)
def test_what_holds_no_requests_is_refused_before_anything_is_made(out, tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(InputError):
        score_file(path, out, lambda: pytest.fail("no model is needed"))
    assert not out.exists()


@pytest.mark.parametrize("whole", ["lines", "list"])
def test_cut_short_all_before_it_is_kept_and_once_it_is_whole_the_run_goes_on(file, out, cheap, tmp_path, whole):
    score_file(file, out, cheap())
    if whole == "lines":
        draw = random.Random(1)
        records = [record | {"note": draw.randbytes(400).hex()} for record in requests(60)]
        good = gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode(), 1)
    else:
        good = json.dumps(requests(60)).encode()
    path, other = tmp_path / "cut", tmp_path / "other.jsonl"
    path.write_bytes(good[: len(good) * 2 // 3])
    with pytest.raises(InputError, match="cut"):
        score_file(path, other, cheap())
    done = without_times(other)
    assert 20 < len(done) < 50
    path.write_bytes(good)
    assert len(done) - 4 < score_file(path, other, cheap()).earlier <= len(done)  # the batch that was cut is done again
    assert without_times(other) == without_times(out)


# ---------------------------------------------------------------- whose fault it is


def test_a_request_that_the_engine_fails_on_is_an_error_and_the_others_are_not(file, out, cheap, demo):
    bad = spoiled(demo, "Which dose, 9?")

    def fault(prompts):
        if bad(prompts):
            raise ScoringError("the device ran out of memory")

    found = score_file(file, out, cheap(fault), batch=8)
    lines = [json.loads(line) for line in out.open()]
    assert (lines[9]["id"], lines[9]["error"]) == ("q9", "the device ran out of memory")
    assert lines[9]["request"]["question"] == "Which dose, 9?"
    assert found.errors == 5
    clean = out.with_name("clean.jsonl")
    score_file(file, clean, cheap(), batch=8)
    assert [line for place, line in enumerate(without_times(out)) if place != 9] == [
        line for place, line in enumerate(without_times(clean)) if place != 9
    ]


def test_rewards_that_are_none_for_one_request(file, out, cheap, demo):
    bad = spoiled(demo, "Which dose, 9?")

    def fault(prompts):
        return [[[math.nan] * len(c.tags) for c in p.chains] for p in prompts] if bad(prompts) else None

    found = score_file(file, out, cheap(fault), batch=1)
    lines = [json.loads(line) for line in out.open()]
    assert "NaN" in lines[9]["error"]
    assert found.errors == 5


def test_a_failure_that_passes_leaves_no_trace(file, out, cheap):
    draw = random.Random(0)

    def fault(prompts):
        if draw.random() < 0.1 and len(prompts) > 1:
            raise ScoringError("the server is away")

    found = score_file(file, out, cheap(fault), batch=5)
    clean = out.with_name("clean.jsonl")
    score_file(file, clean, cheap(), batch=5)
    assert found.errors == 4
    assert without_times(out) == without_times(clean)


@pytest.mark.parametrize("kind", ["away", "nan", "fault"])
def test_an_engine_that_is_gone_ends_the_run_blames_nobody_and_the_run_goes_on(file, out, cheap, kind):
    calls = 0

    def fault(prompts):
        nonlocal calls
        calls += 1
        if calls <= 3:
            return None
        if kind == "nan":
            return [[[math.nan] * len(chain.tags) for chain in prompt.chains] for prompt in prompts]
        raise ScoringError("the server is away") if kind == "away" else RuntimeError("a fault")

    with pytest.raises(RuntimeError if kind == "fault" else ScoringError) as caught:
        score_file(file, out, cheap(fault, delay=0.01), batch=4, in_flight=2)
    assert kind.replace("nan", "NaN") in str(caught.value)
    lines = [json.loads(line) for line in out.open()]
    assert len(lines) <= 12
    assert all("ranking" in line or "blank" in line["error"] for line in lines)
    assert score_file(file, out, cheap(), batch=4).earlier == len(lines)
    clean = out.with_name("clean.jsonl")
    score_file(file, clean, cheap())
    assert without_times(out) == without_times(clean)


# ---------------------------------------------------------------- going on


def test_done_it_does_nothing_and_more_records_are_added(file, out, cheap):
    score_file(file, out, cheap())
    before = out.read_bytes()
    again = score_file(file, out, lambda: pytest.fail("no model is needed"))
    assert (again.records, again.errors, again.earlier) == (60, 4, 60)
    assert out.read_bytes() == before
    with file.open("a") as more:
        more.write(json.dumps(requests(61)[60]) + "\n")
    again = score_file(file, out, cheap())
    assert (again.records, again.errors, again.earlier) == (61, 4, 60)
    assert out.read_bytes().startswith(before)


def test_another_input_is_refused(file, out, cheap):
    score_file(file, out, cheap())
    before = out.read_bytes()
    content = file.read_text()
    lines = content.splitlines(keepends=True)
    for changed in (content.replace("mg", "g", 1), "".join(lines[1:]), "".join(lines[:-1]), "".join(lines[::-1])):
        file.write_text(changed)
        with pytest.raises(InputError, match="has changed"):
            score_file(file, out, lambda: pytest.fail("no model is needed"))
    assert out.read_bytes() == before


def test_other_settings_are_refused_and_named(file, out, cheap):
    def gone(prompts):
        raise ScoringError("away")

    half = file.with_name("half.jsonl")
    half.write_text("".join(file.open().readlines()[:30]))
    score_file(half, out, cheap())
    before = out.read_bytes()
    for options, name in (({"strategy": "best_of_n"}, "strategy"), ({"aggregate": "mean"}, "aggregate")):
        with pytest.raises(InputError, match=f"different {name} "):
            score_file(file, out, lambda: pytest.fail("no model is needed"), **options)
    other = cheap(gone)
    other.engine.fingerprint = "another"
    with pytest.raises(InputError, match=r"different model \(cheap, not another\)"):
        score_file(file, out, other)
    assert out.read_bytes() == before
    assert score_file(file, out, cheap()).records == 60


def test_bad_options(file, out, cheap):
    for options in ({"strategy": "best"}, {"aggregate": "sum"}, {"batch": 0}, {"in_flight": 0}):
        with pytest.raises(InputError):
            score_file(file, out, cheap(), **options)
    assert not out.exists()


# ---------------------------------------------------------------- bounds


def test_the_window_is_bounded_by_records_and_by_bytes(file, out, cheap, monkeypatch):
    """How far reading is ahead of writing."""
    read = written = most = 0
    lines, add = scoring.read_request_lines, scoring.ResultFile.add  # type: ignore[attr-defined]

    def counted(path):
        nonlocal read
        for line in lines(path):
            read += 1
            yield line

    def added(self, texts, errors):
        nonlocal written, most
        most = max(most, read - written)
        written += len(texts)
        add(self, texts, errors)

    monkeypatch.setattr(scoring, "read_request_lines", counted)
    monkeypatch.setattr(scoring.ResultFile, "add", added)  # type: ignore[attr-defined]
    score_file(file, out, cheap(delay=0.01), batch=3, in_flight=2)
    assert 9 <= most <= 12
    out.unlink()
    read = written = most = 0
    monkeypatch.setattr(scoring, "_WINDOW_BYTES", 1)
    score_file(file, out, cheap(delay=0.01), batch=3, in_flight=2)
    assert most == 3


def test_memory_does_not_grow_with_the_file(file, out, cheap, tmp_path):
    """Not even by the size of the file, which is a tenth of the results'."""
    peaks, sizes = [], []
    score_file(file, out, cheap())  # what is cached once is cached
    for count in (100, 500):
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in requests(count, candidates=10)))
        sizes.append(path.stat().st_size)
        gc.collect()  # what waits for it is not the file's
        tracemalloc.start()
        score_file(path, tmp_path / f"{count}.out", cheap())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < sizes[1] - sizes[0], (peaks, sizes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are POSIX")
def test_a_full_disk(file, out, cheap):
    import resource

    clean = out.with_name("clean.jsonl")
    score_file(file, clean, cheap())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(clean.read_bytes()) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match="File too large; then run the same command"):
            score_file(file, out, cheap())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    done = without_times(out)
    assert 20 < len(done) < 40
    assert score_file(file, out, cheap()).earlier == len(done)
    assert without_times(out) == without_times(clean)


def test_from_pretrained_is_called_late(file, out):
    called = []

    def load():
        called.append(out.exists())
        return MedPRM.from_pretrained()

    score_file(file, out, load)
    assert called == [True]
