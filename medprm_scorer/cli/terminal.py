"""What the commands share: the terminal, JSON on stdout, and files that are written at the end."""

import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from medprm_scorer.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

_MAX_COLUMNS = 110  # longer lines of prose are hard to read


def check_in(command: str, file: Path) -> None:
    """Refuse a path that is not a file which can be read several times from its beginning.

    Args:
        command: The command that reads it, for the message.
        file: The file.

    Raises:
        InputError: The file does not exist, or it is a folder, a pipe or standard input.
    """
    if str(file) == "-" or (file.exists() and not file.is_file()):
        raise InputError(f"{file} is not a file: {command} reads a file, not a folder, a pipe or standard input")
    if not file.exists():
        raise InputError(f"cannot read {file}: no such file")


def check_out(option: str, out: Path | None, *others: Path) -> None:
    """Before any work is done, refuse a file that could not be written afterwards, or that must not be overwritten.

    A page (`--html`) replaces only an earlier page: a mistyped name could be that of a data file.

    Args:
        option: The option that names it.
        out: The file; None if it is not asked for.
        others: Files that must not be overwritten: the inputs, and those that other options name.

    Raises:
        InputError: The file cannot be used; the message names the option or the file.
    """
    if out is None:
        return
    if str(out) == "-":
        raise InputError(f"{option} needs a file's name: standard output shows the result")
    if out.is_dir() or not out.name:
        raise InputError(f"{option} needs a file's name, and {out} is a folder")
    if not out.absolute().parent.is_dir():
        raise InputError(f"cannot write {out}: its folder does not exist")
    if not os.access(out if out.exists() else out.absolute().parent, os.W_OK):
        raise InputError(f"cannot write {out}: permission denied")
    if out.resolve() in [other.resolve() for other in others]:
        raise InputError(f"{option} would overwrite {out}: name another file")
    if option == "--html" and out.is_file():
        from medprm_scorer.results.page import is_page

        if not is_page(out):
            raise InputError(f"{option} would overwrite {out}, which is not a medprm page: name another file")


def write_page(path: Path, text: str) -> None:
    """Write a page as a whole or not at all; only its owner can read a new one.

    Raises:
        OutputError: It cannot be written.
    """
    from medprm_scorer.files.whole_file import whole_file

    with whole_file(path) as page:
        page.write(text.encode("utf-8", errors="replace"))


def write_json(text: str) -> None:
    """Print JSON in UTF-8, whatever the locale, without any terminal control characters."""
    sys.stdout.buffer.write(_escape_controls(text).encode() + b"\n")
    sys.stdout.buffer.flush()


def be_quiet() -> None:
    """Silence the notices that other libraries print; errors are still raised as exceptions."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.stderr.isatty():  # a person who waits for 16 GB wants to see the progress
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes"):  # transformers imports them if they are installed
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _escape_controls(text: str) -> str:
    """The same JSON, with terminal control characters as `\\uXXXX`; in JSON, they can only be inside strings."""
    from medprm_scorer.text.sanitize import clean_text

    return re.sub(
        r"[^\x00-\x7e]", lambda found: found[0] if clean_text(found[0]) == found[0] else f"\\u{ord(found[0]):04x}", text
    )


def console() -> "Console":
    """A terminal that shows text as it is."""
    from rich.console import Console

    screen = Console(highlight=False, markup=False, emoji=False)
    if screen.is_terminal or "COLUMNS" in os.environ:
        screen.width = min(screen.width, _MAX_COLUMNS)
    else:  # a file or a pipe has no width: tables take what they need
        screen.width = _MAX_COLUMNS
    return screen


def is_ascii_only(screen: "Console") -> bool:
    """Whether the terminal lacks the characters of UTF-8."""
    return not screen.encoding.lower().startswith("utf")


def say(message: str) -> None:
    """One line on stderr."""
    from medprm_scorer.text.sanitize import clean_text

    typer.echo(f"medprm: {clean_text(message, newlines=False)}", err=True)
