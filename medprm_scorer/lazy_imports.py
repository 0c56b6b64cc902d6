"""Public names that are imported on first use, so that a package imports quickly and has few dependencies."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from medprm_scorer.errors import MedPRMError


class MissingPackageError(MedPRMError, ImportError):
    """A package that an optional part needs is not installed; the message has the command that installs it."""


def lazy(
    package: str, homes: Mapping[str, str], needs: tuple[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    Args:
        package: The package's `__name__`.
        homes: For each module with public names, these names, separated by blanks.
        needs: The import name of the package that all of them need, and the argument for `pip install`.

    Example:
        >>> _, names = lazy("math", {"fractions": "Fraction"})
        >>> {"Fraction", "sqrt"} <= set(names())
        True
    """
    found = {name: module for module, names in homes.items() for name in names.split()}

    def getattribute(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(found[name]), name)
        except ImportError as error:
            better = missing(name, *needs, error) if needs else error
            if better is error:
                raise
            raise better from error
        setattr(sys.modules[package], name, value)
        return value

    return getattribute, lambda: sorted({*vars(sys.modules[package]), *found})


def missing(what: str, package: str, install: str, error: ImportError) -> ImportError:
    """The error to raise when an import has failed.

    Args:
        what: The part that the user wanted to use.
        package: The import name of the package that it needs.
        install: The argument for `pip install`, with quotes if a shell needs them. For an extra of medprm the message
            also names the command for its source folder.
        error: The failed import.

    Returns:
        A `MissingPackageError` if that package is missing; otherwise the import's own error, since something inside an
        installed package is broken.

    Example:
        >>> print(missing("This", "langchain_core", '"medprm[langchain]"', ModuleNotFoundError(name="langchain_core")))
        This needs langchain_core: pip install "medprm[langchain]", or ".[langchain]" in its folder
    """
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == package:
        here = f", or {install.replace('medprm[', '.[')} in its folder" if "medprm[" in install else ""
        return MissingPackageError(f"{what} needs {package}: pip install {install}{here}")
    return error
