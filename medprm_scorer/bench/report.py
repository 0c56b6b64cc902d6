"""The figures of `medprm bench` as a table, for the terminal and in Markdown."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_COLUMNS = ("N", "seconds", "quick start", "padded", "x quick start", "x padded", "tokens", "quick start's",
            "of matrix rate", "outside model", "peak MB")  # fmt: skip


def to_rich(found: dict[str, Any]) -> RenderableType:
    """What `Bench.run` returned, ready to be printed."""
    table = Table(title="One question, by number of candidates N")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for line in found["one_question"]:
        table.add_row(*_cells(line))
    return Group(*map(Text, _machine(found)), table, *map(Text, _others(found)))


def to_markdown(found: dict[str, Any]) -> str:
    """The same for a text."""
    rows = [_COLUMNS, ("---:",) * len(_COLUMNS), *map(_cells, found["one_question"])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    date = found["machine"]["date"][:10]
    lists = ["\n".join(f"- {line}" for line in lines) for lines in (_machine(found), _others(found))]
    return "\n\n".join([f"Measured on {date}:", lists[0], table, lists[1]])


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
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


def _machine(found: dict[str, Any]) -> list[str]:
    machine, plan = found["machine"], found["plan"]
    return [
        f"{machine['device']}, {machine['threads']} threads, {plan['dtype']}, {machine['parameters'] / 1e6:,.0f} M "
        f"parameters, attention {machine['attention']}, at most {machine['max_batch_tokens']} tokens a pass",
        f"Rate of the model's own matrix shapes: {found['matrix_tflops']:.3f} TFLOP/s; medians of {plan['rounds']} "
        f"alternating rounds, {plan['clock']} time",
    ]


def _others(found: dict[str, Any]) -> list[str]:
    """A sentence for each figure beside the table."""
    plan, packed, session, errors = found["plan"], found["packed"], found["session"], found["errors"]
    lines = []
    if packed and "many_over_large" in packed:
        lines.append(
            f"{plan['questions']} questions x 4 candidates: {packed['many_over_large']:.2f} times the throughput per "
            f"unique token of one question x 64 ({packed['tokens_per_second_many']:,.0f} tokens/s)"
        )
    if packed and "arank_over_rank_many" in packed:
        lines.append(
            f"{plan['calls']} concurrent arank calls x 4 candidates: {packed['arank_over_rank_many']:.2f} times the "
            "throughput of rank_many"
        )
    if session:
        lines.append(
            f"Session, {session['candidates']} candidates: a further step takes at most {session['ratio']:.2f} times "
            "its new tokens alone"
        )
    if errors:
        lines.append(
            f"Float32 against the plain way: {errors['float32_against_plain']:.1e}; {plan['dtype']} against float32: "
            f"{errors['ours']:.1e}, {errors['ratio']:.2f} times the quick start's own error"
        )
    return lines
