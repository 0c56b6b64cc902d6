"""The four endpoints by which a vLLM server gives rewards: what to send, and how to read the answer.

Nothing here uses the network. Three endpoints give one number per prompt, so a candidate is sent once for each of its
steps, cut right after the step tag, and the server's prefix cache ensures that nothing is computed twice. STEP pooling
gives all steps of a candidate at once, but reads the documents again for every candidate, since vLLM turns its prefix
cache off for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medprm_scorer.encoding import EncodedChain
from medprm_scorer.errors import InputError, ServerError

Answer = Mapping[str, Any]
"""A server's answer, read from JSON."""

_NOISE = 0.01  # how far the sum of the two labels' probabilities may be from 1


@dataclass(frozen=True)
class Item:
    """The tokens after the prefix, and the number of rewards that they give."""

    ids: tuple[int, ...]
    rewards: int

    def __repr__(self) -> str:  # token ids are text in another form
        return f"Item({len(self.ids)} tokens, {self.rewards} rewards)"


@dataclass(frozen=True)
class Labels:
    """Token ids of " +" and " -"."""

    positive: int
    negative: int


@dataclass(frozen=True)
class Endpoint:
    """One way to ask a vLLM server for rewards.

    Args:
        name: Its name for users: `generative_scoring`, `completions`, `classify` or `step_pooling`.
        path: Its path on the server.
        reuses_prefix: Whether the server computes the documents once for all candidates.
        whole_chains: Whether one item is a whole chain; otherwise it is a chain's beginning, up to one of its tags.
        write: Turns labels, prefix and items into the request's body, without the model's name.
        read: Turns the labels and one entry of the answer into its rewards.
        entries: The answer's field that holds the entries.
    """

    name: str
    path: str
    reuses_prefix: bool
    whole_chains: bool
    write: Callable[[Labels, Sequence[int], Sequence[Item]], dict[str, Any]]
    read: Callable[[Labels, Mapping[str, Any]], list[float]]
    entries: str = "data"

    def items(self, chain: EncodedChain) -> list[Item]:
        """The items whose rewards, one after the other, are those of a chain's steps."""
        if self.whole_chains:
            return [Item(chain.ids, len(chain.tags))]
        return [Item(chain.ids[: tag + 1], 1) for tag in chain.tags]

    def rewards(self, answer: Answer, labels: Labels, items: Sequence[Item]) -> list[list[float]]:
        """The rewards of every item, matched by the `index` of the answer's entries.

        Raises:
            ServerError: An entry is missing, duplicated or unreadable, or has a wrong number of rewards, NaN, or
                numbers that are not probabilities.
        """
        entries = answer.get(self.entries)
        if not isinstance(entries, list) or len(entries) != len(items):
            count = len(entries) if isinstance(entries, list) else "no"
            raise ServerError(f"the server's {self.path} gave {count} results for {len(items)} items")
        found: dict[int, list[float]] = {}
        for entry in entries:
            index = entry.get("index") if isinstance(entry, dict) else None
            if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items) or index in found:
                raise ServerError(f"the server's {self.path} gave a result with a missing, repeated or unknown index")
            found[index] = self._read_entry(labels, entry)
            if len(found[index]) != items[index].rewards:
                raise ServerError(
                    f"the server's {self.path} gave {len(found[index])} rewards for {items[index].rewards} steps"
                )
        return [found[index] for index in range(len(items))]

    def _read_entry(self, labels: Labels, entry: Mapping[str, Any]) -> list[float]:
        try:
            rewards = [float(reward) for reward in self.read(labels, entry)]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
            raise ServerError(
                f"the server's {self.path} gave a result that does not have the form of a two-label reward model"
            ) from None
        for reward in rewards:
            if not 0.0 <= reward <= 1.0:
                bad = "NaN" if math.isnan(reward) else "a number outside [0, 1]"
                raise ServerError(f"the server's {self.path} gave {bad} instead of a reward")
        return rewards


def endpoint_named(name: str, *others: str) -> Endpoint:
    """The endpoint of that name.

    Args:
        name: The name.
        others: Further valid names, for the message.

    Raises:
        InputError: There is none; the message lists the valid names.
    """
    for endpoint in ENDPOINTS:
        if endpoint.name == name:
            return endpoint
    names = ", ".join([*others, *(endpoint.name for endpoint in ENDPOINTS)])
    raise InputError(f"unknown endpoint {name!r}: choose one of {names}")


def _whole(prefix: Sequence[int], items: Sequence[Item]) -> list[list[int]]:
    return [[*prefix, *item.ids] for item in items]


def _write_scoring(labels: Labels, prefix: Sequence[int], items: Sequence[Item]) -> dict[str, Any]:
    return {
        "query": list(prefix),
        "items": [list(item.ids) for item in items],
        "label_token_ids": [labels.positive, labels.negative],
        "apply_softmax": True,
        "add_special_tokens": False,
    }


def _read_scoring(labels: Labels, entry: Mapping[str, Any]) -> list[float]:
    del labels  # the score is that of the first requested label
    return [_number(entry["score"])]


def _write_completions(labels: Labels, prefix: Sequence[int], items: Sequence[Item]) -> dict[str, Any]:
    return {
        "prompt": _whole(prefix, items),
        "max_tokens": 1,
        "allowed_token_ids": [labels.positive, labels.negative],
        "logprobs": 2,
        "return_tokens_as_token_ids": True,
        "add_special_tokens": False,
        # neutral settings: otherwise a server takes those of the model's generation_config.json, which change the
        # numbers
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def _read_completions(labels: Labels, entry: Mapping[str, Any]) -> list[float]:
    (top,) = entry["logprobs"]["top_logprobs"]
    positive, negative = (top.get(f"token_id:{id_}") for id_ in (labels.positive, labels.negative))
    if positive is None or negative is None:
        raise ServerError(_RAW_LOGPROBS)
    plus, minus = math.exp(_number(positive)), math.exp(_number(negative))
    if abs(plus + minus - 1.0) > _NOISE:  # NaN passes here, and gets its own message later
        raise ServerError(_RAW_LOGPROBS)
    return [plus / (plus + minus)]


_RAW_LOGPROBS = (
    "the server's /v1/completions does not give the probabilities of only the two labels: "
    "start it with --logprobs-mode processed_logprobs"
)


def _write_classify(labels: Labels, prefix: Sequence[int], items: Sequence[Item]) -> dict[str, Any]:
    del labels  # the server's head is made from them at its start
    return {"input": _whole(prefix, items), "add_special_tokens": False}


def _read_classify(labels: Labels, entry: Mapping[str, Any]) -> list[float]:
    del labels
    (positive,) = entry["probs"]  # with more, it is another head, and nothing says which number is which
    return [_number(positive)]


def _write_pooling(labels: Labels, prefix: Sequence[int], items: Sequence[Item]) -> dict[str, Any]:
    return {**_write_classify(labels, prefix, items), "task": "token_classify"}


def _read_pooling(labels: Labels, entry: Mapping[str, Any]) -> list[float]:
    del labels
    rewards = []
    for (positive,) in entry["data"]:
        rewards.append(_number(positive))
    return rewards


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


ENDPOINTS = (
    Endpoint("generative_scoring", "/generative_scoring", True, False, _write_scoring, _read_scoring),
    Endpoint("completions", "/v1/completions", True, False, _write_completions, _read_completions, "choices"),
    Endpoint("classify", "/classify", True, False, _write_classify, _read_classify),
    Endpoint("step_pooling", "/pooling", False, True, _write_pooling, _read_pooling),
)
"""Best first: those that reuse the prefix, beginning with the one that sends it only once."""
