"""Wall time of fixed n against `stop="confident"`, with a slow language model: `python -m benchmarks.sampling_latency`.

A local HTTP server says the formulary's chains, each after 0.5 s ± 0.3 s; `MedPRMBestOfN` samples from it with up to 8
calls at once, and the demo reward model scores them. Both ways get the same chains with the same delays. At the end it
is checked that what was cancelled was closed at the server, and that no task and no thread is left.
"""

import argparse
import asyncio
import os
import random
import statistics
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from langchain_openai import ChatOpenAI

from benchmarks.policy_server import PolicyServer, Reply, Seen
from examples.formulary.chains import make_chain
from examples.formulary.experiment import held_out
from examples.formulary.habits import habit
from examples.formulary.world import Question
from medprm_integrations.langchain import MedPRMBestOfN, ranking_of
from medprm_scorer import MedPRM

_MEAN, _SPREAD = 0.5, 0.3
_FIRST = 1_000  # number of the first question: none that a rule was chosen by


@dataclass
class Way:
    """The results of one sampling method.

    Args:
        seconds: Of each question, from the question to the answer.
        drawn: Samples asked for, of each question.
        right: How many answers are right.
        seen: What the server has seen.
        left: Tasks and threads that were left at the end.
    """

    seconds: list[float]
    drawn: list[int]
    right: int
    seen: Seen
    left: int


def _server(questions: list[Question], n: int) -> PolicyServer:
    """Returns the chains of each question in order, each with its own delay."""
    replies: dict[str, list[Reply]] = {}
    for number, question in enumerate(questions):
        rng = random.Random(f"latency-{number}")
        replies[question.text] = [
            Reply([make_chain(question, rng, habit(question)).text], rng.uniform(_MEAN - _SPREAD, _MEAN + _SPREAD))
            for _ in range(2 * n)
        ]
    asked: Counter[str] = Counter()

    def reply(_: int, body: dict[str, Any]) -> Reply:
        text = next(text for text in replies if text in body["messages"][-1]["content"])
        asked[text] += 1
        return replies[text][asked[text] - 1]

    return PolicyServer(reply)


async def _ask(best: MedPRMBestOfN, questions: list[Question]) -> tuple[list[float], list[int], int, int]:
    seconds, drawn, right = [], [], 0
    for question in questions:
        begun = time.perf_counter()
        message = await best.ainvoke({"question": question.text, "documents": list(question.documents)})
        seconds.append(time.perf_counter() - begun)
        ranking = ranking_of(message)
        drawn.append(ranking.samples_drawn or 0)
        right += ranking.answer == question.answer
    return seconds, drawn, right, len(asyncio.all_tasks()) - 1


def measure(prm: MedPRM, questions: list[Question], n: int, concurrency: int, stop: Literal["confident"] | None) -> Way:
    """Ask one question after the other.

    Args:
        prm: The reward model.
        questions: What is asked.
        n: Most samples of each.
        concurrency: Most calls at once.
        stop: The rule for stopping; None draws all.
    """
    with _server(questions, n) as server:
        llm = ChatOpenAI(base_url=server.url, api_key="none", model="policy", temperature=1, max_retries=0)  # type: ignore[arg-type]
        best = MedPRMBestOfN(llm=llm, prm=prm, n=n, stop=stop, max_concurrency=concurrency)
        seconds, drawn, right, tasks = asyncio.run(_ask(best, questions))
        server.wait_until_idle()
        threads = sum(thread.name == "medprm" for thread in threading.enumerate())
        return Way(seconds, drawn, right, server.seen, tasks + threads)


def main() -> None:
    """Measure both ways, and print their medians."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=8)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    prm = MedPRM.from_pretrained(device="cpu", dtype="float32")
    questions = [held_out(_FIRST + number)[1] for number in range(arguments.questions)]
    load = os.getloadavg()[0]
    measure(prm, questions[:1], 8, arguments.concurrency, None)  # to warm up
    fixed = measure(prm, questions, arguments.n, arguments.concurrency, None)
    confident = measure(prm, questions, arguments.n, arguments.concurrency, "confident")
    print(
        f"{len(questions)} questions, {_MEAN} s ± {_SPREAD} s a sample, {arguments.concurrency} calls at once, "
        f"{os.cpu_count()} CPU cores, load {load:.1f}\n"
        "| way | median s | mean s | samples | right | closed at the server |\n|---|---|---|---|---|---|"
    )
    for name, way in ((f"n = {arguments.n}", fixed), ('stop="confident"', confident)):
        print(
            f"| {name} | {statistics.median(way.seconds):.2f} | {statistics.mean(way.seconds):.2f} | "
            f"{statistics.mean(way.drawn):.1f} | {way.right} of {len(questions)} | {way.seen.closed} |"
        )
    ratios = [a / b for a, b in zip(fixed.seconds, confident.seconds, strict=True)]
    total = sum(fixed.seconds) / sum(confident.seconds)
    print(
        f"median ratio {statistics.median(ratios):.2f}, smallest {min(ratios):.2f}, of the sums {total:.2f}; "
        f"calls running at the end {confident.seen.now}, tasks and threads left {fixed.left + confident.left}"
    )


if __name__ == "__main__":
    main()
