"""What many tests share: the demo model, loaded once, and a limit on threads so that runs repeat."""

import os
from collections.abc import Iterator

import pytest

from examples.formulary.sample import POLICY
from examples.serving import serve
from medprm_scorer import MedPRM


@pytest.fixture(scope="session")
def demo() -> MedPRM:
    """The model inside the package."""
    return MedPRM.from_pretrained()


@pytest.fixture(scope="session")
def policy_server() -> Iterator[str]:
    """A real OpenAI-compatible server with the policy model; its URL."""
    with serve(POLICY) as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests that need a vLLM server to `make test-vllm`."""
    if not os.environ.get("MEDPRM_VLLM_PYTHON"):
        for item in items:
            if item.get_closest_marker("vllm"):
                item.add_marker(pytest.mark.skip(reason="run make test-vllm"))
