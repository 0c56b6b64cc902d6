"""Ways of spending the same number of generated tokens: `python -m examples.formulary.search --out FOLDER`.

For each held-out question and each budget, of so many whole chains: one sample, majority vote, best-of-n, weighted
vote, sampling until confident, early rejection, beam search and diverse subtrees. Whole chains are drawn once for a
question; selection among whole chains takes the first of them, and early rejection gets the same ones, step by step.
The actual cost of a method is shown next to its accuracy: tokens of the policy and of the reward model. Stopped at any
moment, the command resumes where it was. `--only rejection` says alone what early rejection saves.
"""

import argparse
import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from examples.formulary.experiment import held_out
from examples.formulary.sample import POLICY
from examples.formulary.world import Question
from medprm_scorer import Confident, MedPRM, normalize_answer, should_stop
from medprm_scorer.encoding import EncodedPrompt
from medprm_scorer.evaluation.bootstrap import bootstrap_means, sign_flip_p_values
from medprm_scorer.evaluation.journal import Journal
from medprm_scorer.evaluation.plots import save_figure
from medprm_scorer.search import (
    Continuation,
    GrowingChain,
    Limits,
    LocalPolicy,
    SearchRanking,
    beam_search,
    dvts,
    early_rejection,
)
from medprm_scorer.search.policy import seed_of
from medprm_scorer.selection import Scored, select

BUDGETS = (1, 2, 4, 8, 16, 32)
BEAMS = {2: (1, 2), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (8, 4)}
SUBTREES = {2: (1, 2), 4: (2, 2), 8: (4, 2), 16: (8, 2), 32: (8, 4)}
"""Width, or number of subtrees, and expansions: their product is the budget."""
WAYS = (
    *("one sample", "majority vote", "best-of-n", "weighted vote", "confident"),
    *(
        "early rejection, best-of-n",
        "the same, slack 0.01",
        "early rejection, vote",
        "early rejection of twice as many",
    ),
    *("beam search", "dvts"),
)
BASELINE = "weighted vote"
WHOLE = {"early rejection, best-of-n": "best-of-n", "early rejection, vote": "weighted vote"}
"""The exact ways of early rejection, and the choices among whole chains that they stand for."""
_MOST_STEPS = 12
_RESAMPLES, _FLIPS = 2000, 10_000

REJECTED = (8, 16, 32)
REJECTIONS: dict[str, tuple[Any, Any, int]] = {
    "best-of-n, best first": ("best_of_n", "best_first", 1),
    "best-of-n, best first, 4 at once": ("best_of_n", "best_first", 4),
    "best-of-n, longest first": ("best_of_n", "longest_first", 1),
    "vote, best first": ("weighted_vote", "best_first", 1),
    "vote, longest first": ("weighted_vote", "longest_first", 1),
}
"""Numbers of chains, and ways of early rejection: strategy, order, chains at once."""

ACCOUNT = """\
Early rejection of twice as many chains spends what it saves: it samples up to twice as many chains as the
budget has, and stops at the budget's tokens. Its vote is of more chains, and where a budget of 4 or 8 chains
holds too few right ones, that decides. Beam search and diverse subtrees keep what the reward model prefers
after each step, but gain little here. Probably that is because a chain of the formulary goes wrong at one step,
and at that step a beam has as many tries as the same number of whole chains: there is little to prune before
it, and nothing to repair after it. With longer chains, or with mistakes at several steps, this can be
otherwise. Nobody has tried it with the released weights."""

Outcome = dict[str, Any]
"""Of one way, budget and question: `right` (0 or 1), `generated` and `reward` (tokens of the two models)."""


class Drawn:
    """Whole chains of one question, which it also gives step by step as a policy would write them."""

    def __init__(self, policy: LocalPolicy, question: Question, n: int, seed: int) -> None:
        self._known: dict[int, Continuation] = {}
        self.steps: list[list[str]] = [[] for _ in range(n)]
        self.tokens = [0] * n
        self.cut_off = [True] * n
        chains = {place: GrowingChain("", (), seed_of(seed, place)) for place in range(n)}
        while chains:
            given = policy.extend(question.text, question.documents, list(chains.values()), 1)
            for place, (one,) in zip(list(chains), given, strict=True):
                chain = chains.pop(place)
                own = seed_of(chain.seed, 0)
                self._known[own] = one
                self.tokens[place] += one.tokens or 0
                self.steps[place] += [one.text.strip()] if one.text.strip() else []
                self.cut_off[place] = not one.finished
                if not one.finished and one.text.strip() and len(self.steps[place]) < _MOST_STEPS:
                    chains[place] = GrowingChain(chain.text + one.text, tuple(self.steps[place]), own)

    def extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """See `medprm_scorer.search.Policy`."""
        del question, documents
        return [[self._known[seed_of(chain.seed, place)] for place in range(n)] for chain in chains]


def judge(question: Question, answer: str | None) -> int:
    """1 for the right answer."""
    return int(answer is not None and normalize_answer(answer) == normalize_answer(question.answer))


def choices(drawn: Drawn, prm: MedPRM, question: Question) -> dict[str, dict[int, Outcome]]:
    """The ways that choose among whole chains."""
    ranking = prm.rank(question.text, drawn.steps, question.documents)
    by_index = {chain.index: chain for chain in ranking.chains}
    scored = [
        Scored(i, None if by_index[i].error else by_index[i].reward(), by_index[i].answer, truncated=drawn.cut_off[i])
        for i in range(len(drawn.steps))
    ]
    prefix = prm.encoder.prefix(question.text, question.documents).ids
    encoded = [prm.encoder.chain(steps) for steps in drawn.steps]

    def outcome(n: int, strategy: str, *, rewards: bool = True) -> Outcome:
        chosen = select(scored[:n], strategy)
        spent = EncodedPrompt(prefix, tuple(encoded[:n])).unique_tokens if rewards else 0
        return {"right": judge(question, chosen.answer), "generated": sum(drawn.tokens[:n]), "reward": spent}

    found: dict[str, dict[int, Outcome]] = {name: {} for name in WAYS[:5]}
    votes = [(None if one.answer is None else normalize_answer(one.answer), one.reward) for one in scored]
    for n in BUDGETS:
        needed = next((k for k in range(1, n) if should_stop(votes[:k], Confident())), n)
        found["one sample"][n] = {
            "right": judge(question, scored[0].answer),
            "generated": drawn.tokens[0],
            "reward": 0,
        }
        found["majority vote"][n] = outcome(n, "majority_vote", rewards=False)
        found["best-of-n"][n] = outcome(n, "best_of_n")
        found["weighted vote"][n] = outcome(n, "weighted_vote")
        found["confident"][n] = outcome(needed, "weighted_vote")
    return found


def searches(
    drawn: Drawn, policy: LocalPolicy, prm: MedPRM, question: Question, seed: int
) -> dict[str, dict[int, Outcome]]:
    """The ways that choose while chains grow."""
    found: dict[str, dict[int, Outcome]] = {name: {} for name in WAYS[5:]}
    asked = (prm, question.text, question.documents)

    def keep(way: str, budget: int, ranking: SearchRanking) -> None:
        tree = ranking.tree
        found[way][budget] = {
            "right": judge(question, ranking.answer),
            "generated": tree.generated_tokens,
            "reward": tree.reward_tokens,
        }

    for n in BUDGETS:
        limits = Limits(max_steps=_MOST_STEPS)
        few: dict[str, Any] = {"n": n, "seed": seed, "limits": limits}
        keep("early rejection, best-of-n", n, early_rejection(drawn, *asked, strategy="best_of_n", **few))
        loose = early_rejection(drawn, *asked, strategy="best_of_n", slack=0.01, **few)
        keep("the same, slack 0.01", n, loose)
        keep("early rejection, vote", n, early_rejection(drawn, *asked, **few))
        if 1 < n < BUDGETS[-1]:
            budget = Limits(max_tokens=sum(drawn.tokens[:n]), max_steps=_MOST_STEPS)
            twice = early_rejection(drawn, *asked, n=2 * n, seed=seed, limits=budget)
            keep("early rejection of twice as many", n, twice)
        if n in BEAMS:
            width, expansions = BEAMS[n]
            ranking = beam_search(policy, *asked, width=width, expansions=expansions, seed=seed, limits=limits)
            keep("beam search", n, ranking)
            subtrees, expansions = SUBTREES[n]
            keep("dvts", n, dvts(policy, *asked, subtrees=subtrees, expansions=expansions, seed=seed, limits=limits))
    return found


def savings(drawn: Drawn, prm: MedPRM, question: Question, seed: int) -> dict[str, dict[int, Outcome]]:
    """What early rejection writes of whole chains, by its order, and whether it chooses the same."""
    found: dict[str, dict[int, Outcome]] = {name: {} for name in REJECTIONS}
    limits = Limits(max_steps=_MOST_STEPS)
    for n in REJECTED:
        for name, (strategy, order, together) in REJECTIONS.items():
            known: dict[str, Any] = {"strategy": strategy, "order": order, "together": together}
            one = early_rejection(drawn, prm, question.text, question.documents, n=n, seed=seed, limits=limits, **known)
            whole = prm.rank(
                question.text,
                drawn.steps[:n],
                question.documents,
                strategy=strategy,
                truncated=[place for place in range(n) if drawn.cut_off[place]],
            )
            same = one.answer == whole.answer and (strategy != "best_of_n" or one.best.text == whole.best.text)
            written = one.tree.generated_tokens
            found[name][n] = {"written": written, "whole": sum(drawn.tokens[:n]), "same": int(same)}
    return found


def savings_table(results: Sequence[dict[str, Any]]) -> str:
    """Tokens that are not written, in percent of those of the whole chains, and how often the choice is the same."""
    lines = [f"| | {' | '.join(f'{n} chains' for n in REJECTED)} |\n{'|---' * (len(REJECTED) + 1)}|"]
    for name in REJECTIONS:
        cells = []
        for n in REJECTED:
            same = sum(one[name][str(n)]["same"] for one in results)
            shown = saved(results, n, (name, "written"), (name, "whole"))
            cells.append(f"{shown}, {same} of {len(results)} the same")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def column(results: Sequence[dict[str, Any]], way: str, budget: int, what: str) -> "np.ndarray[Any, Any] | None":
    """A figure of each question; None for a way that has no such budget."""
    if str(budget) not in results[0][way]:
        return None
    return np.array([float(one[way][str(budget)][what]) for one in results])


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Accuracy, difference from the weighted vote, and what was spent."""
    head = f"| | {' | '.join(f'{n}' for n in BUDGETS)} |\n{'|---' * (len(BUDGETS) + 1)}|"
    parts = []
    for title, cell in (
        ("% right, with its 95 % interval", _accuracy),
        (f"Points ahead of the {BASELINE} of the same budget, 95 % interval, p of the paired test", _difference),
        ("Tokens generated for a question, mean", lambda results, way, n: _mean(results, way, n, "generated")),
        ("Tokens of the reward model, mean", lambda results, way, n: _mean(results, way, n, "reward")),
    ):
        rows = [f"| {way} | {' | '.join(cell(results, way, n) for n in BUDGETS)} |" for way in WAYS]
        parts.append(f"{title}, by budget in whole chains:\n\n{head}\n" + "\n".join(rows))
    rows = []
    for way, whole in WHOLE.items():
        cells = [saved(results, n, (way, "generated"), (whole, "generated")) for n in BUDGETS]
        rows.append(f"| {way} | {' | '.join(cells)} |")
    title = "Generated tokens that early rejection saves, % of those of the whole chains, with its 95 % interval"
    parts.append(f"{title}:\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def saved(results: Sequence[dict[str, Any]], budget: int, written: tuple[str, str], whole: tuple[str, str]) -> str:
    """Tokens that were not written, in percent of those of the whole chains, with a bootstrap interval.

    Args:
        results: The figures of each question.
        budget: Number of chains.
        written: Where the written tokens are: the way, and the name of its figure.
        whole: Likewise for the tokens of the whole chains.
    """
    rows = np.array([[one[way][str(budget)][what] for way, what in (written, whole)] for one in results])
    sums = rows[np.random.default_rng(0).integers(len(rows), size=(_RESAMPLES, len(rows)))].sum(1)
    low, high = np.percentile(100 * (1 - sums[:, 0] / sums[:, 1]), [2.5, 97.5])
    return f"{100 * (1 - rows[:, 0].sum() / rows[:, 1].sum()):.1f} ({low:.1f} to {high:.1f})"


def _accuracy(results: Sequence[dict[str, Any]], way: str, budget: int) -> str:
    right = column(results, way, budget, "right")
    if right is None:
        return ""
    low, high = bootstrap_means(100 * right[:, None], _RESAMPLES, 0)
    return f"{100 * right.mean():.1f} ({low[0]:.1f} to {high[0]:.1f})"


def _difference(results: Sequence[dict[str, Any]], way: str, budget: int) -> str:
    right, other = column(results, way, budget, "right"), column(results, BASELINE, budget, "right")
    if right is None or other is None or way == BASELINE:
        return ""
    gap = 100 * (right - other)[:, None]
    low, high = bootstrap_means(gap, _RESAMPLES, 0)
    p = sign_flip_p_values(gap, _FLIPS, 0)[0]
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{gap.mean():+.1f} ({low[0]:+.1f} to {high[0]:+.1f}), {shown}"


def _mean(results: Sequence[dict[str, Any]], way: str, budget: int, what: str) -> str:
    found = column(results, way, budget, what)
    return "" if found is None else f"{found.mean():,.0f}"


def save_curve(results: Sequence[dict[str, Any]], file: Path) -> None:
    """Accuracy against the tokens that were really generated."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for place, way in enumerate(WAYS):
        points = []
        for n in BUDGETS[:1] if way == "one sample" else BUDGETS:
            right, spent = column(results, way, n, "right"), column(results, way, n, "generated")
            if right is not None and spent is not None:
                points.append((spent.mean(), 100 * right.mean()))
        axes.plot(*zip(*points, strict=True), marker="osD^vPX*<>h"[place], label=way, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("tokens generated for a question, mean")
    axes.set_ylabel("% right")
    axes.legend(fontsize=8)
    save_figure(figure, file)


def main() -> None:
    """Run the comparison and keep its results."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--policy", type=Path, default=POLICY, help="folder of the policy model")
    parser.add_argument("--model", type=Path, help="folder of a reward model; the one inside the package if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/search"), help="folder for what is kept between runs")
    parser.add_argument("--results", type=Path, default=Path("runs/search/results"), help="folder for the results")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("rejection",), help="print what early rejection saves, and nothing else")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    policy = LocalPolicy.from_pretrained(arguments.policy, device="cpu", dtype="float32")
    kept = 100_000 if arguments.only else None  # the same chains again and again; no tokens of it are told then
    prm = MedPRM.from_pretrained(arguments.model, device="cpu", dtype="float32", cache=kept)
    from medprm_scorer.local.loading import fingerprint

    made = {"seed": arguments.seed, "policy": fingerprint(policy.model), **prm.settings}
    results: list[dict[str, Any]] = []
    if arguments.only:
        with Journal(arguments.out / "rejection.sqlite3", made) as journal:
            for number in tqdm(range(arguments.questions), desc="questions", disable=None):
                if journal.get(str(number)) is None:
                    _, question = held_out(number)
                    seed = arguments.seed * 1_000_003 + number
                    drawn = Drawn(policy, question, REJECTED[-1], seed)
                    journal.add(str(number), savings(drawn, prm, question, seed))
                results.append(journal.get(str(number)) or {})
        print(savings_table(results))
        return
    with Journal(arguments.out / "search.sqlite3", made) as journal:
        for number in tqdm(range(arguments.questions), desc="questions", disable=None):
            if journal.get(str(number)) is None:
                _, question = held_out(number)
                seed = arguments.seed * 1_000_003 + number
                drawn = Drawn(policy, question, BUDGETS[-1], seed)
                journal.add(
                    str(number),
                    choices(drawn, prm, question) | searches(drawn, policy, prm, question, seed),
                )
            results.append(journal.get(str(number)) or {})
    arguments.results.mkdir(parents=True, exist_ok=True)
    save_curve(results, arguments.results / "search.png")
    (arguments.results / "search.json").write_text(json.dumps({"made": made, "questions": results}) + "\n")
    facts = (
        f"`python -m examples.formulary.search --questions {arguments.questions} --seed {arguments.seed}`, "
        f"{datetime.date.today().isoformat()}, {os.cpu_count()} CPU cores ({platform.machine()}), float32."
    )
    text = tables(results)
    (arguments.results / "search.md").write_text(
        f"# Search over steps\n\n{facts}\n\n![% right by tokens generated](search.png)\n\n{ACCOUNT}\n\n{text}\n"
    )
    print(text)
    print(f"the results are in {arguments.results}")


if __name__ == "__main__":
    main()
