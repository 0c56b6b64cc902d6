"""The figures of the kit as one table in Markdown."""

from collections.abc import Iterator
from typing import Any


def to_markdown(found: dict[str, Any]) -> str:
    """One table: part, what, figure."""
    rows = [("part", "what", "figure"), ("---", "---", "---:")]
    for name, part in found["parts"].items():
        if "error" in part:
            rows.append((name, "could not run", part["error"].splitlines()[-1]))
        elif name == "one_question":
            rows += [(name, *row) for row in _questions(part)]
        else:
            rows += [(name, what, figure) for what, figure in _flat(part)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def _questions(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "matrix rate", f"{part['matrix_tflops']:.3g} TFLOP/s"
    for line in part["one_question"]:
        peak = line["peak_bytes"]
        yield (
            f"N = {line['candidates']}",
            f"{line['seconds']:.3f} s, {line['times_card']:.1f} x quick start, {line['times_padded']:.1f} x padded, "
            f"{line['share_of_matrix_rate']:.0%} of the matrix rate, {line['outside_model']:.1%} outside the model, "
            f"{'?' if peak is None else format(peak / 1e9, '.2f')} GB above the weights",
        )


def _flat(part: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in part.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name} ")
        elif isinstance(value, float):
            yield f"{before}{name}", f"{value:.3g}"
        elif value not in ([], None):
            yield f"{before}{name}", str(value)
