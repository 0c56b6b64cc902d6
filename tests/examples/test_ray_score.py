"""The Ray Data example on a real Ray cluster on this machine. `make test-ray` installs Ray and runs this."""

import importlib.util
import json
import warnings

import pytest
import torch

from medprm_scorer import InputError, score_file
from tests.bulk.test_score_file import without_times
from tests.support.cheap_engine import requests

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: make test-ray"),
]


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_the_results_are_those_of_medprm_score(cluster, demo, tmp_path):
    from examples.ray_score import score

    path, clean, out = (tmp_path / name for name in ("requests.jsonl", "clean.jsonl", "out.jsonl"))
    lines = [json.dumps(record) for record in requests(60)]
    lines[7:7] = ["no JSON", '{"id": "x", "question": 5}', "", " \t", "[1]", '{"id": "é ки", "question": "ки', "null"]
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\n\xef\xbb\xbf{}\n")
    options = {"strategy": "best_of_n", "aggregate": "mean"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as Ray does in each actor: with more, sums are taken in another order
    try:
        found = score_file(path, clean, demo, **options)
    finally:
        torch.set_num_threads(threads)
    assert (found.records, found.errors) == (67, 11)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*only received 1 input")  # then one actor would do all the work
        count, errors = score(path, out, actors=2, batch=4, **options)
    assert (count, len(errors), errors[0][0]) == (67, 11, 5)
    assert out.stat().st_mode & 0o777 == 0o600
    assert without_times(out) == without_times(clean)


def test_several_files_come_in_the_order_of_their_names(cluster, tmp_path):
    from examples.ray_score import score

    (tmp_path / "parts").mkdir()
    made = requests(12)
    for part in (2, 0, 1):
        lines = [json.dumps(record) for record in made[4 * part : 4 * part + 4]]
        (tmp_path / "parts" / f"part-{part}.jsonl").write_text("\n".join(lines) + "\n")
    count, errors = score(tmp_path / "parts", tmp_path / "out.jsonl", actors=2, batch=3)
    assert (count, [number for number, _ in errors]) == (12, [5])
    found = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").open()]
    assert found == [record["id"] for record in made]


def test_more_actors_than_cpus_are_refused_and_the_output_is_left_alone(cluster, tmp_path):
    from examples.ray_score import score

    (tmp_path / "out.jsonl").write_text("earlier")
    with pytest.raises(InputError, match="at most 2 actors"):
        score(tmp_path / "in.jsonl", tmp_path / "out.jsonl", actors=3)
    assert (tmp_path / "out.jsonl").read_text() == "earlier"
