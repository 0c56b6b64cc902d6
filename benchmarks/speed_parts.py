"""What `python -m benchmarks.speed` measures beyond `medprm bench`: packing, concurrent calls, sessions and errors."""

import asyncio
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from transformers import DynamicCache

from medprm_scorer import MedPRM, RankRequest
from medprm_scorer.cli.benchmark.baselines import card, useful_flops
from medprm_scorer.cli.benchmark.measure import Bench, BenchPlan, prompt_tokens
from medprm_scorer.cli.benchmark.workload import SHAPES, STEPS, make_model, make_scorer
from medprm_scorer.local.reference import PlainEngine


@dataclass(frozen=True)
class SpeedPlan(BenchPlan):
    """What to measure, in addition to one question.

    Args:
        questions: Questions with 4 candidates each that are packed; 0 leaves this out.
        calls: Concurrent `arank` calls with 4 candidates each; 0 leaves this out.
        session: Candidates that grow step by step; 0 leaves this out.
        errors: Candidates whose rewards are compared with float32; 0 leaves this out.
    """

    questions: int = 64
    calls: int = 16
    session: int = 16
    errors: int = 4


class SpeedBench(Bench):
    """Measures one `SpeedPlan`."""

    plan: SpeedPlan

    def run(self) -> dict[str, Any]:
        """As `Bench.run`, with `packed session errors whole_depth`; one that is left out is None."""
        found = super().run()
        found["whole_depth"] = self._whole_depth(found["one_question"]) if self.plan.shape == "8b-2" else None
        found["packed"] = self._packed() if self.plan.questions or self.plan.calls else None
        found["session"] = self._session() if self.plan.session else None
        found["errors"] = self._errors() if self.plan.errors else None
        return found

    def _whole_depth(self, lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Seconds that the 8B shape would take, if its layers take as long for each useful FLOP as these two."""
        config = copy.copy(self.model.config)
        config.num_hidden_layers = SHAPES["8b"]["num_hidden_layers"]
        whole = SimpleNamespace(config=config, get_decoder=self.model.get_decoder)
        found = []
        for line in lines:
            prompt = self.prompt(self.requests.make(line["candidates"]))
            deeper = useful_flops(whole, [prompt]) / useful_flops(self.model, [prompt])
            found.append({"candidates": line["candidates"], "seconds": line["seconds"] * deeper})
        return found

    def _packed(self) -> dict[str, Any]:
        """Throughput in unique tokens per second: many small questions, one large one, and concurrent calls."""
        plan = self.plan
        many = [self.requests.make(4) for _ in range(plan.questions)]
        calls = [self.requests.make(4) for _ in range(plan.calls)]
        large = self.requests.make(64)
        rounds = plan.rounds
        rates: dict[str, list[float]] = {"large": [], "many": [], "rank_many": [], "arank": []}
        for turn in range(rounds):
            self.say(f"packed questions and concurrent calls, round {turn + 1} of {rounds}")
            rates["large"].append(self._rate([large], lambda: self.rank(large)))
            if many:
                rates["many"].append(self._rate(many, lambda: list(self.prm.rank_many(many))))
            if calls:
                rates["rank_many"].append(self._rate(calls, lambda: list(self.prm.rank_many(calls))))
                rates["arank"].append(self._rate(calls, lambda: asyncio.run(_gather(self.prm, calls))))
        middle = {name: median(values) for name, values in rates.items() if values}
        found: dict[str, Any] = {f"tokens_per_second_{name}": value for name, value in middle.items()}
        for name, one, other in (("many_over_large", "many", "large"), ("arank_over_rank_many", "arank", "rank_many")):
            if rates[one] and rates[other]:
                found[name] = median(a / b for a, b in zip(rates[one], rates[other], strict=True))
        return found

    def _session(self) -> dict[str, Any]:
        """Each step of growing candidates compared with only its new tokens after a cached path of the same length."""
        plan = self.plan
        request = self.requests.make(plan.session)
        chains = [list(chain) for chain in request.candidates]
        scored: list[list[float]] = [[] for _ in range(STEPS)]
        alone: list[list[float]] = [[] for _ in range(STEPS)]
        rounds = plan.rounds
        for turn in range(rounds):
            self.say(f"session, round {turn + 1} of {rounds}")
            with self.prm.session(request.question, request.documents) as session:
                for step in range(STEPS):
                    grown = [chain[: step + 1] for chain in chains]
                    scored[step].append(self.timed(lambda g=grown: session.score(g)))  # type: ignore[misc]
                    if step:
                        before = self.prompt(request.model_copy(update={"candidates": [c[:step] for c in chains]}))
                        after = self.prompt(request.model_copy(update={"candidates": grown}))
                        old, new = before.chains, after.chains
                        ids = [id_ for a, b in zip(old, new, strict=True) for id_ in b.ids[len(a.ids) :]]
                        bare = Continued(self.model, [*before.prefix, *old[0].ids])
                        alone[step].append(self.timed(lambda b=bare, i=ids: b.run(i)))  # type: ignore[misc]
        ratios = [median(a / b for a, b in zip(scored[s], alone[s], strict=True)) for s in range(1, STEPS)]
        return {
            "candidates": plan.session,
            "seconds_by_step": [median(times) for times in scored],
            "seconds_new_tokens_alone": [None, *(median(times) for times in alone[1:])],
            "ratio_by_step": [None, *ratios],
            "ratio": max(ratios),
        }

    def _errors(self) -> dict[str, Any]:
        """Rewards against float32, for this package and for the quick start."""
        self.say("errors against float32")
        prompt = self.prompt(self.requests.make(self.plan.errors))
        ours = self.prm.engine.score([prompt])[0]
        cards = [card(self.model, self.labels, prompt.prefix, chain) for chain in prompt.chains]
        precise = make_model(self.plan.shape, self.device, torch.float32, self.plan.seed)
        precise.load_state_dict(self.model.state_dict())
        (exact,) = PlainEngine(precise, *self.labels).score([prompt])
        (same,) = make_scorer(precise, self.plan.max_batch_tokens).engine.score([prompt])
        return {
            "float32_against_plain": _largest(same, exact),
            "ours": _root_mean_square(ours, exact),
            "card": _root_mean_square(cards, exact),
            "ratio": _root_mean_square(ours, exact) / max(_root_mean_square(cards, exact), 1e-12),
            "ours_largest": _largest(ours, exact),
            "card_largest": _largest(cards, exact),
            "rewards_spread": [min(map(min, exact)), max(map(max, exact))],
        }

    def _rate(self, requests: Sequence[RankRequest], work: Callable[[], Any]) -> float:
        return sum(prompt_tokens(self.prompt(request)) for request in requests) / self.timed(work)


class Continued:
    """New tokens after a cached text, as one row, with transformers' own cache: the least cost of a session's step.

    Args:
        model: The model.
        before: Ids of the cached text.
    """

    def __init__(self, model: Any, before: Sequence[int]) -> None:
        self._decoder = model.get_decoder()
        self._device = model.device
        self._cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            self._decoder(
                input_ids=torch.tensor([before], device=self._device), past_key_values=self._cache, use_cache=True
            )

    def run(self, ids: Sequence[int]) -> None:
        """Run new tokens after everything that was run before."""
        with torch.inference_mode():
            self._decoder(
                input_ids=torch.tensor([ids], device=self._device), past_key_values=self._cache, use_cache=True
            )


async def _gather(prm: MedPRM, requests: Sequence[RankRequest]) -> list[Any]:
    calls = (prm.arank(request.question, request.candidates, request.documents) for request in requests)
    return list(await asyncio.gather(*calls))


def _pairs(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> list[float]:
    return [a - b for one, two in zip(some, others, strict=True) for a, b in zip(one, two, strict=True)]


def _largest(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    return max(map(abs, _pairs(some, others)))


def _root_mean_square(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    gaps = _pairs(some, others)
    return math.sqrt(sum(gap * gap for gap in gaps) / len(gaps))
