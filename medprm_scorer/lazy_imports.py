"""Public names that are imported when they are first used, so that a package is quick to import and asks for little."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from medprm_scorer.errors import MedPRMError


class MissingPackageError(MedPRMError, ImportError):
    """A package that an optional part builds on is not installed; the message has the command that installs it."""


def lazy(
    package: str, homes: Mapping[str, str], needs: tuple[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    Args:
        package: The package's `__name__`.
        homes: For each module that has public names, these names, with blanks between them.
        needs: The package that all of them need, as it is imported, and what to give to `pip install` for it.

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
        what: What the user asked for.
        package: The package that it needs, as it is imported.
        install: What to give to `pip install`, with quotes where a shell needs them; an extra of medprm is named as
            its folder's, too, for those who have it from there.
        error: The failed import.

    Returns:
        A `MissingPackageError` if it is that package that is not there; else the import's own error, since something
        inside an installed package is broken.

    Example:
        >>> print(missing("This", "langchain_core", '"medprm[langchain]"', ModuleNotFoundError(name="langchain_core")))
        This needs langchain_core: pip install "medprm[langchain]", or ".[langchain]" in its folder
    """
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == package:
        here = f", or {install.replace('medprm[', '.[')} in its folder" if "medprm[" in install else ""
        return MissingPackageError(f"{what} needs {package}: pip install {install}{here}")
    return error
