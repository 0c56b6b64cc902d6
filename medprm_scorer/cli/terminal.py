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
    """Refuse what is no file that can be read from its beginning as often as needed.

    Args:
        command: The command that reads it, for the message.
        file: The file.

    Raises:
        InputError: There is none, or it is a folder, a pipe or standard input.
    """
    if str(file) == "-" or (file.exists() and not file.is_file()):
        raise InputError(f"{file} is no file: {command} reads a file, not a folder, a pipe or standard input")
    if not file.exists():
        raise InputError(f"cannot read {file}: no such file")


def check_out(option: str, out: Path | None, *others: Path) -> None:
    """Refuse, before any work is done, a file that could not be written after it, or that must not be overwritten.

    A page (`--html`) takes the place of an earlier page only: what the option was mistyped for may be a data file.

    Args:
        option: The option that names it.
        out: The file; None if it is not asked for.
        others: Files that must not be overwritten: what is read, and what the other options name.

    Raises:
        InputError: Naming the option or the file.
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
            raise InputError(f"{option} would overwrite {out}, which is no page of medprm: name another file")


def write_page(path: Path, text: str) -> None:
    """Write a page as a whole or not at all; a new one can be read by its owner only.

    Raises:
        OutputError: It cannot be written.
    """
    from medprm_scorer.files.whole_file import whole_file

    with whole_file(path) as page:
        page.write(text.encode("utf-8", errors="replace"))


def write_json(text: str) -> None:
    """Print JSON in UTF-8, whatever the locale, with nothing in it that could steer a terminal."""
    sys.stdout.buffer.write(_escape_controls(text).encode() + b"\n")
    sys.stdout.buffer.flush()


def be_quiet() -> None:
    """Silence advice that other libraries print for their own users; errors still come as exceptions."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.stderr.isatty():  # a person waiting for 16 GB wants to see them come
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes"):  # which transformers imports where they are
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _escape_controls(text: str) -> str:
    """The same JSON, with what could steer a terminal as `\\uXXXX`; outside ASCII, JSON has nothing but strings."""
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
    else:  # a file or a pipe has no width of its own: tables get what they need
        screen.width = _MAX_COLUMNS
    return screen


def is_ascii_only(screen: "Console") -> bool:
    """Whether the terminal lacks the characters of UTF-8."""
    return not screen.encoding.lower().startswith("utf")


def say(message: str) -> None:
    """One line on stderr."""
    from medprm_scorer.text.sanitize import clean_text

    typer.echo(f"medprm: {clean_text(message, newlines=False)}", err=True)
