"""The engine that gets rewards from a vLLM server; see `endpoints` for the endpoints that can give them.

When it starts, it compares the server's tokenizer with its own, and finds the best endpoint that gives rewards for one
known prompt. After that, every answer is still checked: it is from the right model, has every result exactly once, and
every number is a probability. If the server did not answer for a while, it may have been restarted with other weights:
the known prompt must then get the same rewards as before, or no answer is taken.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.engine import Rewards
from medprm_scorer.errors import InputError, ModelError, ServerError
from medprm_scorer.vllm.client import Client, RefusedError, UnavailableError
from medprm_scorer.vllm.endpoints import ENDPOINTS, Answer, Endpoint, Item, Labels, endpoint_named
from medprm_scorer.vllm.event_loop import BackgroundLoop
from medprm_scorer.vllm.server import ServerInfo

_MOST_ITEMS = 512  # in one request
_MOST_IDS = 1_000_000  # in one request: about 7 MB
_SAME = 1e-6  # rewards of different steps that are closer than this do not depend on the steps
_SILENCE = 10.0  # seconds without an answer in which a server can have been restarted
_MOVED = 0.05  # of the known prompt's rewards: in bfloat16 they vary by up to 0.015 with what else is computed


class VLLMEngine:
    """Scores prompts on a vLLM server; see `Engine` for the protocol.

    Safe to call from many threads and event loops. Make one with `connect`.

    Args:
        client: Connects to the server.
        loop: Runs the client.
        model: The served model's name, which every answer must name.
        root: The path or id from which the server loaded it, for the fingerprint.
        max_tokens: Longest prefix plus chain that the server reads, in tokens.
        endpoint: The endpoint that is used.
        labels: Ids of " +" and " -".
        cache_salt: Keeps this engine's cached prefixes apart from those of other users of the server, or None.
    """

    def __init__(
        self,
        client: Client,
        loop: BackgroundLoop,
        *,
        model: str,
        root: str,
        max_tokens: int,
        endpoint: Endpoint,
        labels: Labels,
        cache_salt: str | None = None,
    ) -> None:
        self._client, self._loop = client, loop
        self._model, self._labels, self._salt = model, labels, cache_salt
        self.endpoint, self.max_tokens = endpoint, max_tokens
        self._known: tuple[EncodedPrompt, list[list[float]]] | None = None
        self._answered = -math.inf
        self._probing: asyncio.Task[None] | None = None
        self.name = f"vllm ({endpoint.path} of {client.url}, {model})"
        self.fingerprint = "vllm-" + hashlib.sha256(f"{model}\n{root}".encode()).hexdigest()[:16]

    @classmethod
    def connect(
        cls,
        server: ServerInfo,
        labels: Labels,
        tag_id: int,
        probe: EncodedPrompt,
        *,
        endpoint: str = "auto",
        cache_salt: str | None = None,
    ) -> "VLLMEngine":
        """Find the endpoint by which a server gives rewards, and try it on one prompt.

        Args:
            server: The server and its model.
            labels: Ids of the labels in the tokenizer of the prompts.
            tag_id: Id of the step tag in that tokenizer.
            probe: A prompt with several different steps.
            endpoint: `auto` for the best that works, or the name of one.
            cache_salt: As in `VLLMEngine`.

        Raises:
            ModelError: The server's tokenizer has different ids, or the probe's rewards do not depend on its steps.
            ServerError: No endpoint gives rewards (the message says why for each), or the server is unreachable.
            InputError: The endpoint is unknown.
        """
        choices = ENDPOINTS if endpoint == "auto" else (endpoint_named(endpoint, "auto"),)
        if cache_salt is not None and not (isinstance(cache_salt, str) and 1 <= len(cache_salt) <= 1024):
            raise InputError("cache_salt must be a text of 1 to 1,024 characters")
        server.check_tokenizer(labels, tag_id)
        reasons = []
        for choice in choices:
            engine = cls(
                server.client,
                server.loop,
                model=server.model,
                root=server.root,
                max_tokens=server.max_tokens,
                endpoint=choice,
                labels=labels,
                cache_salt=cache_salt,
            )
            try:
                (rewards,) = engine.score([probe])
            except RefusedError as error:
                if error.status in (401, 403):
                    raise
                reasons.append(f"{choice.name}: {error}")
            except UnavailableError:
                raise
            except ServerError as error:
                reasons.append(f"{choice.name}: {error}")
            else:
                _check_probe(rewards, choice)
                engine._known, engine._answered = (probe, rewards), time.monotonic()
                return engine
        raise ServerError(f"the server at {server.client.url} gives no rewards; {'; '.join(reasons)}")

    def __repr__(self) -> str:
        return f"VLLMEngine({self.name})"

    def score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Score every chain of every prompt; see `Engine.score`."""
        return self._loop.run(self._score(prompts))

    async def ascore(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        """Async `score`; cancelling it closes the requests in progress."""
        return await self._loop.arun(self._score(prompts))

    def close(self) -> None:
        """Close the connections to the server; a later call opens new ones."""
        self._loop.stop(self._client.close)

    async def _score(self, prompts: Sequence[EncodedPrompt]) -> Rewards:
        tasks = [asyncio.ensure_future(self._score_prompt(prompt)) for prompt in prompts]
        try:
            return list(await asyncio.wait_for(asyncio.gather(*tasks), self._client.deadline))
        except asyncio.TimeoutError:
            raise ServerError(
                f"the server at {self._client.url} did not finish a call within its deadline of "
                f"{self._client.deadline:g} s: send fewer prompts at once, or set a longer one"
            ) from None
        finally:  # one failed, or the caller no longer waits: the other requests are closed
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _score_prompt(self, prompt: EncodedPrompt) -> list[list[float]]:
        items_of: dict[EncodedChain, list[Item]] = {chain: self.endpoint.items(chain) for chain in prompt.chains}
        distinct = list(dict.fromkeys(item for items in items_of.values() for item in items))
        rewards: dict[Item, list[float]] = {}
        for part in _parts(distinct, len(prompt.prefix)):  # one after another: the first fills the server's cache
            body = self.endpoint.write(self._labels, prompt.prefix, part)
            answer = await self._post(body)
            self._check_model(answer)
            rewards.update(zip(part, self.endpoint.rewards(answer, self._labels, part), strict=True))
            if self._known is not None and prompt is not self._known[0]:
                await self._check_weights(*self._known)
        return [[reward for item in items_of[chain] for reward in rewards[item]] for chain in prompt.chains]

    async def _check_weights(self, probe: EncodedPrompt, before: list[list[float]]) -> None:
        """After a silence, raise an error if the known prompt gets other rewards than at the start."""
        if time.monotonic() - self._answered >= _SILENCE:
            loop = asyncio.get_running_loop()  # another one after a fork
            if self._probing is None or self._probing.done() or self._probing.get_loop() is not loop:
                self._probing = loop.create_task(self._probe_again(probe, before))
                self._probing.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.shield(self._probing)  # one for all that wait
        self._answered = time.monotonic()

    async def _probe_again(self, probe: EncodedPrompt, before: list[list[float]]) -> None:
        now = _flat(await self._score_prompt(probe))
        if max(abs(a - b) for a, b in zip(now, _flat(before), strict=True)) > _MOVED:
            raise ServerError(
                f"the server at {self._client.url} gives a known prompt other rewards than before: it was restarted "
                "with other weights; connect again, and do not mix results from before and after"
            )

    async def _post(self, body: dict[str, Any]) -> Answer:
        try:
            return await self._client.post(self.endpoint.path, self._addressed(body))
        except RefusedError as error:
            if error.status != 404 or self._known is None:
                raise
            raise RefusedError(f"{error} (asked for the model {self._model!r}, which it served before)", 404) from None

    def _addressed(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "model": self._model, **({"cache_salt": self._salt} if self._salt is not None else {})}

    def _check_model(self, answer: Answer) -> None:
        if answer.get("model") != self._model:
            raise ServerError(
                f"the server at {self._client.url} answered for another model than {self._model!r}: "
                "was it changed while in use?"
            )


def _flat(rewards: Sequence[Sequence[float]]) -> list[float]:
    return [reward for chain in rewards for reward in chain]


def _check_probe(rewards: Sequence[Sequence[float]], endpoint: Endpoint) -> None:
    flat = _flat(rewards)
    if max(flat) - min(flat) < _SAME:
        raise ModelError(
            f"the server's {endpoint.path} gives the reward {flat[0]:.3f} to every step of a known prompt: "
            "it does not serve a Med-PRM reward model"
        )


def _parts(items: Sequence[Item], prefix: int) -> Iterator[list[Item]]:
    """The items in order, in as few parts as the limits on a request allow; at least one item in each."""
    part: list[Item] = []
    ids = 0
    for item in items:
        size = prefix + len(item.ids)
        if part and (len(part) >= _MOST_ITEMS or ids + size > _MOST_IDS):
            yield part
            part, ids = [], 0
        part.append(item)
        ids += size
    if part:
        yield part
