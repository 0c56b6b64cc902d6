"""A small HTTP server that speaks OpenAI's chat completions: the language model of whoever tries the documentation.

It asks for the first tool that is offered, once for each question, and otherwise answers with one of `CHAINS`: the same
prompt, however many ask it at once, gets them in turn.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

_CHAIN = (
    "Step 1: By the label, dose Zoravine at {0} mg per kg, limit Zoravine to 300 mg.\n"
    "Step 2: The patient weighs 40 kg, so {0} times 40 is {1} mg.\n"
    "Step 3: With {1} against 300 {2}, so at {3} the answer is ({4}) {3} mg."
)
CHAINS = [_CHAIN.format(5, 200, "fits", 200, "A"), _CHAIN.format(9, 360, "exceeds", 300, "B")]


class _Handler(BaseHTTPRequestHandler):
    calls: defaultdict[str, Any]
    lock: threading.Lock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.lock:
            calls = [next(self.calls[json.dumps(body["messages"])]) for _ in range(body.get("n") or 1)]
        answer = json.dumps(
            {
                "id": "chat",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [_choice(body, call, place) for place, call in enumerate(calls)],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _choice(body: dict[str, Any], call: int, place: int) -> dict[str, Any]:
    last = body["messages"][-1]["role"]
    message: dict[str, Any] = {"role": "assistant", "content": CHAINS[call % len(CHAINS)]}
    if body.get("tools") and last == "user":
        function = body["tools"][0]["function"]
        arguments = json.dumps(dict.fromkeys(function["parameters"]["properties"], "Zoravine"))
        called = {"id": "1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [called]}
    return {"index": place, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}


@contextmanager
def chat_server() -> Iterator[str]:
    """Serve while the context lasts.

    Yields:
        What clients take as `OPENAI_BASE_URL`.
    """
    handler = type("Handler", (_Handler,), {"calls": defaultdict(count), "lock": threading.Lock()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
