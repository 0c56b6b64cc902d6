"""What many tests share: the demo model, loaded once, and a limit on threads so that runs repeat."""

import pytest

from medprm_scorer import MedPRM


@pytest.fixture(scope="session")
def demo() -> MedPRM:
    """The model inside the package."""
    return MedPRM.from_pretrained()
