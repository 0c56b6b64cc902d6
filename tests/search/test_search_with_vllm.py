"""A real vLLM server as the policy of a search; `make test-vllm` runs this."""

import sys

import pytest

from benchmarks.vllm_server import vllm_server
from examples.formulary.experiment import held_out
from examples.formulary.sample import POLICY
from medprm_scorer.search import ServerPolicy, beam_search
from tests.support.vllm_metrics import counted

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1500)]


def cached_tokens(url: str) -> tuple[float, float]:
    """Tokens of prompts that the server looked for in its cache, and those that it found there."""
    return counted(url, "prefix_cache_queries"), counted(url, "prefix_cache_hits")


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_search_with_a_vllm_server_as_policy_reuses_prefixes(demo, tmp_path, endpoint):
    with vllm_server(POLICY, "completions", 0, "float32", tmp_path / "log") as url:
        policy = ServerPolicy(url, endpoint=endpoint, tokenizer=POLICY if endpoint == "completions" else None)
        right = 0
        before = cached_tokens(url)
        for number in range(3):
            _, question = held_out(number)
            found = beam_search(policy, demo, question.text, question.documents, width=2, expansions=2)
            assert not found.best.truncated
            assert [step.text[:7] for step in found.best.steps] == [
                f"Step {place}:" for place in range(1, len(found.best.steps) + 1)
            ]
            assert 3 < len(found.best.steps) < 6
            right += found.answer == question.answer
        queries, hits = (after - earlier for after, earlier in zip(cached_tokens(url), before, strict=True))
        sys.stdout.write(f"{endpoint}: {hits:.0f} of {queries:.0f} prompt tokens came from the cache; {right} of 3\n")
        assert hits > queries / 2
        assert right >= 2
