"""A local HTTP server with OpenAI's chat completions, to be sampled from: it sees which calls are cancelled."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Reply:
    """The server's answer to a call.

    Args:
        texts: The choices, one or several.
        seconds: How long it takes.
        status: Of the HTTP answer; an error has no choices.
        after: Set when it may be said at last; None for at once.
    """

    texts: Sequence[str] = ()
    seconds: float = 0.0
    status: int = 200
    after: threading.Event | None = None


@dataclass
class Seen:
    """What the server has seen.

    Args:
        bodies: What each call asked, in the order in which they came.
        answered: How many calls it answered.
        closed: How many were closed by the client before.
        now: How many run.
        most: Most that ran at once.
    """

    bodies: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    closed: int = 0
    now: int = 0
    most: int = 0


class PolicyServer:
    """The server, in a separate thread for the duration of a `with` block.

    Args:
        reply: From a call's number, from 0, and its body to what is said. A reply with fewer texts than the call asks
            for is a server that does not know `n`.
        tokens: Of each prompt and of each choice, as the usage says.
    """

    def __init__(self, reply: Callable[[int, dict[str, Any]], Reply], tokens: tuple[int, int] = (100, 20)) -> None:
        self._reply, self._tokens = reply, tokens
        self.seen = Seen()
        self.url = ""
        """Such as `http://127.0.0.1:41234/v1`."""

    def __enter__(self) -> "PolicyServer":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="policy server", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_until_idle(self, seconds: float = 30.0) -> None:
        """Wait until no call runs, since closing takes a moment to arrive."""
        waiting = threading.Event()
        for _ in range(int(seconds * 100)):
            if not self.seen.now:
                return
            waiting.wait(0.01)

    async def _stop(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # in which the connections are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError), closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            await self._answer(body, reader, writer)

    async def _answer(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = self.seen
        reply = self._reply(len(seen.bodies), body)
        seen.bodies.append(body)
        seen.now += 1
        seen.most = max(seen.most, seen.now)
        try:
            gone = asyncio.ensure_future(reader.read(1))  # nothing more is sent: it ends when the client closes
            done, _ = await asyncio.wait({gone}, timeout=reply.seconds)
            while not done and reply.after is not None and not reply.after.is_set():
                done, _ = await asyncio.wait({gone}, timeout=0.005)
            gone.cancel()
        finally:
            seen.now -= 1
        if done:
            seen.closed += 1
            return
        answer = json.dumps(self._completion(body, reply)).encode()
        head = f"HTTP/1.1 {reply.status} -\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + answer)
        await writer.drain()
        seen.answered += 1

    def _completion(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        if reply.status != 200:
            return {"error": {"message": "refused", "type": "error", "param": None, "code": None}}
        choices = [
            {"index": place, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for place, text in enumerate(reply.texts)
        ]
        prompt, written = self._tokens[0], self._tokens[1] * len(choices)
        usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
        return {
            "id": "chat",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model"),
            "choices": choices,
            "usage": usage,
        }
