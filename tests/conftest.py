"""What many tests share: the demo model, loaded once, one thread for each process, and what hypothesis does."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported: processes run side by side
os.environ.pop("COLUMNS", None)  # how wide a table is must not depend on who runs the tests: pytest-xdist sets it

from collections.abc import Iterator

import pytest
from hypothesis import settings

from examples.formulary.sample import POLICY
from examples.serving import serve
from medprm_scorer import MedPRM

# The same examples in every run: a change fails for what it changes. `make fuzz` looks for new ones.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("fuzz", derandomize=False, deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("default")


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
