import pytest

from medprm_scorer.lazy_imports import MissingPackageError, lazy, missing


def test_only_a_missing_package_is_called_missing():
    other = ModuleNotFoundError(name="something")
    assert missing("X", "langchain", "langchain", other) is other
    error = missing("X", "langchain", "langchain", ModuleNotFoundError(name="langchain.agents"))
    assert isinstance(error, MissingPackageError)
    assert isinstance(error, ImportError)
    assert str(error) == "X needs langchain: pip install langchain"


def test_a_name_that_is_not_public_is_an_attribute_error():
    getattribute, _ = lazy("math", {"no_such_package_here": "One"}, needs=("no_such_package_here", "it"))
    with pytest.raises(AttributeError, match="module 'math' has no attribute 'Two'"):
        getattribute("Two")
    with pytest.raises(MissingPackageError, match="One needs no_such_package_here: pip install it"):
        getattribute("One")
    getattribute, _ = lazy("math", {"no_such_package_here": "One"})
    with pytest.raises(ModuleNotFoundError):
        getattribute("One")
