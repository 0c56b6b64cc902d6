"""The authors' selection and the paper's averages, written again in a few lines; and what a file of each kind gives."""

import json
import math
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmarks.make_test_set import SOURCES, write
from medprm_scorer import InputError, MedPRM, cli, score_file
from medprm_scorer.evaluation.evaluate import Plan, evaluate
from medprm_scorer.evaluation.questions import Selection
from medprm_scorer.evaluation.results import Evaluation
from medprm_scorer.evaluation.table import Resampling
from tests.evaluation.test_evaluate import bare, run_cli
from tests.support.cheap_engine import CheapEngine, cheap_prm

QUICK = Resampling(20, 20)
SEVEN = {
    "MedQA-4": ["med_qa_4op"],
    "MedQA-5": ["med_qa"],
    "MedMCQA": ["medmc_qa"],
    "MMLU-Med": [name for name in SOURCES if name.startswith("mmlu_")],
    "DDXPlus": ["ddxplus"],
    "NEJM": ["nejm"],
    "OSCE": ["osce"],
}
PUBLISHED = {"single": 64.76, "majority_vote": 70.03, "best_of_n": 72.39, "weighted_vote": 72.67}


def record(draw: random.Random, number: int, source: str) -> dict:
    """A question whose most common answer may be None, whose spellings differ, whose scores may be "None"."""
    is_open = source in ("osce", "nejm")
    spellings = ["Gout", "gout", "**Gout**", "Pseudogout"] if is_open else ["A", "(A)", "a", "B", "C"]
    often = draw.choice([None, *spellings])
    solutions = []
    for _ in range(draw.randint(1, 12)):
        answer = draw.choice([often, often, None, *spellings])
        rewards = [draw.randint(0, 10) / 10 for _ in range(draw.randint(1, 4))] if draw.random() < 0.95 else []
        solutions.append(
            {
                "solution": "Step 1: Think.",
                "answer": answer,
                "score": "None" if draw.random() < 0.05 else int(draw.random() < 0.5 if answer else 0),
                "PRM_score_list": rewards,
                "PRM_min_score": min(rewards, default=-math.inf),
                "PRM_score": rewards[-1] if rewards else -math.inf,
            }
        )
    return {"question_id": number, "data_source": source, "question": f"{number}?", "solutions": solutions}


@pytest.fixture(scope="module")
def records() -> list[dict]:
    draw = random.Random(11)
    return [record(draw, number, source) for number, source in enumerate(list(SOURCES) * 12)]


def as_the_authors(solutions: list[dict]) -> dict[str, float]:
    """One question; from the published description, not from this package."""

    def is_right(answer) -> bool:
        return any(s["score"] == 1 for s in solutions if s["answer"] == answer)

    found = {"single": sum(s["score"] == 1 for s in solutions) / len(solutions)}
    found["majority_vote"] = is_right(Counter(s["answer"] for s in solutions).most_common(1)[0][0])
    scored = [s for s in solutions if s["PRM_min_score"] > -math.inf]
    sums = defaultdict(float)
    for s in scored:
        sums[s["answer"]] += s["PRM_min_score"]
    found["best_of_n"] = max(scored, key=lambda s: s["PRM_min_score"])["score"] == 1 if scored else False
    found["weighted_vote"] = is_right(max(sums, key=sums.get)) if scored else False
    return found


def means(records: list[dict], sources: list[str]) -> dict[str, float]:
    rows = [as_the_authors(r["solutions"]) for r in records if r["data_source"] in sources]
    return {choice: sum(row[choice] for row in rows) / len(rows) for choice in rows[0]}


def test_the_paper_table_is_the_authors_count(records, tmp_path):
    file = tmp_path / "2_test_dataset.json"
    file.write_text(json.dumps(records))
    found = evaluate(file, plan=Plan([1], how=QUICK, paper=True)).paper
    plain = {name: means(records, sources) for name, sources in SEVEN.items()}
    assert [row.benchmark for row in found.rows] == [*SEVEN, "PubMedQA"]
    for row in found.rows[:-1]:
        for choice, value in plain[row.benchmark].items():
            assert getattr(row, choice) == pytest.approx(value, abs=1e-12), (row.benchmark, choice)
    for choice, published in PUBLISHED.items():
        average = sum(row[choice] for row in plain.values()) / 7
        assert found.average[choice] == pytest.approx(average, abs=1e-12)
        assert round(100 * found.published[choice], 2) == published
    assert found.averaged == 7
    assert found.others == []
    assert [row.released_right for row in found.rows] == [957, 900, 317, 889, 376, 62, 160, 293]
    assert [row.released_questions for row in found.rows] == [1273, 1273, 500, 1089, 500, 120, 214, 500]
    assert (found.released_right, found.released_questions) == (3954, 5469)
    assert found.majority_right == sum(as_the_authors(r["solutions"])["majority_vote"] for r in records)
    assert found.rows[0].difference == found.rows[0].majority_right - 957


def test_what_decides_raw_counts_is_tested_at_all(records):
    """Else the test above would pass on files where normalized counts are the same."""
    nones = [r for r in records if Counter(s["answer"] for s in r["solutions"]).most_common(1)[0][0] is None]
    assert len(nones) > 10
    spelled = 0
    for r in records:
        raw = Counter(s["answer"] for s in r["solutions"]).most_common(1)[0][0]
        keys = Counter((s["answer"] or "").strip("()*").lower() for s in r["solutions"] if s["answer"])
        spelled += bool(keys) and raw is not None and keys.most_common(1)[0][0] != raw.strip("()*").lower()
    assert spelled > 5


def test_open_ended_questions_count_as_they_are_scored(records, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(json.dumps([r for r in records if r["data_source"] == "nejm"]))
    found = evaluate(file, plan=Plan([1], how=QUICK)).total
    known = [r for r in records if r["data_source"] == "nejm" and any(s["score"] != "None" for s in r["solutions"])]
    assert found.questions == len(known)
    assert found.official.questions == 12
    assert found.unjudged == sum(s["score"] == "None" for r in known for s in r["solutions"]) > 0


def test_groups_pool_sources_in_the_tables_and_the_macro_average(records, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(json.dumps(records))
    found = evaluate(file, plan=Plan([1], how=QUICK, groups=[("MMLU", "mmlu_*"), ("open", "[no]*")]))
    names = [part.source for part in found.sources]
    assert names == ["med_qa_4op", "med_qa", "pubmed_qa", "medmc_qa", "ddxplus", "MMLU", "open"]
    assert found.average.source == "macro average"
    accuracies = [part.cell(1, "oracle").accuracy.value for part in found.sources]
    assert found.average.cell(1, "oracle").accuracy.value == pytest.approx(sum(accuracies) / 7)


# ---------------------------------------------------------------- without rewards


def test_a_file_without_rewards_is_answered_or_refused_but_never_scored_by_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(MedPRM, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    file = tmp_path / "test_set.json"
    count = write(file, math.inf, most=40)
    status, out, err = run_cli(capsys, file)
    assert (status, out) == (2, "")
    assert "holds no rewards" in err
    for name in ("--model", "--url", "--no-rewards"):
        assert name in err
    status, out, _ = run_cli(capsys, file, "--no-rewards", "--paper", "--json", "--resamples", "20")
    assert status == 0
    found = Evaluation.model_validate_json(out)
    assert {cell.choice for cell in found.total.cells} == {"single", "majority_vote", "oracle"}
    assert found.aggregates == []
    assert found.provenance.rewards == "none"
    assert found.total.official.right is None
    assert found.paper.questions == count
    assert "best_of_n" not in found.paper.average
    records = json.loads(file.read_text())
    right = sum(
        any(s["score"] == 1 for s in r["solutions"] if s["answer"] == most)
        for r in records
        for most in [Counter(s["answer"] for s in r["solutions"]).most_common(1)[0][0]]
    )
    assert found.paper.majority_right == right
    assert list(tmp_path.iterdir()) == [file]  # no journal either
    assert run_cli(capsys, file, "--no-rewards", "--paper", "--official")[0] == 0


def test_stored_and_computed_rewards_never_mix(records, demo, tmp_path, capsys):
    file = tmp_path / "file.json"
    file.write_text(json.dumps(records[:26]))
    prm = cheap_prm(demo, CheapEngine())
    with pytest.raises(InputError, match=r"holds rewards for \d+ questions: leave the model out"):
        evaluate(file, prm)
    assert prm.engine.calls == []  # type: ignore[attr-defined]
    again = evaluate(file, prm, plan=Plan([1], how=QUICK, rescore=True))
    assert again.scored_here == again.total.questions
    stored = evaluate(file, plan=Plan([1], how=QUICK))
    assert (stored.provenance.rewards, again.provenance.rewards) == ("file", "model")
    assert again.provenance.settings["model"] == "cheap"
    mixed = [dict(r) for r in records[:26]]
    mixed[20] = {**mixed[20], "solutions": [{"solution": "x", "answer": "A", "score": 1}]}
    file.write_text(json.dumps(mixed))
    with pytest.raises(InputError, match="record 20: the file holds no rewards for it"):
        evaluate(file, plan=Plan([1], how=QUICK))
    with pytest.raises(InputError, match="holds rewards for"):
        evaluate(file, prm)


def test_smallest_rewards_alone_are_enough_for_min_and_for_nothing_else(records, tmp_path):
    few = json.loads(json.dumps(records[:26]))
    for r in few:
        for s in r["solutions"]:
            del s["PRM_score_list"], s["PRM_score"]
    file, whole = tmp_path / "min.json", tmp_path / "whole.json"
    file.write_text(json.dumps(few))
    whole.write_text(json.dumps(records[:26]))
    plan = Plan([1, 4], how=QUICK, paper=True)
    assert bare(evaluate(file, plan=plan)) == bare(evaluate(whole, plan=plan))
    with pytest.raises(InputError, match=r"only PRM_min_score: .* only be min"):
        evaluate(file, plan=Plan([1], ("min", "mean")))
    again = tmp_path / "again.json"
    evaluate(file, plan=plan, scored=again)
    assert bare(evaluate(again, plan=plan)) == bare(evaluate(file, plan=plan))


# ---------------------------------------------------------------- there and back


def own_records(count: int) -> list[dict]:
    draw = random.Random(4)
    made = []
    for number in range(count):
        texts = [f"Step 1: Case {number}.\nStep 2: The answer is ({draw.choice('ABC')})" for _ in range(5)]
        texts[draw.randrange(5)] = draw.choice([" ", "No idea.", texts[0]])
        made.append(
            {
                "id": f"q{number}",
                "question": f"Case {number}?\n\n(A) x\n(B) y\n(C) z",
                "documents": [f"Document of {number}"],
                "candidates": texts if number != 5 else [" ", ""],
                "correct_answer": "(B)" if number != 7 else None,
                "data_source": draw.choice(["ward", "clinic"]),
            }
        )
    return made


def same(one: Evaluation, two: Evaluation) -> None:
    """The figures are the same; where the rewards came from need not be."""
    for part in ("total", "sources", "average", "paper", "disagreements", "disagreed", "repeated"):
        assert getattr(one, part) == getattr(two, part), part


@pytest.mark.parametrize("kind", ["own", "released"])
def test_score_then_evaluate_then_scored_then_evaluate(kind, demo, tmp_path, capsys):
    file, results, scored, again, rescored = (tmp_path / f"{name}.jsonl" for name in "abcde")
    if kind == "own":
        file.write_text("".join(json.dumps(r) + "\n" for r in own_records(24)) + "no JSON\n")
    else:
        write(file, math.inf, most=12)
    prm = cheap_prm(demo, CheapEngine())
    plan = Plan([1, 2, 5], how=QUICK, paper=kind == "released")
    score_file(file, results, prm, progress=False)
    turns = [evaluate(results, plan=plan, scored=scored)]
    assert turns[0].failed == (kind == "own")
    assert turns[0].provenance.settings == {"model": "cheap", "system": "auto", "steps": "auto"}
    turns.append(evaluate(scored, plan=plan, scored=again))
    turns.append(evaluate(again, plan=plan))
    if kind == "own":
        file.write_text("".join(json.dumps(r) + "\n" for r in own_records(24)))
    turns.append(evaluate(file, prm, plan=plan, scored=rescored))  # without `score` in between
    turns.append(evaluate(rescored, plan=plan))
    assert turns[0].total.questions > 10
    for one in turns[1:]:
        same(turns[0], one)
    layout = json.loads(scored.read_text())[0]
    assert set(layout) >= {"question_id", "data_source", "question", "correct_answer", "related_docs", "solutions"}
    for solution in layout["solutions"]:
        assert {"solution", "answer", "score", "PRM_score_list", "PRM_min_score", "PRM_score"} <= set(solution)
        assert solution["PRM_min_score"] == min(solution["PRM_score_list"], default=-math.inf)
    capsys.readouterr()


def test_a_mix_of_two_models_results_is_refused(demo, tmp_path):
    file, one, two = (tmp_path / f"{name}.jsonl" for name in "abc")
    file.write_text("".join(json.dumps(r) + "\n" for r in own_records(4)))
    score_file(file, one, cheap_prm(demo, CheapEngine()), progress=False)
    other = cheap_prm(demo, CheapEngine())
    other.engine.fingerprint = "another"
    score_file(file, two, other, progress=False)
    (tmp_path / "both.jsonl").write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(InputError, match="record 4: its rewards were computed with another model"):
        evaluate(tmp_path / "both.jsonl", plan=Plan([1], how=QUICK))


def test_a_mix_with_rewards_of_unknown_origin_is_refused(demo, tmp_path):
    file, one = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in own_records(4)))
    score_file(file, one, cheap_prm(demo, CheapEngine()), progress=False)
    unknown = json.dumps(own_records(1)[0] | {"step_rewards": [[0.5]] * 5}).encode() + b"\n"
    for both, place in ((one.read_bytes() + unknown, 4), (unknown + one.read_bytes(), 1)):
        (tmp_path / "both.jsonl").write_bytes(both)
        with pytest.raises(InputError, match=f"record {place}: its rewards were computed with another model"):
            evaluate(tmp_path / "both.jsonl", plan=Plan([1], how=QUICK))


def test_an_option_that_would_change_nothing_is_refused(records, tmp_path, capsys):
    file = tmp_path / "file.json"
    file.write_text(json.dumps(records[:26]))
    for option, says in (
        (["--rescore"], "--rescore needs --model or --url"),
        (["--system", "outcome"], "--system changes nothing without --model or --url"),
        (["--steps", "whole"], "--steps changes nothing without --model or --url"),
    ):
        assert cli.main(["evaluate", str(file), *option]) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(InputError, match="needs a model"):
        evaluate(file, plan=Plan([1], how=QUICK, rescore=True))


def test_a_failure_of_the_model_is_not_blamed_on_a_record(tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_text(json.dumps(own_records(1)[0]) + "\n")

    def load() -> MedPRM:
        raise InputError("no such model")

    with pytest.raises(InputError, match=r"^no such model$"):
        evaluate(file, load, plan=Plan([1], how=QUICK))


def test_a_pattern_that_no_source_matches_is_an_error(records, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(json.dumps(records[:26]))
    with pytest.raises(InputError, match="no question has a data source that was asked for"):
        evaluate(file, plan=Plan([1], how=QUICK, selection=Selection(sources=("no_such_*",))))


def test_nothing_is_read_beyond_the_limit(tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in own_records(2)) + "{broken")
    found = evaluate(file, plan=Plan([1], how=QUICK, rewards=False, selection=Selection(limit=2)))
    assert found.total.questions + found.total.open_ended == 2


def test_a_file_with_the_name_of_a_half_written_one_is_left_alone(records, tmp_path):
    file = tmp_path / "scored.json.part"
    file.write_text(json.dumps(records[:26]))
    before = file.read_bytes()
    evaluate(file, plan=Plan([1], how=QUICK), scored=tmp_path / "scored.json")
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scored.json", "scored.json.part"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_full_disk_leaves_the_earlier_page(records, tmp_path):
    file, page = tmp_path / "file.json", tmp_path / "page.html"
    file.write_text(json.dumps(records[:26]))
    assert cli.main(["evaluate", str(file), "--n", "1", "--resamples", "20", "--html", str(page)]) == 0
    before = page.read_bytes()
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from medprm_scorer import cli\nsys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "evaluate", str(file), "--n", "1", "--resamples", "20", "--html", str(page)]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=300)
    assert ran.returncode == 1
    assert f"cannot write {page}" in ran.stderr
    assert page.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.json", "page.html"]


def test_one_row_per_question(demo, tmp_path):
    file, rows = tmp_path / "file.jsonl", tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in own_records(24)))
    found = evaluate(file, cheap_prm(demo, CheapEngine()), plan=Plan(how=QUICK), per_question=rows)
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(lines) == found.total.questions == 23
    for choice in ("majority_vote", "best_of_n", "weighted_vote"):
        cell = found.total.cell(5, choice, None if choice == "majority_vote" else "min")
        assert sum(line[f"{choice}_right"] for line in lines) / 23 == pytest.approx(cell.accuracy.value)
    assert [line["id"] for line in lines][:3] == ["q0", "q1", "q2"]
    assert lines[0]["gold"] == "(B)"
    first = lines[0]
    assert first["chain_rewards"] == [None if steps is None else min(steps) for steps in first["step_rewards"]]
    plain = evaluate(file, plan=Plan(how=QUICK, rewards=False), per_question=rows)
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert lines[0]["best_of_n_right"] is lines[0]["step_rewards"] is None
    assert plain.total.questions == len(lines)


def test_parquet_needs_pyarrow_and_says_so(demo, tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in own_records(3)))
    rows = tmp_path / "rows.parquet"
    try:
        import pyarrow.parquet
    except ImportError:
        with pytest.raises(InputError, match="Parquet needs pyarrow"):
            evaluate(file, plan=Plan(how=QUICK, rewards=False), per_question=rows)
        return
    evaluate(file, cheap_prm(demo, CheapEngine()), plan=Plan(how=QUICK), per_question=rows)
    table = pyarrow.parquet.read_table(rows).to_pylist()
    assert [row["id"] for row in table] == ["q0", "q1", "q2"]
    assert table[0]["step_rewards"][0] is None or min(table[0]["step_rewards"][0]) == table[0]["chain_rewards"][0]


def test_a_full_disk_is_a_failure_of_the_work_and_leaves_nothing_half_written(records, tmp_path, capsys):
    resource = pytest.importorskip("resource")
    file = tmp_path / "file.json"
    file.write_text(json.dumps(records))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        status, _, err = run_cli(capsys, file, "--scored", tmp_path / "out.json", "--resamples", "20")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 1
    assert "cannot write" in err
    assert list(tmp_path.iterdir()) == [file]


# ---------------------------------------------------------------- which questions, with what


class Watching(CheapEngine):
    """Keeps what it was asked to run."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def score(self, prompts):
        self.seen += prompts
        return super().score(prompts)


@pytest.fixture
def own_file(tmp_path) -> Path:
    file = tmp_path / "file.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in own_records(24)))
    return file


def seen(demo, file: Path, **selection) -> tuple[Evaluation, list]:
    engine = Watching()
    plan = Plan([1], how=QUICK, selection=Selection(**selection))
    return evaluate(file, cheap_prm(demo, engine), plan=plan), engine.seen


def test_limits(demo, own_file):
    found, prompts = seen(demo, own_file, limit=10, candidates=2)
    assert found.total.questions + found.total.open_ended == 10
    assert max(len(prompt.chains) for prompt in prompts) == 2
    assert found.total.candidates == 2 * found.total.questions
    ward, _ = seen(demo, own_file, sources=("w*",))
    assert [part.source for part in ward.sources] == ["ward"]
    assert (ward.provenance.sources, found.provenance.limit, found.provenance.candidates) == (["w*"], 10, 2)


@pytest.mark.parametrize("documents", ["given", "none", "shuffled"])
def test_documents(demo, own_file, documents):
    found, prompts = seen(demo, own_file, documents=documents)
    records = [r for r in own_records(24) if r["correct_answer"] and r["id"] != "q5"]
    other = 0
    for r, prompt in zip(records, prompts, strict=True):
        own = demo.encoder.prefix(r["question"], r["documents"]).ids
        assert (prompt.prefix == own) == (documents == "given")
        if documents == "none":
            assert prompt.prefix == demo.encoder.prefix(r["question"]).ids
        if documents == "shuffled":
            other += any(
                prompt.prefix == demo.encoder.prefix(r["question"], o["documents"]).ids for o in own_records(24)
            )
    assert documents != "shuffled" or other == len(records)
    assert found.provenance.documents == documents
    again, prompts_again = seen(demo, own_file, documents=documents)
    assert prompts == prompts_again
    if documents == "shuffled":
        assert seen(demo, own_file, documents=documents, seed=1)[1] != prompts
    assert again.total == found.total


def test_documents_that_all_questions_share_cannot_be_shuffled(demo, own_file):
    same_ = [r | {"documents": ["The same."]} for r in own_records(4)]
    own_file.write_text("".join(json.dumps(r) + "\n" for r in same_))
    with pytest.raises(InputError, match="cannot be shuffled"):
        seen(demo, own_file, documents="shuffled")


def test_options_beside_the_question_are_appended_and_it_is_said(demo, own_file, capsys):
    beside = [
        {**r, "question": r["question"].split("\n")[0], "options": {"A": "x", "B": "y", "C": "z"}}
        for r in own_records(24)
    ]
    found, prompts = seen(demo, own_file)
    own_file.write_text("".join(json.dumps(r) + "\n" for r in beside))
    again, prompts_again = seen(demo, own_file)
    assert prompts == prompts_again
    assert (found.options_appended, again.options_appended) == (0, 24)
    ranking = cheap_prm(demo, CheapEngine()).rank_batch([beside[0]])[0]
    assert "The separate options were appended to the question." in ranking.cautions
    assert cli.main(["--version"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("options", [{"limit": 0}, {"candidates": 0}, {"documents": "some"}])
def test_bad_selections(options):
    with pytest.raises(InputError):
        Selection(**options)
