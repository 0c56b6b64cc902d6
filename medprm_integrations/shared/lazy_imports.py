"""The error for a framework that an integration needs and that is not installed."""

from medprm_scorer.errors import MedPRMError


class MissingPackageError(MedPRMError, ImportError):
    """A package that this integration builds on is not installed; the message has the command that installs it."""


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
