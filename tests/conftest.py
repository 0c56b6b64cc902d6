"""What many tests share: the demo model, loaded once, and a limit on threads so that runs repeat."""

import os

import pytest

from medprm_scorer import MedPRM


@pytest.fixture(scope="session")
def demo() -> MedPRM:
    """The model inside the package."""
    return MedPRM.from_pretrained()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests that need a vLLM server to `make test-vllm`."""
    if not os.environ.get("MEDPRM_VLLM_PYTHON"):
        for item in items:
            if item.get_closest_marker("vllm"):
                item.add_marker(pytest.mark.skip(reason="run make test-vllm"))
