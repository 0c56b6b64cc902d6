"""The kernel of the cascade, which only NVIDIA GPUs have, is its plain twin in these tests."""

import pytest

from medprm_scorer.local import cascade
from tests.support.varlen import plain_varlen


@pytest.fixture(autouse=True)
def _plain_kernel(request, monkeypatch):
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setattr(cascade, "_varlen", plain_varlen)
