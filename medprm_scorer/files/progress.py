"""The progress bar of work that goes through a file: how much of it is done, how fast, and how long the rest takes."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from medprm_scorer.files.records import file_size


def file_bar(path: str | Path, what: str, shown: bool | None, done: int = 0) -> Any:
    """A bar on stderr, in bytes of the file, since nobody knows yet how many records it has.

    Args:
        path: The file that the work goes through.
        what: The work, in one word.
        shown: Whether to show the bar; None: if stderr is a terminal.
        done: Bytes that an earlier run has done: they do not count for the rate.

    Returns:
        A `tqdm`, to be closed or used in a `with` block.

    Raises:
        InputError: The file cannot be read.
    """
    disable = None if shown is None else not shown  # None: tqdm shows itself on a terminal only
    return tqdm(total=file_size(path), initial=done, unit="B", unit_scale=True, desc=what, disable=disable)
