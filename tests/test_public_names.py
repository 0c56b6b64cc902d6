"""The public names can be found and imported."""

import subprocess
import sys

import medprm_scorer
from medprm_scorer import errors


def test_completion_lists_the_public_names_before_they_are_imported():
    code = "import medprm_scorer as m; print(set(m.__all__) - set(dir(m)), 'MedPRM' in vars(m))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["set()", "False"]


def test_every_public_name_can_be_imported():
    for name in medprm_scorer.__all__:
        assert getattr(medprm_scorer, name) is not None


def test_every_exception_can_be_caught_by_a_public_name():
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds <= set(medprm_scorer.__all__)
