"""The figures of `python -m benchmarks.speed` as lines of text and in Markdown."""

from typing import Any

from medprm_scorer.cli.benchmark.report import COLUMNS, cells, machine_lines


def to_markdown(found: dict[str, Any]) -> str:
    """All that `SpeedBench.run` found, for a text."""
    rows = [COLUMNS, ("---:",) * len(COLUMNS), *map(cells, found["one_question"])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    date = found["machine"]["date"][:10]
    lists = ["\n".join(f"- {line}" for line in lines) for lines in (machine_lines(found), other_lines(found))]
    return "\n\n".join([f"Measured on {date}:", lists[0], table, lists[1]])


def other_lines(found: dict[str, Any]) -> list[str]:
    """A sentence for each figure that is not in the table."""
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
    if found.get("whole_depth"):
        figures = ", ".join(f"N = {line['candidates']} in {line['seconds']:,.0f} s" for line in found["whole_depth"])
        lines.append(f"Extrapolated to 32 layers by useful FLOPs, nothing of that depth was run: {figures}")
    if errors:
        lines.append(
            f"Float32 against the plain way: {errors['float32_against_plain']:.1e}; {plan['dtype']} against float32: "
            f"{errors['ours']:.1e}, {errors['ratio']:.2f} times the quick start's own error"
        )
    return lines
