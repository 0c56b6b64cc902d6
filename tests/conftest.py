"""What many tests share: the demo model, loaded once, and a limit on threads so that runs repeat."""

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
