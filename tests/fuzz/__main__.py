"""Fuzz one layer: `python -m tests.fuzz TARGET [SECONDS]`; `make fuzz` does them all, one after the other.

Found inputs that reach new code are kept in `.fuzz/TARGET` (not in the repository) and used again the next time; the
small seeds in `tests/fuzz/seeds/TARGET` are where it starts. A failing input is written to `.fuzz/` and named.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["medprm_scorer"]):
    from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).parent / "seeds"


def main() -> None:
    """Read the arguments and fuzz until the time is over or something breaks."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {'|'.join(TARGETS)} [SECONDS]")
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    corpus = Path(".fuzz", name)
    corpus.mkdir(parents=True, exist_ok=True)
    TARGETS[name](b"")  # loads what is loaded once, which no input's time limit should count
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=4096", "-max_len=2000"]
    options += [f"-artifact_prefix=.fuzz/{name}-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(SEEDS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
