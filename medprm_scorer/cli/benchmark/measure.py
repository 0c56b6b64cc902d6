"""What `medprm bench` measures: this package against the model card's quick start and a padded batch, on one machine.

Everything is timed in one process. Every round runs the methods one after the other, and medians and their ratios are
shown: absolute times drift on a shared machine. The quick start and the padded batch do the same work for every
candidate, so they are timed on a few candidates and the time is multiplied.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from transformers import __version__ as transformers_version

from medprm_scorer.cli.benchmark.baselines import PADDED_ROWS, Watch, card, matrix_rate, padded, useful_flops
from medprm_scorer.cli.benchmark.workload import Requests, make_model, make_scorer
from medprm_scorer.encoding import EncodedPrompt
from medprm_scorer.local.memory import PeakMemory
from medprm_scorer.local.reward_head import RewardHead
from medprm_scorer.results.models import RankRequest

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    Args:
        shape: One of `workload.SHAPES`.
        device: Device that the model runs on, such as `cpu` or `cuda:0`.
        dtype: `float32`, `bfloat16` or `float16`.
        candidates: Numbers of candidates N.
        rounds: How often every method is timed, in alternation; medians are shown.
        sample: Number of candidates that the quick start is timed on.
        document_tokens: Document tokens per question.
        max_batch_tokens: As for `MedPRM.from_pretrained`.
        clock: `wall`, or `cpu` for the process's own time. On a busy machine that is meaningful with one thread only.
        seed: Seed for the weights and texts.
    """

    shape: str = "300m"
    device: str = "cpu"
    dtype: str = "bfloat16"
    candidates: tuple[int, ...] = (1, 4, 16, 64)
    rounds: int = 5
    sample: int = 2
    document_tokens: int = 3000
    max_batch_tokens: int | None = None
    clock: str = "wall"
    seed: int = 0


class Bench:
    """Measures one plan.

    Args:
        plan: What to measure.
        say: Called with a line about what is being done.
    """

    def __init__(self, plan: BenchPlan, say: Callable[[str], None]) -> None:
        self.plan, self.say = plan, say
        self.clock = CLOCKS[plan.clock]
        self.device = torch.device(plan.device)
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.model = make_model(plan.shape, self.device, self.dtype, plan.seed)
        self.prm = make_scorer(self.model, plan.max_batch_tokens)
        self.requests = Requests(self.prm, plan.seed, plan.document_tokens)
        encoder = self.prm.encoder
        self.labels = (encoder.positive_id, encoder.negative_id)
        self.head = RewardHead(self.model, *self.labels)

    def run(self) -> dict[str, Any]:
        """All figures, ready for JSON: `machine plan matrix_tflops one_question`."""
        engine = self.prm.engine
        found: dict[str, Any] = {"machine": self._machine(), "plan": asdict(self.plan)}
        found["machine"]["attention"] = engine.attention  # type: ignore[attr-defined]
        found["machine"]["tile"] = engine.tile  # type: ignore[attr-defined]
        found["machine"]["max_batch_tokens"] = engine.max_batch_tokens  # type: ignore[attr-defined]
        rates: list[float] = []
        found["one_question"] = [self._one_question(count, rates) for count in self.plan.candidates]
        found["matrix_tflops"] = median(rates) / 1e12
        for line in found["one_question"]:
            line["share_of_matrix_rate"] = line["useful_tflop"] / line["seconds"] / found["matrix_tflops"]
        return found

    def _one_question(self, count: int, rates: list[float]) -> dict[str, Any]:
        plan, clock = self.plan, self.clock
        request = self.requests.make(count)
        prompt = self.prompt(request)
        self.say(f"one question, N = {count}")
        with PeakMemory(self.device) as peak, Watch(self.model, clock) as tokens:
            self.rank(request)  # also the warm-up
        times: dict[str, list[float]] = {"card": [], "padded": [], "ours": [], "outside": []}
        sample, rows = prompt.chains[: plan.sample], prompt.chains[:PADDED_ROWS]
        for _ in range(plan.rounds):
            rates.append(matrix_rate(self.model, min(2048, prompt_tokens(prompt)), clock))
            seconds = self.timed(lambda: [card(self.model, self.labels, prompt.prefix, one) for one in sample])
            times["card"].append(seconds * count / len(sample))
            seconds = self.timed(lambda: padded(self.model, self.head, prompt.prefix, rows))
            times["padded"].append(seconds * count / len(rows))
            with Watch(self.model, clock) as inside:
                seconds = self.timed(lambda: self.rank(request))
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
            "useful_tflop": useful_flops(self.model, [prompt]) / 1e12,
            "outside_model": middle["outside"],
            "peak_bytes": peak.bytes,
            "all_seconds": times,
        }

    def prompt(self, request: RankRequest) -> EncodedPrompt:
        """The request's tokens."""
        return self.prm._requests.encode(request).prompt

    def rank(self, request: RankRequest) -> Any:
        """Rank it with this package."""
        return self.prm.rank(request.question, request.candidates, request.documents)

    def timed(self, work: Callable[[], Any]) -> float:
        """The seconds that `work` takes, including its work on the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        begun = self.clock()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock() - begun

    def _machine(self) -> dict[str, Any]:
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else _processor(),
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "transformers": transformers_version,
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "date": time.strftime("%Y-%m-%d %H:%M"),
        }


def prompt_tokens(prompt: EncodedPrompt) -> int:
    """Unique tokens of a prompt: its prefix, and each distinct chain."""
    return len(prompt.prefix) + sum(len(chain.ids) for chain in set(prompt.chains))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return f"{len(names)} x {names[0]}"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
