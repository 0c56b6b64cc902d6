"""Help in which a name with hyphens is never broken over two lines, so that it can be copied."""

from typing import Any

from typer.core import TyperCommand

_NO_BREAK = "\u2011"  # a hyphen that no line is broken at; it is none that a name could be found by


def unbroken(name: str) -> str:
    """A name for the help of an option of a `WholeNames` command."""
    return name.replace("-", _NO_BREAK)


class WholeNames(TyperCommand):
    """A command whose help breaks no line within an `unbroken` name."""

    def get_help(self, ctx: Any) -> str:
        """The help, with the names as they are written."""
        return super().get_help(ctx).replace(_NO_BREAK, "-")
