"""The figures of `medprm bench` as a table."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

COLUMNS = ("N", "seconds", "quick start", "padded", "x quick start", "x padded", "tokens", "quick start's",
           "of matrix rate", "outside model", "peak MB")  # fmt: skip
"""Short names of the figures of one number of candidates N."""

_LABELS = ("candidates", "seconds", "seconds of the quick start", "seconds of a padded batch",
           "times as fast as the quick start", "times as fast as a padded batch", "tokens run",
           "tokens that the quick start runs", "of the rate of matrix products", "of the time outside the model",
           "peak memory in MB")  # fmt: skip


def to_rich(found: dict[str, Any]) -> RenderableType:
    """What `Bench.run` returned: one line per figure, so that it fits a narrow terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    columns = [cells(line) for line in found["one_question"]]
    for _ in columns:
        table.add_column(justify="right", overflow="fold")
    for label, *figures in zip(_LABELS, *columns, strict=True):
        table.add_row(*map(Text, (label, *figures)))
    title = Text("One question, by number of candidates", style="bold")
    return Group(*map(Text, machine_lines(found)), Text(), title, Padding(table, (0, 0, 0, 2), expand=False))


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """The figures of one number of candidates, in the order of `COLUMNS`."""
    peak = line["peak_bytes"]
    return (
        str(line["candidates"]),
        f"{line['seconds']:.2f}",
        f"{line['seconds_card']:.1f}",
        f"{line['seconds_padded']:.1f}",
        f"{line['times_card']:.1f}",
        f"{line['times_padded']:.1f}",
        f"{line['tokens_run']:,}",
        f"{line['tokens_card']:,}",
        f"{line['share_of_matrix_rate']:.0%}",
        f"{line['outside_model']:.1%}",
        "?" if peak is None else f"{peak / 1e6:,.0f}",
    )


def machine_lines(found: dict[str, Any]) -> list[str]:
    """The machine and the method of measurement."""
    machine, plan = found["machine"], found["plan"]
    return [
        f"{machine['device']}, {machine['threads']} threads, {plan['dtype']}, {machine['parameters'] / 1e6:,.0f} M "
        f"parameters, attention {machine['attention']}, tiles of {machine.get('tile', 64)}, at most "
        f"{machine['max_batch_tokens']} tokens a pass",
        f"Rate of the model's own matrix shapes: {found['matrix_tflops']:.3f} TFLOP/s; medians of {plan['rounds']} "
        f"alternating rounds, {plan['clock']} time",
    ]
