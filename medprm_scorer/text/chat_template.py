"""A tokenizer's chat template: a program from the model's folder, which may fail in any way, or never end.

transformers runs it in Jinja's sandbox, where it can reach nothing but may take any time. So its lines are counted
against a bound on processor time. One operation (a text times a huge number) is not interrupted.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from medprm_scorer.errors import ModelError

_SECONDS = 10.0  # of processor time; what is usual takes milliseconds
_TEMPLATE = "<template>"  # the file name that Jinja gives to the code that it makes


def apply_chat_template(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], *, quote: bool = False, **options: Any
) -> Any:
    """What `tokenizer.apply_chat_template(messages, **options)` gives, within a bound on time.

    Args:
        tokenizer: A tokenizer of transformers.
        messages: The messages.
        quote: Whether an error may have the template's own words; only where no message is from outside.
        **options: Those of transformers.

    Raises:
        ModelError: The template fails, or takes more than 10 s of processor time.
    """
    try:
        return _traced(lambda: tokenizer.apply_chat_template(messages, **options))
    except Exception as error:  # noqa: BLE001 - a template is code from the model's folder: anything may come out
        reason = str(error) if quote or isinstance(error, _TooLongError) else type(error).__name__
    # outside of the block: the template's error, which may have a message's text, is no context of this one
    raise ModelError(f"the tokenizer's chat template failed on a system and a user message: {reason}")


class _TooLongError(Exception):
    """The template takes too long."""


def _traced(work: Any) -> Any:
    """Do the work, and end it from within a line of the template once the time is over."""
    end = time.thread_time() + _SECONDS

    def watch(frame: FrameType, event: str, given: Any) -> Any:
        del event, given
        if time.thread_time() > end:
            raise _TooLongError(f"it takes more than {_SECONDS:g} s")
        return watch if frame.f_code.co_filename == _TEMPLATE else None

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        return work()
    finally:
        sys.settrace(before)
