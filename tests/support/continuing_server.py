"""A server that continues what was begun, as vLLM does, for tests of policies: no model, every chain by its seed."""

import json
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHOLE = "Step 1: Read the drug's label [0.9].\nStep 2: The label says five mg [0.8].\nStep 3: The answer is (A) [0.9]"
"""What it writes at temperature 0."""


def seeded(begun: str, seed: int) -> str:
    """The rest of a chain: three steps, each with a reward in it, the last with an answer."""
    rng, steps = random.Random(seed), []
    for number in range(len(re.findall("Step ", begun)) + 1, 4):
        end = f"The answer is ({rng.choice('AB')})" if number == 3 else f"Note {rng.randrange(1000)}"
        steps.append(f"Step {number}: {end} [0.{rng.randrange(1, 10)}]")
    return ("\n" if begun and steps else "") + "\n".join(steps)


class ContinuingServer(ThreadingHTTPServer):
    """Attributes say what it does wrong.

    Attributes:
        continues: Whether it goes on where the prefix ends.
        tells_stop: Whether it tells what it stopped at.
        shows_stop: Whether it knows `include_stop_str_in_output`.
        min_tokens: `known`, `ignored` or `refused`.
        status: Of every answer.
        draws: Whether chains differ by seed; else it writes `WHOLE`.
        hold: Where it is set, no answer is given before it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict] = []
        self.continues = self.tells_stop = self.shows_stop = True
        self.min_tokens, self.status, self.models, self.draws = "known", 200, ["m"], False
        self.hold: threading.Event | None = None
        self.gone = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def write(self, body: dict) -> dict:
        if "prompt" in body:
            begun = body["prompt"].partition("<answer>")[2]
        else:
            last = body["messages"][-1]
            begun = last["content"] if last["role"] == "assistant" and body.get("continue_final_message") else ""
            begun = begun.strip()  # as chat templates do
        if self.draws and body.get("temperature", 1) > 0:
            text = seeded(begun, body["seed"])
        else:
            assert WHOLE.startswith(begun.rstrip())
            text = WHOLE[len(begun) :] if self.continues else WHOLE
        least = 1 if body.get("min_tokens") and self.min_tokens == "known" else 0
        stops = body.get("stop") or []
        found = sorted((text.find(stop, least), stop) for stop in stops if text.find(stop, least) >= 0)
        choice = {"finish_reason": "stop", "stop_reason": None, "index": 0}
        if found:
            at, choice["stop_reason"] = found[0]
            shown = found[0][1] if self.shows_stop and body.get("include_stop_str_in_output") else ""
            text = text[:at] + shown
        most = body.get("max_tokens") or body.get("max_completion_tokens") or 1000
        if len(text.split()) > most:
            text, choice["finish_reason"] = " ".join(text.split(" ")[:most]), "length"
        if not self.tells_stop:
            del choice["stop_reason"]
        choice |= {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
        used = {"completion_tokens": len(text.split()) + 1, "prompt_tokens": 5, "total_tokens": len(text.split()) + 6}
        return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": used}


class _Handler(BaseHTTPRequestHandler):
    server: ContinuingServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.hold is not None:
            self.connection.settimeout(10)
            if self.connection.recv(1) == b"":  # the client has gone
                self.server.gone += 1
            return
        if self.server.status != 200:
            self.answer(self.server.status, {"error": {"message": "continue_final_message is not known"}})
        elif self.server.min_tokens == "refused" and "min_tokens" in body:
            self.answer(400, {"error": {"message": "min_tokens is not known"}})
        else:
            self.answer(200, self.server.write(body))

    def answer(self, status: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def continuing_server() -> Iterator[ContinuingServer]:
    with ContinuingServer() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()
