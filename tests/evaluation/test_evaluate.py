"""Every number of the table agrees with a few lines that share no code with it; a killed run loses nothing."""

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from medprm_scorer import MedPRM, cli
from medprm_scorer.aggregate import AGGREGATES
from medprm_scorer.errors import InputError, ScoringError
from medprm_scorer.evaluation.evaluate import Plan, evaluate
from medprm_scorer.evaluation.report import to_text
from medprm_scorer.evaluation.results import Evaluation
from medprm_scorer.evaluation.table import Resampling
from medprm_scorer.local.loading import DEMO_MODEL, load

SUBSETS, RESAMPLES, FLIPS, SEED = 12, 60, 80, 3
SIZES = [1, 2, 3, 8]
PLAN = Plan(SIZES, ("min", "mean"), SUBSETS, Resampling(RESAMPLES, FLIPS, SEED))


def released_record(rng: random.Random, number: int) -> dict:
    """One question in the released format: ties, missing answers, candidates without tags, unequal counts."""
    right = rng.choice("ABCD")
    is_open = rng.random() < 0.1
    solutions = []
    for _ in range(rng.choice((1, 2, 5, 8, 8, 8))):
        answer = rng.choice([right, *"ABCD", None])
        rewards = [rng.randint(0, 10) / 10 for _ in range(rng.randint(1, 5))]  # a coarse grid: ties are common
        solutions.append(
            {
                "solution": f"Step 1: Хворий <{number}>. Step 2: the answer is ({answer})",
                "answer": answer,
                "score": "None" if is_open else int(answer == right),
                "PRM_score_list": rewards if rng.random() < 0.95 else [],
            }
        )
    return {
        "question_id": number,
        "data_source": rng.choice(["med_qa", "osce", "pubmed_qa"]),
        "question": f"Question {number}?",
        "correct_answer": right,
        "related_docs": ["a document"],
        "solutions": solutions,
    }


@pytest.fixture(scope="module")
def records() -> list[dict]:
    rng = random.Random(7)
    return [released_record(rng, number) for number in range(1000)]


@pytest.fixture(scope="module")
def found(records, tmp_path_factory) -> Evaluation:
    file = tmp_path_factory.mktemp("evaluation") / "test_set.json"
    file.write_text(json.dumps(records))
    return evaluate(file, plan=PLAN)


def bare(found: Evaluation) -> Evaluation:
    """The figures alone: without what tells one file and one run from another."""
    return found.model_copy(update={"provenance": None})


def plain_row(solutions: list[dict], chosen: list[int], aggregate: str) -> dict[str, float]:
    """The four choices among some of a question's solutions, as plainly as they can be written."""
    right_answers = {s["answer"] for s in solutions if s["score"] == 1}
    some = [solutions[i] for i in chosen]
    answers = [s["answer"] for s in some if s["answer"] is not None]
    vote = Counter(answers).most_common(1)[0][0] if answers else None

    def reward(solution: dict) -> float:
        steps = solution["PRM_score_list"]
        return min(steps) if aggregate == "min" else math.fsum(steps) / len(steps)

    scored = [s for s in some if s["PRM_score_list"]]
    best = max(scored, key=reward, default=None)  # max keeps the first of equals
    groups = defaultdict(list)
    for s in scored:
        if s["answer"] is not None:
            groups[s["answer"]].append(reward(s))
    held, all_ = (sum(map(Fraction, map(reward, some_))) for some_ in ([s for s in scored if s["answer"]], scored))
    is_vote = 2 * float(held) >= float(all_) if all_ else 2 * sum(map(len, groups.values())) >= len(scored)
    if groups and is_vote:  # max keeps the first of equals, dicts the order of appearance
        winner = max(groups, key=lambda a: (float(sum(map(Fraction, groups[a]))), max(groups[a])))
        weighted = winner in right_answers
    else:
        weighted = best is not None and (best["score"] == 1 or best["answer"] in right_answers)
    return {
        "single": sum(s["score"] == 1 for s in solutions) / len(solutions),
        "majority_vote": float(vote in right_answers),
        "best_of_n": float(best is not None and best["score"] == 1),
        "weighted_vote": float(weighted),
        "oracle": float(any(s["score"] == 1 for s in some)),
    }


def plain_values(records: list[dict], aggregate: str, n: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """Expected accuracies of each judged question, by choice."""
    sources, values = [], defaultdict(list)
    for place, record in enumerate(records):
        solutions = record["solutions"]
        if any(s["score"] == "None" for s in solutions):
            continue
        total = len(solutions)
        size = min(n, total)
        if math.comb(total, size) <= SUBSETS:
            subsets = [[i for i in range(total) if code >> i & 1] for code in range(2**total)]
            subsets = [subset for subset in subsets if len(subset) == size]
        else:
            keys = np.random.default_rng([SEED, place, size]).random((SUBSETS, total))
            subsets = [sorted(np.argsort(row, kind="stable")[:size]) for row in keys]
        rows = [plain_row(solutions, subset, aggregate) for subset in subsets]
        sources.append(record["data_source"])
        for choice in rows[0]:
            values[choice].append(sum(row[choice] for row in rows) / len(rows))
    return sources, {choice: np.array(column) for choice, column in values.items()}


def plain_interval(values: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.025, 0.975))
    return low, high


def plain_p_value(differences: np.ndarray) -> float:
    signs = np.random.default_rng(SEED).integers(0, 2, (FLIPS, len(differences))) * 2 - 1
    extreme = np.abs((signs * differences).mean(1)) >= abs(differences.mean()) - 1e-12
    return (1 + extreme.sum()) / (1 + FLIPS)


@pytest.mark.parametrize("aggregate", ["min", "mean"])
@pytest.mark.parametrize("n", SIZES)
def test_every_number_of_the_table(records, found, n, aggregate):
    sources, values = plain_values(records, aggregate, n)
    seen = list(dict.fromkeys(record["data_source"] for record in records))
    groups = {"all": np.ones(len(sources), bool)} | {name: np.array(sources) == name for name in seen}
    assert [result.source for result in found.sources] == seen
    for result in (found.total, *found.sources):
        mask = groups[result.source]
        assert result.questions == mask.sum()
        for choice, column in values.items():
            own = column[mask]
            cell = result.cell(n, choice, aggregate if choice in ("best_of_n", "weighted_vote") else None)
            assert cell.accuracy.value == pytest.approx(own.mean(), abs=1e-12)
            assert (cell.accuracy.low, cell.accuracy.high) == pytest.approx(plain_interval(own), abs=1e-12)
            if choice == "majority_vote":
                assert cell.gain is None
                continue
            gain = own - values["majority_vote"][mask]
            assert cell.gain.value == pytest.approx(gain.mean(), abs=1e-12)
            assert (cell.gain.low, cell.gain.high) == pytest.approx(plain_interval(gain), abs=1e-12)
            assert cell.p_value == plain_p_value(gain)


def test_mean_of_sources(records, found):
    sources, values = plain_values(records, "min", 8)
    masks = [np.array(sources) == result.source for result in found.sources]
    for choice, column in values.items():
        cell = found.average.cell(8, choice, "min" if choice in ("best_of_n", "weighted_vote") else None)
        assert cell.accuracy.value == pytest.approx(np.mean([column[mask].mean() for mask in masks]), abs=1e-12)
        assert cell.accuracy.low <= cell.accuracy.value <= cell.accuracy.high


def test_counts_and_official(records, found):
    judged = [r for r in records if r["solutions"][0]["score"] != "None"]
    solutions = [s for r in judged for s in r["solutions"]]
    total = found.total
    assert total.questions == len(judged)
    assert total.open_ended == len(records) - len(judged) > 50
    assert total.candidates == len(solutions)
    assert total.unanswered == sum(s["answer"] is None for s in solutions) > 50
    assert total.unscored == sum(not s["PRM_score_list"] for s in solutions) > 50
    assert total.fewer[8] == sum(len(r["solutions"]) < 8 for r in judged)
    right = majority = 0
    for record in judged:
        tagged = [s for s in record["solutions"] if s["PRM_score_list"]]
        if tagged:
            right += max(tagged, key=lambda s: min(s["PRM_score_list"]))["score"]
        vote = Counter(s["answer"] for s in record["solutions"]).most_common(1)[0][0]  # None is an answer, too
        majority += any(s["score"] == 1 and s["answer"] == vote for s in record["solutions"])
    assert (total.official.right, total.official.majority_right) == (right, majority)
    assert total.official.questions == len(records)
    assert sum(source.official.right for source in found.sources) == right


def test_disagreements_are_the_questions_where_the_votes_differ(records, found):
    assert found.disagreed > len(found.disagreements) > 0
    for shown in found.disagreements:
        assert shown.answer != shown.majority_answer
        assert shown.question == records[shown.place]["question"]
        votes = Counter(s["answer"] for s in records[shown.place]["solutions"] if s["answer"] is not None)
        assert shown.counts == dict(votes)
        assert shown.majority_answer == votes.most_common(1)[0][0]


def test_json_lines_give_the_same(records, found, tmp_path):
    file = tmp_path / "test_set.jsonl"
    file.write_text("\n\n".join(map(json.dumps, records)))
    again = evaluate(file, plan=PLAN)
    assert again.provenance.sha256 != found.provenance.sha256
    assert bare(again) == bare(found)
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_sizes_follow_the_file(tmp_path):
    rng = random.Random(1)
    lines = []
    for number, total in enumerate((1, 3, 6)):
        record = released_record(rng, number)
        record["solutions"] = [
            {"solution": "x", "answer": rng.choice("AB"), "score": rng.randint(0, 1), "PRM_score_list": [rng.random()]}
            for _ in range(total)
        ]
        lines.append(json.dumps(record))
    file = tmp_path / "few.jsonl"
    file.write_text("\n".join(lines))
    assert evaluate(file).sizes == [1, 2, 4, 6]
    assert evaluate(file, plan=Plan([4, 2, 64])).sizes == [2, 4, 64]


def test_a_file_without_judged_questions_has_no_figures(tmp_path):
    file = tmp_path / "open.jsonl"
    file.write_text(json.dumps({"question": "Why?", "candidates": ["Because."]}))
    found = evaluate(file)
    assert (found.total.questions, found.total.open_ended, found.total.cells) == (0, 1, [])
    assert cli.main(["evaluate", str(file)]) == 0  # there is nothing to score, so no model is missed


def test_missing_rewards_without_a_model_are_an_error(tmp_path):
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps({"question": "Which?", "candidates": ["The answer is (A)"], "correct_answer": "A"}))
    with pytest.raises(InputError, match=r"record 0: .*name a model .*--no-rewards"):
        evaluate(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, "whole numbers from 1"),
        ({"sizes": [0, 1]}, "whole numbers from 1"),
        ({"aggregates": ()}, "at least one aggregate"),
        ({"aggregates": ("min", "min")}, "only once"),
        ({"aggregates": ("median",)}, "unknown aggregate 'median'"),
        ({"subsets": 0}, "subsets must be at least 1"),
    ],
)
def test_bad_plans(options, message):
    with pytest.raises(InputError, match=message):
        Plan(**options)


@pytest.fixture(scope="module")
def unscored_file(tmp_path_factory) -> Path:
    """Questions whose rewards the demo model must compute; some candidates cannot be scored."""
    rng = random.Random(2)
    lines = []
    for number in range(60):
        candidates = [
            f"Step 1: The label says dose Zoravine at {rng.randint(2, 9)} mg per kg.\nStep 2: The answer is "
            f"({rng.choice('AB')})"
            for _ in range(4)
        ]
        if number % 3 == 0:
            candidates[1] = " "
        if number == 7:
            candidates = ["", "  "]  # none can be scored: counted, and the others go on
        lines.append(
            json.dumps(
                {
                    "id": number,
                    "question": f"The patient weighs {number} kg. Which dose?\n\n(A) 200 mg\n(B) 300 mg",
                    "documents": ["Label: dose Zoravine at 5 mg per kg."],
                    "candidates": candidates,
                    "correct_answer": "(A)",
                }
            )
        )
    file = tmp_path_factory.mktemp("unscored") / "samples.jsonl"
    file.write_text("\n".join(lines))
    return file


def test_computed_rewards_are_the_scorers(unscored_file, demo, tmp_path):
    found = evaluate(unscored_file, demo, plan=PLAN, journal=tmp_path / "rewards.sqlite3")
    assert found.scored_here == 60
    assert found.model == demo.engine.name
    assert found.total.unscored == 20 + 2
    with_scores = tmp_path / "with_scores.jsonl"
    lines = []
    for line in unscored_file.read_text().splitlines():
        record = json.loads(line)
        try:
            chains = demo.score(record["question"], record["candidates"], record["documents"])
            record["step_rewards"] = [chain.step_rewards or None for chain in chains]
        except ScoringError:
            record["step_rewards"] = [None] * len(record["candidates"])
        lines.append(json.dumps(record))
    with_scores.write_text("\n".join(lines))
    again = evaluate(with_scores, plan=PLAN)
    assert again.total == found.total
    assert again.scored_here == 0
    assert again.model is None


def test_a_journal_keeps_the_rewards_of_another_model_or_rule_aside(unscored_file, demo, tmp_path):
    journal = tmp_path / "rewards.sqlite3"
    first = evaluate(unscored_file, demo, plan=PLAN, journal=journal)
    assert evaluate(unscored_file, MedPRM.from_pretrained(steps="whole"), plan=PLAN, journal=journal).kept == 0
    model, tokenizer = load(DEMO_MODEL, "cpu", "float32", None)
    with torch.no_grad():  # as after one more step of training
        for weight in model.parameters():
            weight.mul_(1 + 0.01 * torch.randn_like(weight))
    other = MedPRM.from_model(model, tokenizer, system="auto")
    assert evaluate(unscored_file, other, plan=PLAN, journal=journal).kept == 0
    again = evaluate(unscored_file, demo, plan=PLAN, journal=journal)
    assert again.kept == 60
    assert again.total == first.total


def test_the_fingerprint_knows_a_model_in_any_precision():
    def fingerprint(dtype: str) -> str:
        return MedPRM.from_pretrained(dtype=dtype).settings["model"]

    assert fingerprint("float32") == fingerprint("bfloat16") == fingerprint("float16")


def test_questions_that_count_as_wrong_or_stand_twice_are_said(tmp_path, capsys):
    records = [
        {"question": "One?", "candidates": ["The answer is (A)"], "correct_answer": "A", "step_rewards": [None]},
        {"question": "Two?", "candidates": ["The answer is (A)"], "correct_answer": "A", "step_rewards": [[0.5]]},
        {"question": "Two?", "candidates": ["The answer is (A)"], "correct_answer": "B", "step_rewards": [[0.5]]},
    ]
    file = tmp_path / "samples.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    found = evaluate(file)
    assert (found.total.without_rewards, found.repeated, found.disagreed) == (1, 1, 1)
    assert found.total.cell(1, "majority_vote").accuracy.value == pytest.approx(2 / 3)
    assert found.total.cell(1, "weighted_vote", "min").accuracy.value == pytest.approx(1 / 3)
    _, out, _ = run_cli(capsys, file)
    assert "1 question without any scored candidate: choices by rewards count as wrong there" in out
    assert found.repeated_places == [(2, 1)]
    assert "1 question repeated (record 2 is the question of record 1 again)" in out


def test_of_many_repeated_questions_the_first_are_named(tmp_path):
    record = {"question": "One?", "candidates": ["The answer is (A)"], "correct_answer": "A", "step_rewards": [[0.5]]}
    file = tmp_path / "samples.jsonl"
    file.write_text("\n".join(map(json.dumps, [record] * 20)))
    found = evaluate(file)
    assert (found.repeated, found.repeated_places) == (19, [(place, 0) for place in range(1, 6)])
    assert "record 5 is the question of record 0 again, …): intervals" in " ".join(to_text(found).split())


def test_more_samples_asked_for_than_there_are_is_said(tmp_path, capsys):
    record = {"candidates": ["The answer is (A)"] * 2, "correct_answer": "A", "step_rewards": [[0.5], [0.4]]}
    file = tmp_path / "samples.jsonl"
    file.write_text("\n".join(json.dumps(record | {"question": f"{number}?"}) for number in range(6)))
    _, out, _ = run_cli(capsys, file, "--n", "2,3,64")
    assert "6 questions have fewer than 3 candidates, 6 fewer than 64; such a question takes part" in out


def test_documents_that_were_not_read_are_said(tmp_path, demo, capsys):
    record = {
        "question": "Which dose?\n\n(A) 5 mg\n(B) 9 mg",
        "documents": ["filler " * 4000, "Give 5 mg."],
        "candidates": ["Step 1: Give 5 mg. The answer is (A)", "Step 1: Give 9 mg. The answer is (B)"],
        "correct_answer": "A",
    }
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps(record) + "\n" + json.dumps({**record, "documents": ["Give 5 mg."], "question": "Or?"}))
    assert evaluate(file, demo).documents_left_out == 1
    _, out, _ = run_cli(capsys, file, "--model", "demo")
    assert "1 question with documents that the model did not read" in out


def test_no_file_is_overwritten(tmp_path, capsys):
    file = tmp_path / "samples.jsonl"
    text = json.dumps({"question": "Which?", "candidates": ["The answer is (A)"], "correct_answer": "A"})
    file.write_text(text)
    page = tmp_path / "page.svg"
    for options in (
        ["--html", file],
        ["--plot", tmp_path / "x" / ".." / "page.svg", "--html", page],
        ["--journal", file],
        ["--journal", page, "--html", page],
        ["--scored", file],
        ["--per-question", page, "--html", page],
        ["--html", tmp_path / "samples.jsonl.rewards.sqlite3"],
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        status, out, err = run_cli(capsys, file, *options)
        assert (status, out) == (2, "")
        assert "would overwrite" in err
    assert file.read_text() == text
    assert not page.exists()


def test_nan_rewards_end_the_run_and_are_never_kept(unscored_file, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo.engine, "score", lambda prompts: [[[math.nan] * len(c.tags) for c in p.chains] for p in prompts]
    )
    journal = tmp_path / "rewards.sqlite3"
    with pytest.raises(ScoringError, match="NaN"):
        evaluate(unscored_file, demo, plan=PLAN, journal=journal)
    assert b"NaN" not in journal.read_bytes()


RUNS = """
import os, sys, time, torch
from medprm_scorer import MedPRM
from medprm_scorer.evaluation.evaluate import evaluate
torch.set_num_threads(1)
prm = MedPRM.from_pretrained(device="cpu", dtype="float32")
score = prm.engine.score
def slowly(prompts):
    time.sleep(0.03)
    return score(prompts)
prm.engine.score = slowly
for line in sys.stdin:  # one process for each run, with the model loaded once
    if (child := os.fork()) == 0:
        with open(sys.argv[3], "w") as out:
            out.write(evaluate(sys.argv[1], prm, journal=sys.argv[2], progress=False).model_dump_json())
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start many processes in little time")
@pytest.mark.slow
def test_killed_twenty_times_the_result_is_the_same(unscored_file, demo, tmp_path):
    """SIGKILL at random moments: each run goes on from what the one before it had finished."""
    undisturbed = evaluate(unscored_file, demo)
    journal, out = tmp_path / "rewards.sqlite3", tmp_path / "out.json"
    rng = random.Random(5)
    starter = subprocess.Popen(
        [sys.executable, "-c", RUNS, str(unscored_file), str(journal), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )

    def start() -> int:
        starter.stdin.write("\n")
        return int(starter.stdout.readline())

    def kept() -> int:
        """How many values there are, read as another process can: from copies."""
        try:
            for name in (journal, Path(f"{journal}-wal")):
                copy = tmp_path / name.name.replace("rewards", "copy")
                copy.write_bytes(name.read_bytes() if name.exists() else b"")
            with closing(sqlite3.connect(tmp_path / "copy.sqlite3")) as database:
                return database.execute("SELECT count(*) FROM done").fetchone()[0]
        except (OSError, sqlite3.Error):
            return 0

    done = [0]
    for run in range(20):
        child = start()
        if run % 2:  # every other run gets far enough to finish something, however slow the machine
            while kept() == done[-1]:
                time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        assert int(starter.stdout.readline()) == -signal.SIGKILL
        done.append(kept())
    assert done == sorted(done)  # nothing finished is lost
    assert done[-1] >= 10
    start()
    assert starter.stdout.readline() == "0\n"
    starter.communicate()
    found = Evaluation.model_validate_json(out.read_text())
    assert found.kept >= 10  # where the rewards came from is all that differs
    assert bare(found).model_copy(update={"kept": 0}) == bare(undisturbed)


def run_cli(capsys, *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_command_line(records, found, tmp_path, capsys):
    file = tmp_path / "test_set.json"
    file.write_text(json.dumps(records[:60]))
    page, plot = tmp_path / "out.html", tmp_path / "out.svg"
    status, out, _ = run_cli(capsys, file, "--official", "--html", page, "--plot", plot, "--n", "1,2,8")
    assert status == 0
    assert "oracle" in out
    assert "med_qa" in out
    assert "<svg" in page.read_text()
    assert "<svg" in plot.read_text()
    status, out, _ = run_cli(capsys, file, "--json", "--aggregate", "all", "--n", "4", "--seed", "9")
    assert status == 0
    parsed = Evaluation.model_validate_json(out)
    assert parsed.sizes == [4]
    assert parsed.aggregates == list(AGGREGATES)
    assert parsed.seed == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--group", "MMLU"], "--group takes NAME=GLOB"),
        (["--per-question", "rows.csv"], ".jsonl or .parquet"),
        (["--documents", "some"], "unknown documents"),
        (["--documents", "none"], "needs a model that computes"),
        (["--limit", "0"], "--limit"),
        (["--no-rewards", "--model", "demo"], "not both"),
        (["--no-rewards", "--scored", "out.json"], "rewards are left out"),
        (["--n", "1,x"], "--n takes whole numbers"),
        (["--aggregate", "median"], "unknown aggregate"),
        (["--plot", "/nowhere/at/all/x.png"], "folder does not exist"),
        (["--plot", "x.bmp"], "png"),
        (["--html", "-"], "standard output shows"),
        (["--html", "/"], "is a folder"),
        (["--n", "1" + "0" * 30], "numbers up to 10,000"),
        (["--resamples", "100000000000"], "--resamples"),
    ],
)
def test_bad_options_are_said_before_the_work(tmp_path, capsys, arguments, message):
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps({"question": "Which?", "candidates": ["The answer is (A)"], "correct_answer": "A"}))
    status, out, err = run_cli(capsys, file, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["-", ".", "/", "/dev/stdin"])
def test_what_is_no_file(name, capsys):
    status, out, err = run_cli(capsys, name)
    assert (status, out) == (2, "")
    assert "is not a file" in err


def test_a_missing_file(tmp_path, capsys):
    status, out, err = run_cli(capsys, tmp_path / "not there.json")
    assert (status, out) == (2, "")
    assert "not there.json" in err


def test_messages_hold_no_text_of_the_file(tmp_path, capsys):
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps({"question": "PATIENT", "candidates": ["PATIENT"], "step_rewards": [["PATIENT"]]}))
    status, out, err = run_cli(capsys, file)
    assert (status, out) == (2, "")
    assert "record 0" in err
    assert "step_rewards" in err
    assert "PATIENT" not in err


def test_bad_records_are_found_before_anything_is_scored(tmp_path):
    """Hours of scoring must not end at the last record."""
    path = tmp_path / "late.jsonl"
    good = {"question": "Which?", "candidates": ["Step 1: The answer is (A)"], "correct_answer": "A"}
    bad = [{**good, "candidates": 5}, {**good, "correct_answer": ["x"]}]
    path.write_text("\n".join(json.dumps(record) for record in [good, good, *bad, good]))

    def never() -> MedPRM:
        raise AssertionError("a model was asked for")

    with pytest.raises(InputError, match=r"2 records cannot be used, record 2: candidates: .*; record 3: correct_ans"):
        evaluate(path, never)
    path.write_text("\n".join(json.dumps(record) for record in [good] + [bad[0]] * 9))
    with pytest.raises(InputError, match=r"9 records cannot be used, record 1: .*record 5: .*; …$"):
        evaluate(path, never)


def test_rewards_of_one_dtype_are_not_those_of_another(demo, tmp_path):
    path, journal = tmp_path / "one.jsonl", tmp_path / "rewards.sqlite3"
    good = {"question": "Which?", "candidates": ["Step 1: The answer is (A)"], "correct_answer": "A"}
    path.write_text(json.dumps(good))
    found = evaluate(path, demo, journal=journal)
    assert (found.scored_here, found.kept, found.without_documents) == (1, 0, 1)
    assert evaluate(path, demo, journal=journal).kept == 1
    half = MedPRM.from_pretrained(dtype="bfloat16")
    assert (demo.settings["dtype"], half.settings["dtype"]) == ("float32", "bfloat16")
    assert evaluate(path, half, journal=journal).kept == 0
    assert evaluate(path, half, journal=journal).kept == 1


def test_progress_counts_questions_and_shows_the_accuracy_so_far(tmp_path, capsys):
    question = {"question": "Which? (A) x (B) y", "candidates": ["The answer is (A)", "The answer is (B)"]}
    rows = [{**question, "correct_answer": letter, "step_rewards": [[0.9], [0.2]]} for letter in "AB"]
    file = tmp_path / "two.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    evaluate(file, progress=True)
    assert "2 questions, weighted vote 50.0%, majority vote 50.0%" in capsys.readouterr().err
