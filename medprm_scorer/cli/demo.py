"""What `medprm demo` does: the demo model ranks the questions that come with the package.

The questions are about a made-up formulary, the only world that the demo model knows, so the right answer is known for
each and can be compared with what the rewards choose and what majority vote would have said.
"""

import json
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from medprm_scorer.errors import ModelError
from medprm_scorer.results.facts import majority_answer
from medprm_scorer.results.models import RankRequest
from medprm_scorer.results.request_parsing import parse_request
from medprm_scorer.results.terminal import losing_to_rich, to_rich
from medprm_scorer.text.answers import normalize_answer
from medprm_scorer.text.prompts import RELEASED_MODEL
from medprm_scorer.text.sanitize import clean_text

if TYPE_CHECKING:
    from medprm_scorer.results.models import Ranking

_DATA = resources.files("medprm_scorer").joinpath("data")


@dataclass(frozen=True)
class DemoRequest:
    """A shipped request and, since its world is made up, the right answer (None if the file names none)."""

    request: RankRequest
    correct: str | None = field(default=None, repr=False)


def load_requests() -> list[DemoRequest]:
    """The shipped formulary requests, in the order of their file names."""
    files = [item for item in _DATA.iterdir() if item.name.startswith("formulary_") and item.name.endswith(".json")]
    requests = []
    for item in sorted(files, key=lambda item: item.name):
        record = json.loads(item.read_text(encoding="utf-8"))
        requests.append(DemoRequest(parse_request(record), record.get("correct_answer")))
    return requests


def run(console: Console, *, ascii_only: bool = False) -> None:
    """Rank every shipped request and print the results.

    Raises:
        ModelError: The package was installed without its demo requests or its demo model.
    """
    from medprm_scorer.scorer import MedPRM

    demos = load_requests()
    if not demos:
        raise ModelError("this installation has no demo requests: reinstall medprm with its data files")
    prm = MedPRM.from_pretrained()
    console.print(
        Text(
            f"The small model inside this package ranks {len(demos)} questions about a made-up formulary. It knows "
            "that world only, and no medicine. Each step of a chain gets a reward: + from 0.5 on, - below."
        )
    )
    right_rewards = right_majority = known = 0
    rankings = prm.rank_many([demo.request for demo in demos])
    for number, (demo, ranking) in enumerate(zip(demos, rankings, strict=True), start=1):
        console.print()
        console.print(Rule(f"{number} of {len(demos)}", characters="-" if ascii_only else "─", align="left"))
        console.print(to_rich(ranking, ascii_only=ascii_only, brief=True))
        losing = losing_to_rich(ranking, ascii_only=ascii_only)
        if losing is not None:
            console.print()
            console.print(losing)
        if demo.correct is not None:
            known += 1
            right_rewards += _is_right(ranking.answer, demo.correct)
            right_majority += _is_right(majority_answer(ranking), demo.correct)
            console.print()
            console.print(_verdict(ranking, demo.correct))
    console.print()
    console.print(Rule(characters="-" if ascii_only else "─"))
    if known:
        console.print(
            Text(
                f"Right answers: {right_rewards} of {known} with rewards, {right_majority} of {known} by majority vote."
            )
        )
    console.print(
        Text(
            "A few shipped questions show how it works; they measure nothing. The request on Med-PRM's model card "
            "needs the released weights (16 GB, a GPU is advised):"
        )
    )
    console.print(Text(f"  {card_command()}"), soft_wrap=True)  # on one line, so that it can be copied


def card_command() -> str:
    """The command that ranks the model card's request with the released weights, ready to be pasted."""
    beside = Path(sys.executable).with_name("medprm")  # for an environment that is not activated, as under `make`
    program = str(beside) if shutil.which("medprm") is None and beside.is_file() else "medprm"
    return shlex.join([program, "rank", str(_DATA.joinpath("card_request.json")), "--model", RELEASED_MODEL])


def _verdict(ranking: "Ranking", correct: str) -> Text:
    words = {True: "right", False: "wrong"}
    rewards = words[_is_right(ranking.answer, correct)]
    majority = words[_is_right(majority_answer(ranking), correct)]
    text = Text("Right answer: ", style="bold")
    text.append(clean_text(correct, newlines=False))
    text.append(" (known, since this world is made up). ", style="not bold")
    text.append(f"With rewards: {rewards}; by majority vote: {majority}.", style="not bold")
    return text


def _is_right(answer: str | None, correct: str) -> bool:
    return answer is not None and normalize_answer(answer) == normalize_answer(correct)
