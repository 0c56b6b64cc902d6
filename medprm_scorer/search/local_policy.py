"""A transformers causal language model in this process as the policy of a search.

All chains of a question grow in parallel and share a KV cache. Each chain sees the prompt and its own tokens, so
continuations share the keys and values of their common prefix, and a chain that is continued later costs only its new
tokens. `PlainDecoder` is the simple counterpart: it recomputes every chain for every token. A model that does not give
the same probabilities both ways (tried once, on a small prompt) runs without the cache.
"""

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medprm_scorer.engine import reset_after_fork
from medprm_scorer.errors import InputError, ModelError, PolicyError
from medprm_scorer.local.loading import load
from medprm_scorer.search.decoding import CachedDecoder, Decoder, PlainDecoder, agree
from medprm_scorer.search.policy import Continuation, GrowingChain, seed_of
from medprm_scorer.text.chat_template import apply_chat_template
from medprm_scorer.text.policy import policy_messages

Messages = Callable[[str, Sequence[str]], Sequence[Mapping[str, str]]]
"""Turns a question and its documents into the chat messages that ask for one chain."""

_QUESTIONS = 4  # caches kept at once, for searches in several threads


class LocalPolicy:
    r"""Continues chains with a model in this process. Safe to use from many threads: calls take turns.

    Args:
        model: A causal language model, on its device, in its dtype. It is put in evaluation mode.
        tokenizer: Its tokenizer, with a chat template.
        temperature: At least 0. 0 takes the most likely token; 1 samples from the model's own distribution.
        top_p: Sample only from the most likely tokens that together have this probability, in (0, 1].
        step_end: The string that ends a non-empty step, such as `\n`.
        max_step_tokens: A step that has not ended after so many tokens is cut off.
        messages: Makes the chat messages that the model reads.
        cache: False recomputes everything for every token.

    Raises:
        ModelError: The tokenizer has no chat template.
        InputError: A number is out of its range.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        step_end: str = "\n",
        max_step_tokens: int = 256,
        messages: Messages = policy_messages,
        cache: bool = True,
    ) -> None:
        if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
            raise InputError("the temperature must be a number of at least 0")
        if not isinstance(top_p, int | float) or not 0 < top_p <= 1:
            raise InputError("top_p must be a number above 0 and at most 1")
        if not isinstance(step_end, str) or not step_end:
            raise InputError("step_end must be a non-empty text")
        if isinstance(max_step_tokens, bool) or not isinstance(max_step_tokens, int) or max_step_tokens < 1:
            raise InputError("max_step_tokens must be a whole number of at least 1")
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError("the policy's tokenizer has no chat template, so the model cannot be asked")
        self.model, self._tokenizer = model.eval(), tokenizer
        self._temperature, self._top_p = float(temperature), float(top_p)
        self._step_end, self._max_step_tokens, self._messages = step_end, max_step_tokens, messages
        self._ends = _end_ids(model, tokenizer)
        self._longest = int(getattr(model.config, "max_position_embeddings", 0) or 2**31)
        self.reset()
        reset_after_fork(self)
        self._open: OrderedDict[tuple[str, tuple[str, ...]], _Question] = OrderedDict()
        self.cached = cache and agree(model)
        """Whether the KV cache is in use."""

    def reset(self) -> None:
        """An open lock: what a process has after a fork, which copies none of its other threads."""
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> "LocalPolicy":
        """Load a policy from a folder or hub id; only safetensors weights, and no code from there.

        Args:
            model: A folder, or an id on the hub.
            device: As in `MedPRM.from_pretrained`.
            dtype: As in `MedPRM.from_pretrained`.
            revision: Branch, tag or commit on the hub.
            **options: See the class.

        Raises:
            ModelError: The model or its tokenizer cannot be loaded.
            InputError: As in the class.
        """
        return cls(*load(model, device, dtype, revision), **options)

    def __repr__(self) -> str:
        return f"LocalPolicy({self.model.device.type}, {'cached' if self.cached else 'plain'})"

    def extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """Continue each chain by one step, in `n` ways; see `Policy.extend`.

        The same seed gives the same samples, whichever other chains are continued in the call, up to the model's
        rounding.

        Raises:
            PolicyError: The question is too long for the model, or a logit is NaN.
        """
        key = (question, tuple(documents))
        with self._lock, torch.inference_mode():
            asked = self._open.pop(key, None) or self._begin(question, documents)
            found = self._extend(asked, chains, n)
            self._open[key] = asked  # only now: the state of a failed call is not used again
            while len(self._open) > _QUESTIONS:
                self._open.popitem(last=False)
        return found

    def _begin(self, question: str, documents: Sequence[str]) -> "_Question":
        messages = [dict(message) for message in self._messages(question, documents)]
        found = apply_chat_template(self._tokenizer, messages, add_generation_prompt=True, return_dict=True)
        ids = found["input_ids"]
        prompt = tuple(int(token) for token in ids)
        if len(prompt) >= self._longest:
            raise PolicyError(f"the policy's prompt is {len(prompt)} tokens, and it reads at most {self._longest}")
        decoder: Decoder = (CachedDecoder if self.cached else PlainDecoder)(self.model, prompt)
        return _Question(decoder, len(prompt))

    def _extend(self, asked: "_Question", chains: Sequence[GrowingChain], n: int) -> list[list[Continuation]]:
        before = [asked.ids.get(chain.text) or self._encode(chain.text) for chain in chains]
        rows = [_Row(before[place], seed_of(chain.seed, way)) for place, chain in enumerate(chains) for way in range(n)]
        room = self._longest - asked.prompt_tokens
        logits = asked.decoder.start(before, n)
        active = list(range(len(rows)))
        while active:
            tokens = self._draw(logits, [rows[place] for place in active])
            going: list[int] = []
            for at, (place, token) in enumerate(zip(active, tokens, strict=True)):
                row = rows[place]
                row.new.append(token)
                if token in self._ends:
                    row.finished = True
                elif self._is_step(row):
                    asked.decoder.keep(at, row.ids)
                elif len(row.new) >= self._max_step_tokens or len(row.ids) >= room:
                    row.cut_off = True
                else:
                    going.append(at)
            if going:
                logits = asked.decoder.advance(going, [rows[active[at]].new[-1] for at in going])
            active = [active[at] for at in going]
        found = [self._continuation(asked, row, chains[place // n]) for place, row in enumerate(rows)]
        return [found[start : start + n] for start in range(0, len(found), n)]

    def _draw(self, logits: Tensor, rows: Sequence["_Row"]) -> list[int]:
        """Sample one token for each row, with the row's own random numbers."""
        scores = logits.double()
        if not torch.isfinite(scores.max(-1).values).all():
            raise PolicyError("the policy's logits are not numbers: its weights are damaged, or its dtype overflows")
        if self._temperature == 0.0:
            return [int(token) for token in scores.argmax(-1)]
        weights = (scores / self._temperature).softmax(-1)
        if self._top_p < 1.0:
            ordered, places = weights.sort(-1, descending=True)
            ordered[ordered.cumsum(-1) - ordered >= self._top_p] = 0.0
            weights = torch.zeros_like(weights).scatter(-1, places, ordered)
        summed = weights.cumsum(-1)
        points = torch.tensor([row.random.random() for row in rows], dtype=torch.float64, device=summed.device)
        found = torch.searchsorted(summed, (points[:, None] * summed[:, -1:]), right=True)[:, 0]
        return [int(token) for token in found.clamp(max=summed.shape[-1] - 1)]

    def _is_step(self, row: "_Row") -> bool:
        return self._step_end in self._decode(row.new).lstrip()

    def _continuation(self, asked: "_Question", row: "_Row", chain: GrowingChain) -> Continuation:
        whole = self._decode(row.ids)
        new = whole[len(chain.text) :] if whole.startswith(chain.text) else self._decode(row.new)
        if not row.finished:
            asked.ids[chain.text + new] = tuple(row.ids)
        return Continuation(new, row.finished, row.cut_off, len(row.new))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class _Question:
    """The state kept for one question."""

    def __init__(self, decoder: Decoder, prompt_tokens: int) -> None:
        self.decoder, self.prompt_tokens = decoder, prompt_tokens
        self.ids: dict[str, tuple[int, ...]] = {}  # of the chains that this policy wrote


class _Row:
    """One continuation while it is being written."""

    def __init__(self, before: tuple[int, ...], seed: int) -> None:
        self.before, self.random = before, random.Random(seed)
        self.new: list[int] = []
        self.finished = self.cut_off = False

    @property
    def ids(self) -> tuple[int, ...]:
        return (*self.before, *self.new)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a chain."""
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found.update(ids if isinstance(ids, list | tuple) else [] if ids is None else [ids])
    return frozenset(found)
