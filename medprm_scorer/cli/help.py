"""Help text that never breaks a name with hyphens over two lines, so that it can be copied."""

from typing import Any

from typer.core import TyperCommand

_NO_BREAK = "\u2011"  # a hyphen at which no line breaks; copied names must not contain it


def unbroken(name: str) -> str:
    """A name as it must be given in the help of a `WholeNames` command."""
    return name.replace("-", _NO_BREAK)


class WholeNames(TyperCommand):
    """A command whose help never breaks a line within an `unbroken` name."""

    def get_help(self, ctx: Any) -> str:
        """The help, with ordinary hyphens in the names."""
        return super().get_help(ctx).replace(_NO_BREAK, "-")
