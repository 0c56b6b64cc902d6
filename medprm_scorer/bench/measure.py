"""What `medprm bench` measures: this package against the model card's quick start and a padded batch, on one machine.

Everything is timed in one process, the ways one after the other in every round, and medians and their ratios are told:
absolute times drift on a shared machine. The quick start and the padded batch do the same for every candidate, so they
are timed on a few and multiplied.
"""

import asyncio
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from transformers import __version__ as transformers_version

from medprm_scorer.bench.baselines import PADDED_ROWS, Continued, Watch, card, matrix_rate, padded, useful_flops
from medprm_scorer.bench.workload import STEPS, Requests, make_model, make_scorer
from medprm_scorer.encoding import EncodedPrompt
from medprm_scorer.local.peak_memory import PeakMemory
from medprm_scorer.local.reference import PlainEngine
from medprm_scorer.local.reward_head import RewardHead
from medprm_scorer.results.models import RankRequest
from medprm_scorer.scorer import MedPRM

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    Args:
        shape: One of `bench_setup.SHAPES`.
        device: Where.
        dtype: In what.
        candidates: Numbers of candidates N.
        rounds: Every way is timed this often, alternating; medians are told.
        sample: Candidates that the quick start is timed on.
        questions: Questions with 4 candidates each that are packed; 0 leaves this out.
        calls: Concurrent `arank` calls with 4 candidates each; 0 leaves this out.
        session: Candidates that grow step by step; 0 leaves this out.
        errors: Candidates whose rewards are held to float32; 0 leaves this out.
        document_tokens: Tokens of documents per question.
        max_batch_tokens: As for `MedPRM.from_pretrained`.
        clock: `wall`, or `cpu` for the process's own time, which on a busy machine means something with one thread.
        seed: Of weights and texts.
    """

    shape: str = "300m"
    device: str = "cpu"
    dtype: str = "bfloat16"
    candidates: tuple[int, ...] = (1, 4, 16, 64)
    rounds: int = 5
    sample: int = 2
    questions: int = 64
    calls: int = 16
    session: int = 16
    errors: int = 4
    document_tokens: int = 3000
    max_batch_tokens: int | None = None
    clock: str = "wall"
    seed: int = 0


class Bench:
    """Measures one plan.

    Args:
        plan: What to measure.
        say: Told what is being done.
    """

    def __init__(self, plan: BenchPlan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._clock = CLOCKS[plan.clock]
        self._device = torch.device(plan.device)
        self._dtype: torch.dtype = getattr(torch, plan.dtype)
        self._model = make_model(plan.shape, self._device, self._dtype, plan.seed)
        self._prm = make_scorer(self._model, plan.max_batch_tokens)
        self._requests = Requests(self._prm, plan.seed, plan.document_tokens)
        encoder = self._prm.encoder
        self._labels = (encoder.positive_id, encoder.negative_id)
        self._head = RewardHead(self._model, *self._labels)

    def run(self) -> dict[str, Any]:
        """All figures, ready for JSON: `machine plan matrix_tflops one_question packed session errors`."""
        engine = self._prm.engine
        found: dict[str, Any] = {"machine": self._machine(), "plan": asdict(self._plan)}
        found["machine"]["attention"] = engine.attention  # type: ignore[attr-defined]
        found["machine"]["max_batch_tokens"] = engine.max_batch_tokens  # type: ignore[attr-defined]
        rates: list[float] = []
        found["one_question"] = [self._one_question(count, rates) for count in self._plan.candidates]
        found["matrix_tflops"] = median(rates) / 1e12
        for line in found["one_question"]:
            line["share_of_matrix_rate"] = line["useful_tflop"] / line["seconds"] / found["matrix_tflops"]
        found["packed"] = self._packed() if self._plan.questions or self._plan.calls else None
        found["session"] = self._session() if self._plan.session else None
        found["errors"] = self._errors() if self._plan.errors else None
        return found

    def _one_question(self, count: int, rates: list[float]) -> dict[str, Any]:
        plan, clock = self._plan, self._clock
        request = self._requests.make(count)
        prompt = self._prompt(request)
        self._say(f"one question, N = {count}")
        with PeakMemory(self._device) as peak, Watch(self._model, clock) as tokens:
            self._rank(request)  # also the warm-up
        times: dict[str, list[float]] = {"card": [], "padded": [], "ours": [], "outside": []}
        sample, rows = prompt.chains[: plan.sample], prompt.chains[:PADDED_ROWS]
        for _ in range(plan.rounds):
            rates.append(matrix_rate(self._model, min(2048, prompt_tokens(prompt)), clock))
            seconds = self._timed(lambda: [card(self._model, self._labels, prompt.prefix, one) for one in sample])
            times["card"].append(seconds * count / len(sample))
            seconds = self._timed(lambda: padded(self._model, self._head, prompt.prefix, rows))
            times["padded"].append(seconds * count / len(rows))
            with Watch(self._model, clock) as inside:
                seconds = self._timed(lambda: self._rank(request))
            times["ours"].append(seconds)
            times["outside"].append(1 - inside.seconds / seconds)
        middle = {name: median(values) for name, values in times.items()}
        return {
            "candidates": count,
            "seconds": middle["ours"],
            "seconds_card": middle["card"],
            "seconds_padded": middle["padded"],
            "times_card": median(a / b for a, b in zip(times["card"], times["ours"], strict=True)),
            "times_padded": median(a / b for a, b in zip(times["padded"], times["ours"], strict=True)),
            "tokens_run": tokens.tokens,
            "tokens_unique": prompt_tokens(prompt),
            "tokens_card": count * len(prompt.prefix) + sum(len(chain.ids) for chain in prompt.chains),
            "useful_tflop": useful_flops(self._model, [prompt]) / 1e12,
            "outside_model": middle["outside"],
            "peak_bytes": peak.bytes,
            "all_seconds": times,
        }

    def _packed(self) -> dict[str, Any]:
        """Throughput in unique tokens per second: many small questions, one large one, and concurrent calls."""
        plan = self._plan
        many = [self._requests.make(4) for _ in range(plan.questions)]
        calls = [self._requests.make(4) for _ in range(plan.calls)]
        large = self._requests.make(64)
        rounds = plan.rounds
        rates: dict[str, list[float]] = {"large": [], "many": [], "rank_many": [], "arank": []}
        for turn in range(rounds):
            self._say(f"packed questions and concurrent calls, round {turn + 1} of {rounds}")
            rates["large"].append(self._rate([large], lambda: self._rank(large)))
            if many:
                rates["many"].append(self._rate(many, lambda: list(self._prm.rank_many(many))))
            if calls:
                rates["rank_many"].append(self._rate(calls, lambda: list(self._prm.rank_many(calls))))
                rates["arank"].append(self._rate(calls, lambda: asyncio.run(_gather(self._prm, calls))))
        middle = {name: median(values) for name, values in rates.items() if values}
        found: dict[str, Any] = {f"tokens_per_second_{name}": value for name, value in middle.items()}
        for name, one, other in (("many_over_large", "many", "large"), ("arank_over_rank_many", "arank", "rank_many")):
            if rates[one] and rates[other]:
                found[name] = median(a / b for a, b in zip(rates[one], rates[other], strict=True))
        return found

    def _session(self) -> dict[str, Any]:
        """Each step of growing candidates against its new tokens alone, behind one cached path of the same length."""
        plan = self._plan
        request = self._requests.make(plan.session)
        chains = [list(chain) for chain in request.candidates]
        scored: list[list[float]] = [[] for _ in range(STEPS)]
        alone: list[list[float]] = [[] for _ in range(STEPS)]
        rounds = plan.rounds
        for turn in range(rounds):
            self._say(f"session, round {turn + 1} of {rounds}")
            with self._prm.session(request.question, request.documents) as session:
                for step in range(STEPS):
                    grown = [chain[: step + 1] for chain in chains]
                    scored[step].append(self._timed(lambda g=grown: session.score(g)))  # type: ignore[misc]
                    if step:
                        before = self._prompt(request.model_copy(update={"candidates": [c[:step] for c in chains]}))
                        after = self._prompt(request.model_copy(update={"candidates": grown}))
                        old, new = before.chains, after.chains
                        ids = [id_ for a, b in zip(old, new, strict=True) for id_ in b.ids[len(a.ids) :]]
                        bare = Continued(self._model, [*before.prefix, *old[0].ids])
                        alone[step].append(self._timed(lambda b=bare, i=ids: b.run(i)))  # type: ignore[misc]
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
        self._say("errors against float32")
        prompt = self._prompt(self._requests.make(self._plan.errors))
        ours = self._prm.engine.score([prompt])[0]
        cards = [card(self._model, self._labels, prompt.prefix, chain) for chain in prompt.chains]
        precise = make_model(self._plan.shape, self._device, torch.float32, self._plan.seed)
        precise.load_state_dict(self._model.state_dict())
        (exact,) = PlainEngine(precise, *self._labels).score([prompt])
        (same,) = make_scorer(precise, self._plan.max_batch_tokens).engine.score([prompt])
        return {
            "float32_against_plain": _largest(same, exact),
            "ours": _root_mean_square(ours, exact),
            "card": _root_mean_square(cards, exact),
            "ratio": _root_mean_square(ours, exact) / max(_root_mean_square(cards, exact), 1e-12),
            "ours_largest": _largest(ours, exact),
            "card_largest": _largest(cards, exact),
            "rewards_spread": [min(map(min, exact)), max(map(max, exact))],
        }

    def _prompt(self, request: RankRequest) -> EncodedPrompt:
        return self._prm._requests.encode(request).prompt

    def _rank(self, request: RankRequest) -> Any:
        return self._prm.rank(request.question, request.candidates, request.documents)

    def _rate(self, requests: Sequence[RankRequest], work: Callable[[], Any]) -> float:
        return sum(prompt_tokens(self._prompt(request)) for request in requests) / self._timed(work)

    def _timed(self, work: Callable[[], Any]) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        begun = self._clock()
        work()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock() - begun

    def _machine(self) -> dict[str, Any]:
        cuda = self._device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self._device) if cuda else _processor(),
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "transformers": transformers_version,
            "parameters": sum(weight.numel() for weight in self._model.parameters()),
            "date": time.strftime("%Y-%m-%d %H:%M"),
        }


def prompt_tokens(prompt: EncodedPrompt) -> int:
    """Unique tokens of a prompt: its prefix, and each different chain."""
    return len(prompt.prefix) + sum(len(chain.ids) for chain in set(prompt.chains))


async def _gather(prm: MedPRM, requests: Sequence[RankRequest]) -> list[Any]:
    calls = (prm.arank(request.question, request.candidates, request.documents) for request in requests)
    return list(await asyncio.gather(*calls))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return f"{len(names)} x {names[0]}"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def _pairs(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> list[float]:
    return [a - b for one, two in zip(some, others, strict=True) for a, b in zip(one, two, strict=True)]


def _largest(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    return max(map(abs, _pairs(some, others)))


def _root_mean_square(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    gaps = _pairs(some, others)
    return math.sqrt(sum(gap * gap for gap in gaps) / len(gaps))
