"""Asking for samples, in rounds, until a `Drawing` has what it wants."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from medprm_integrations.shared.concurrency import arun_all, never, run_all
from medprm_integrations.shared.drawing import Drawing

Value = TypeVar("Value")


def draw(
    drawing: Drawing[Value], ask: Callable[[], Value], limit: int, stops: Callable[[Exception], bool] = never
) -> None:
    """Fill a drawing, each round in threads.

    Args:
        drawing: What to fill.
        ask: Gives one sample.
        limit: Most calls at once.
        stops: Errors that end everything, as in `run_all`.

    Example:
        >>> answers = iter(["The answer is (A)", "The answer is (B)"])
        >>> drawing = Drawing(2, read=str.strip)
        >>> draw(drawing, lambda: next(answers), limit=1)
        >>> drawing.texts
        ['The answer is (A)', 'The answer is (B)']
    """
    while count := drawing.to_draw():
        drawing.add(run_all([ask] * count, limit, stops))


async def adraw(
    drawing: Drawing[Value],
    ask: Callable[[], Awaitable[Value]],
    limit: int,
    stops: Callable[[Exception], bool] = never,
) -> None:
    """Fill a drawing, each round in tasks. When the caller is cancelled, so are they."""
    while count := drawing.to_draw():
        drawing.add(await arun_all([ask] * count, limit, stops))
