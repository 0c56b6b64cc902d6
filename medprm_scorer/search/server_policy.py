"""A server that continues a prefix, as the policy of a search: vLLM, and others with an OpenAI-compatible interface.

With the endpoint `chat`, a chain is sent as the start of the assistant's answer, without a generation prompt and with
`continue_final_message` (vLLM's names). Most chat templates trim that start, so the line break between two steps is the
first thing that the model writes. If the trial finds that the server supports `min_tokens` (vLLM), that keeps the line
break from ending the step; otherwise a step is ended by the label of the one after it. With `completions`, the whole
prompt is sent as text, which needs the tokenizer's chat template.

Each continuation is a separate request with its own seed; a server that caches prefixes computes their shared prefix
once. A trial at the start (`continuing.trial`) finds providers that start a new answer instead of continuing.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medprm_scorer.encoding import load_tokenizer
from medprm_scorer.errors import InputError, PolicyError, check_choice
from medprm_scorer.search.continuing import TRIAL_QUESTION, TRIAL_TOKENS, Trial, next_labels, trial
from medprm_scorer.search.policy import Continuation, GrowingChain, seed_of
from medprm_scorer.text.chat_template import apply_chat_template
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.vllm.client import Client, ClientConfig, RefusedError
from medprm_scorer.vllm.event_loop import BackgroundLoop

if TYPE_CHECKING:
    import ssl

PolicyEndpoint = Literal["chat", "completions"]
"""The endpoint of the server that is used."""

_UNKNOWN = object()


class ServerPolicy:
    r"""Continues chains on a server. Safe to use from many threads and tasks at once.

    Args:
        url: Such as `http://127.0.0.1:8000`.
        model: The served model's name; None takes the only one served.
        endpoint: `chat`, or `completions`, which needs `tokenizer`.
        tokenizer: For `completions`: a folder or hub id with the model's chat template, or a loaded tokenizer.
        api_key: The server's key; None takes the environment variable `VLLM_API_KEY`, if it is set.
        temperature: At least 0; 1 samples from the model's own distribution.
        top_p: Sample only from the most likely tokens that together have this probability, in (0, 1].
        step_end: The string that ends a step, such as `\n`: the server stops there, and the chain continues after it.
            With `chat`, on a server without `min_tokens`, steps end before the next `Step n` instead.
        max_step_tokens: A step that has not ended after so many tokens is cut off.
        messages: Makes the chat messages that the model reads.
        extra: Further fields of each request, such as `{"chat_template_kwargs": {"enable_thinking": False}}`.
        verify: False trusts any certificate; an `ssl.SSLContext` supplies your own.
        timeout: Seconds for one request.
        retry_for: Seconds for which requests to an unreachable or busy server are retried.
        concurrency: Most simultaneous requests.
        check: False skips the trial at the start; `min_tokens` is then not sent.

    Raises:
        PolicyError: The server does not continue a prefix, or it serves several models and none was named.
        ServerError: The server is unreachable, refuses, or sends an invalid answer.
        InputError: An option is unknown or out of its range.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        endpoint: PolicyEndpoint = "chat",
        tokenizer: Any = None,
        api_key: str | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        step_end: str = "\n",
        max_step_tokens: int = 256,
        messages: Callable[[str, Sequence[str]], Sequence[Mapping[str, str]]] = policy_messages,
        extra: Mapping[str, Any] | None = None,
        verify: "bool | ssl.SSLContext" = True,
        timeout: float = 300.0,
        retry_for: float = 120.0,
        concurrency: int = 16,
        check: bool = True,
    ) -> None:
        check_choice("endpoint", endpoint, ("chat", "completions"))
        if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
            raise InputError("the temperature must be a number of at least 0")
        if not isinstance(top_p, int | float) or not 0 < top_p <= 1:
            raise InputError("top_p must be a number above 0 and at most 1")
        if not isinstance(step_end, str) or not step_end:
            raise InputError("step_end must be a non-empty text")
        if endpoint == "completions" and tokenizer is None:
            raise InputError("the endpoint completions needs the tokenizer, for its chat template")
        self._tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
        self._endpoint, self._messages, self._step_end = endpoint, messages, step_end
        self._sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_step_tokens, **(extra or {})}
        config = ClientConfig(timeout=timeout, retry_for=retry_for, concurrency=concurrency)
        self._client = Client(url, api_key or os.environ.get("VLLM_API_KEY") or None, verify, config)
        self._loop = BackgroundLoop()
        self._takes_min_tokens = False
        self._model = model or self._only_model()
        if check:
            self._loop.run(self._check())

    def __repr__(self) -> str:
        return f"ServerPolicy({self._client.url}, {self._endpoint})"

    def extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """Continue each chain by one step, in `n` ways; see `Policy.extend`.

        Raises:
            ServerError: The server is unreachable, refuses the request, or sends an invalid answer.
        """
        return self._loop.run(self._extend(question, documents, chains, n))

    async def aextend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        """`extend`, without blocking the event loop."""
        return await self._loop.arun(self._extend(question, documents, chains, n))

    async def _extend(
        self, question: str, documents: Sequence[str], chains: Sequence[GrowingChain], n: int
    ) -> list[list[Continuation]]:
        asked = [
            self._continue(question, documents, chain, {"seed": seed_of(chain.seed, place) % 2**31})
            for chain in chains
            for place in range(n)
        ]
        found = await asyncio.gather(*asked)
        return [list(found[start : start + n]) for start in range(0, len(found), n)]

    async def _continue(
        self, question: str, documents: Sequence[str], chain: GrowingChain, options: Mapping[str, Any]
    ) -> Continuation:
        """One continuation."""
        stops = [self._step_end]
        if self._endpoint == "chat" and not self._takes_min_tokens:
            stops = next_labels(len(chain.steps))
        body = {"model": self._model, **self._sampling, "stop": stops, **options}
        messages = [dict(message) for message in self._messages(question, documents)]
        if self._endpoint == "completions":
            prompt = apply_chat_template(self._tokenizer, messages, tokenize=False, add_generation_prompt=True)
            # the template has already added the special tokens
            body |= {"prompt": prompt + chain.text, "add_special_tokens": False}
            answer = await self._client.post("/v1/completions", body)
        else:
            if chain.text:
                messages.append({"role": "assistant", "content": chain.text})
                body |= {"continue_final_message": True, "add_generation_prompt": False}
                body |= {"min_tokens": 2} if self._takes_min_tokens else {}
            answer = await self._client.post("/v1/chat/completions", {**body, "messages": messages})
        return self._read(answer, body["stop"] or ())

    def _read(self, answer: Mapping[str, Any], stops: Sequence[str]) -> Continuation:
        """The text that the server wrote, and how it ended."""
        try:
            choice = answer["choices"][0]
            text = choice["text"] if self._endpoint == "completions" else choice["message"]["content"] or ""
            reason, stopped_at = choice.get("finish_reason"), choice.get("stop_reason", _UNKNOWN)
        except (KeyError, IndexError, TypeError, AttributeError):
            text = reason = stopped_at = None
        if not isinstance(text, str):
            raise PolicyError(f"the server at {self._client.url} answered without a text")
        usage = answer.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        tokens = tokens if isinstance(tokens, int) and tokens >= 0 else None
        if reason == "length":
            return Continuation(text, cut_off=True, tokens=tokens)
        # a server may not report its stop reason: the chain is then continued, and a finished one gets an empty
        # continuation
        at_step = stopped_at in stops or (stopped_at is _UNKNOWN and bool(text.strip()))
        if at_step and self._endpoint == "completions":
            text += self._step_end
        return Continuation(text, finished=not at_step, tokens=tokens)

    def _only_model(self) -> str:
        answer = self._loop.run(self._client.get("/v1/models"))
        data = answer.get("data")
        names = [one.get("id") for one in data if isinstance(one, Mapping)] if isinstance(data, list) else []
        if len(names) != 1 or not isinstance(names[0], str):
            raise PolicyError(f"the server at {self._client.url} serves {len(names)} models: name one with model=")
        return names[0]

    async def _check(self) -> None:
        """Refuse a server that starts again instead of continuing, and find out whether it supports `min_tokens`."""
        who = f"the server at {self._client.url}"
        asking = trial(who, "a server that does (vLLM), or its endpoint completions")
        try:
            asked = next(asking)
            while True:
                asked = asking.send(await self._likeliest(asked))
        except StopIteration:
            pass
        except RefusedError as error:
            raise PolicyError(f"the server refuses to continue the beginning of an answer: {error}") from error
        if self._endpoint == "chat":
            self._takes_min_tokens = True
            try:
                # the continuation is a blank and the next word: if the server stops at the blank, it writes nothing
                self._takes_min_tokens = bool((await self._likeliest(Trial(asked.begun, (" ",)))).strip())
            except RefusedError:
                self._takes_min_tokens = False

    async def _likeliest(self, asked: Trial) -> str:
        options = {"temperature": 0.0, "max_tokens": TRIAL_TOKENS, "stop": list(asked.stop) or None, "seed": 0}
        return (await self._continue(TRIAL_QUESTION, (), GrowingChain(asked.begun, (), 0), options)).text
