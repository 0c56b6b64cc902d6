"""The figures of `medprm bench` as a table for the terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def to_rich(found: dict[str, Any]) -> RenderableType:
    """What `Bench.run` returned, ready to be printed."""
    machine, plan = found["machine"], found["plan"]
    table = Table(title="One question, by number of candidates N")
    for name in ("N", "seconds", "quick start", "padded", "x quick start", "x padded", "tokens", "quick start's",
                 "of matrix rate", "outside model", "peak MB"):  # fmt: skip
        table.add_column(name, justify="right")
    for line in found["one_question"]:
        peak = line["peak_bytes"]
        table.add_row(
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
    lines = [
        f"{machine['device']}, {machine['threads']} threads, {plan['dtype']}, {machine['parameters'] / 1e6:,.0f} M "
        f"parameters, attention {machine['attention']}, at most {machine['max_batch_tokens']} tokens a pass",
        f"Rate of the model's own matrix shapes: {found['matrix_tflops']:.3f} TFLOP/s; medians of {plan['rounds']} "
        f"alternating rounds, {plan['clock']} time",
    ]
    packed, session, errors = found["packed"], found["session"], found["errors"]
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
    return Group(Text(lines[0]), Text(lines[1]), table, *(Text(line) for line in lines[2:]))
