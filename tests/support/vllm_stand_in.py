"""A small HTTP server that speaks like vLLM, and a proxy that spoils what goes through it. Both are real servers.

The stand-in's "model" is a hash of all the token ids up to a step tag, so a reward that was read after other ids, or
matched to another item, is another number.
"""

import gzip
import hashlib
import http.client
import json
import math
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from medprm_scorer.encoding import EncodedPrompt

TAG, PLUS, MINUS = 128256, 489, 482
MODEL = "stand-in"


def reward(ids: Sequence[int]) -> float:
    """The stand-in model's reward after these ids."""
    return int.from_bytes(hashlib.sha256(repr(list(ids)).encode()).digest()[:6], "big") / 2**48


def expected(prompts: Sequence[EncodedPrompt]) -> list[list[list[float]]]:
    """What an engine must return for the prompts."""
    return [
        [[reward([*prompt.prefix, *chain.ids[: tag + 1]]) for tag in chain.tags] for chain in prompt.chains]
        for prompt in prompts
    ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.reply_bytes(status, json.dumps(body).encode(), headers)

    def reply_bytes(self, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        self.server.handle(self, b"")

    def do_POST(self) -> None:
        self.server.handle(self, self.rfile.read(int(self.headers["Content-Length"])))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: Counter[str] = Counter()
        self.under_way, self.most_under_way = 0, 0
        self._count = threading.Lock()
        self._connections: list[socket.socket] = []

    def handle(self, request: Handler, body: bytes) -> None:
        with self._count:
            self.requests[request.path] += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.answer(request, body)
        finally:
            with self._count:
                self.under_way -= 1

    def answer(self, request: Handler, body: bytes) -> None:
        raise NotImplementedError

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """Break off every connection, as the end of a process does."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


class StandIn(Server):
    """Speaks like vLLM 0.32.

    Args:
        offers: Paths that it answers.
        change: Changes an answer before it is sent.
    """

    def __init__(
        self,
        offers: Sequence[str] = ("/generative_scoring", "/v1/completions", "/tokenize"),
        *,
        port: int = 0,
        change: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
        api_key: str | None = None,
        tokens: dict[str, list[int]] | None = None,
        max_model_len: int = 8192,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(port)
        self.offers, self.change, self.api_key = offers, change, api_key
        self.tokens = tokens or {" ки": [TAG], " +": [PLUS], " -": [MINUS]}
        self.max_model_len, self.seconds = max_model_len, seconds
        self.bodies: list[dict[str, Any]] = []

    def answer(self, request: Handler, body: bytes) -> None:
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return request.reply(401, {"error": "Unauthorized"})
        if request.path == "/v1/models":
            card = {"id": MODEL, "root": "/models/stand-in", "max_model_len": self.max_model_len}
            return request.reply(200, {"object": "list", "data": [card]})
        if request.path not in self.offers:
            return request.reply(404, {"detail": "Not Found"})
        asked = json.loads(body)
        self.bodies.append(asked)
        time.sleep(self.seconds)
        answer = self.compute(request.path, asked)
        return request.reply(200, self.change(request.path, answer) if self.change else answer)

    def compute(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["model"] == MODEL
        if path == "/tokenize":
            return {"tokens": self.tokens[asked["prompt"]]}
        assert asked["add_special_tokens"] is False
        if path == "/generative_scoring":
            assert asked["label_token_ids"] == [PLUS, MINUS]
            scores = [reward([*asked["query"], *item]) for item in asked["items"]]
            return {"model": MODEL, "data": [{"index": i, "score": score} for i, score in enumerate(scores)]}
        if path == "/v1/completions":
            assert (asked["temperature"], asked["top_p"]) == (1.0, 1.0)
            choices = []
            for i, prompt in enumerate(asked["prompt"]):
                plus = reward(prompt)
                top = {f"token_id:{PLUS}": math.log(plus), f"token_id:{MINUS}": math.log1p(-plus)}
                choices.append({"index": i, "logprobs": {"top_logprobs": [top]}})
            return {"model": MODEL, "choices": choices}
        if path == "/classify":
            entries = [{"index": i, "probs": [reward(prompt)]} for i, prompt in enumerate(asked["input"])]
            return {"model": MODEL, "data": entries}
        assert asked["task"] == "token_classify"
        entries = [
            {"index": i, "data": [[reward(prompt[: at + 1])] for at, id_ in enumerate(prompt) if id_ == TAG]}
            for i, prompt in enumerate(asked["input"])
        ]
        return {"model": MODEL, "data": entries}


PASSING = ("drop_before", "drop_after", "delay", "429", "503", "500", "half_body", "half_json", "shuffle")
PASSING += ("502", "504", "empty", "page", "no_body", "trickle", "padded", "chunked")
FATAL = ("wrong_count", "doubled", "nan", "other_model")
FATAL += ("list", "doubled_key", "no_entries", "wrong_index", "compressed")
FAULTS = (*PASSING, *FATAL)


class FaultProxy(Server):
    """Forwards to a server and spoils some answers, as its seed says.

    Args:
        upstream: Port of the server behind it.
        seed: Of the choice of faults.
        rate: Share of requests that a fault befalls.
        faults: Which of `FAULTS`.
        delay: Longest delay, in seconds.
    """

    def __init__(self, upstream: int, seed: int, rate: float, faults: Sequence[str] = FAULTS, delay: float = 0.6):
        super().__init__()
        self._upstream, self._rate, self._faults, self._delay = upstream, rate, faults, delay
        self._random, self._lock = random.Random(seed), threading.Lock()
        self.injected: Counter[str] = Counter()
        self.fatal: set[bytes] = set()
        """Bodies that no client may take for right."""

    def answer(self, request: Handler, body: bytes) -> None:
        with self._lock:
            fault = self._random.choice(self._faults) if self._random.random() < self._rate else ""
            dice = random.Random(self._random.random())
            self.injected[fault] += 1
        if fault == "drop_before":
            return reset(request)
        if fault == "429":
            return request.reply(
                429, {"error": {"message": "busy"}}, {"Retry-After": dice.choice(["0", "0", "0", "1", "soon"])}
            )
        if fault in ("500", "502", "503", "504"):
            return request.reply(int(fault), {"error": {"message": "the engine is tired"}})
        if fault == "delay":
            time.sleep(dice.uniform(0, self._delay))
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=10)
        try:
            connection.request(request.command, request.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            status, raw = response.status, response.read()
        finally:
            connection.close()
        if fault == "drop_after":
            return reset(request)
        if fault == "half_body":
            request.send_response(200)
            request.send_header("Content-Length", str(len(raw)))
            request.end_headers()
            request.wfile.write(raw[: len(raw) // 2])
            request.wfile.flush()
            return reset(request)
        if fault == "no_body":
            request.send_response(200)
            request.send_header("Content-Length", str(len(raw)))
            request.end_headers()
            request.wfile.flush()
            return reset(request)
        if fault == "trickle":
            return in_pieces(request, raw)
        if fault == "chunked":
            return in_pieces(request, raw, chunked=True)
        if fault in ("half_json", "empty", "page", "padded"):
            sent = {"half_json": raw[: len(raw) // 2], "empty": b"", "page": b"<html>busy</html>"}
            return request.reply_bytes(200, sent.get(fault, b" \n" * 50 + raw + b" \n" * 50))
        if fault == "compressed":
            return request.reply_bytes(200, gzip.compress(raw), {"Content-Encoding": "gzip"})
        if fault == "doubled_key":
            spoiled = b'{"model": "another", ' + raw.lstrip()[1:]
        else:
            spoiled = json.dumps(spoil(json.loads(raw), fault, dice)).encode()
        if fault in FATAL:
            self.fatal.add(spoiled)
        return request.reply_bytes(status, spoiled)


def in_pieces(request: Handler, raw: bytes, chunked: bool = False) -> None:
    """A whole answer, a piece at a time."""
    request.send_response(200)
    request.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(raw)))))
    request.end_headers()
    size = len(raw) // 5 + 1
    for piece in (raw[start : start + size] for start in range(0, len(raw), size)):
        request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        request.wfile.flush()
        time.sleep(0.005)
    if chunked:
        request.wfile.write(b"0\r\n\r\n")


def spoil(answer: dict[str, Any], fault: str, dice: random.Random) -> Any:
    """The answer with the fault in it."""
    if fault == "list":
        return [answer]
    if fault == "no_entries":
        return {key: value for key, value in answer.items() if key not in ("data", "choices")}
    entries = answer["data" if "data" in answer else "choices"]
    if fault == "wrong_count":
        if dice.random() < 0.5:
            entries.pop(dice.randrange(len(entries)))
        else:
            entries.append({**entries[-1], "index": len(entries)})
    elif fault == "doubled":
        entries[dice.randrange(len(entries))] = dict(dice.choice(entries))
        if len({entry["index"] for entry in entries}) == len(entries):  # an entry took its own place
            entries.append(dict(entries[0]))
    elif fault == "nan":
        entry = dice.choice(entries)
        bad = dice.choice([math.nan, None, 1.5, "0.5"])
        if "score" in entry:
            entry["score"] = bad
        elif "probs" in entry:
            entry["probs"] = [bad]
        elif "logprobs" in entry:
            entry["logprobs"]["top_logprobs"][0][f"token_id:{PLUS}"] = bad
        else:
            entry["data"][0] = [bad]
    elif fault == "wrong_index":
        dice.choice(entries)["index"] = dice.choice([-1, len(entries), 10**30, 0.5, "0", None, True])
        if len(entries) == 1 or {entry["index"] for entry in entries} == set(range(len(entries))):
            entries[0]["index"] = len(entries)
    elif fault == "shuffle":
        dice.shuffle(entries)
    elif fault == "other_model":
        answer["model"] = "another"
    return answer


def reset(request: Handler) -> None:
    """Break the connection off, as a server that is killed does."""
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.rfile.close()
    request.wfile.close()
    request.connection.close()


@contextmanager
def running(server: Any) -> Iterator[Any]:
    """The server, answering until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()
