"""A server as policy: one that continues is used, one that starts anew is refused, and failures are told."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medprm_scorer import InputError
from medprm_scorer.errors import PolicyError, ServerError
from medprm_scorer.search import GrowingChain, ServerPolicy, beam_search
from tests.support.stub_search import DOCUMENTS, QUESTION, stub_prm

WHOLE = "Step 1: Read the label of the drug.\nStep 2: The label says five mg.\nStep 3: The answer is (A)"


class Server(ThreadingHTTPServer):
    """Writes one and the same chain, as vLLM would: `continues` says whether it goes on where the prefix ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict] = []
        self.continues, self.tells_stop, self.status, self.models = True, True, 200, ["m"]

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
        assert WHOLE.startswith(begun.rstrip())
        text = WHOLE[len(begun) :] if self.continues else WHOLE
        stop = (body.get("stop") or [None])[0]
        least = 1 if body.get("min_tokens") else 0
        at = text.find(stop, least) if stop else -1
        choice = {"finish_reason": "stop", "stop_reason": None}
        if at >= 0:
            text, choice["stop_reason"] = text[:at], stop
        if len(text.split()) > body["max_tokens"]:
            text, choice["finish_reason"] = " ".join(text.split(" ")[: body["max_tokens"]]), "length"
        if not self.tells_stop:
            del choice["stop_reason"]
        choice |= {"text": text} if "prompt" in body else {"message": {"content": text}}
        return {"choices": [choice], "usage": {"completion_tokens": len(text.split()) + 1}}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.status != 200:
            self.answer(self.server.status, {"error": {"message": "continue_final_message is not known"}})
        else:
            self.answer(200, self.server.write(body))

    def answer(self, status: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


class Tokenizer:
    """Enough of one."""

    @staticmethod
    def apply_chat_template(messages, *, tokenize, add_generation_prompt) -> str:
        assert not tokenize
        assert add_generation_prompt
        return "\n".join(message["content"] for message in messages) + "<answer>"


def policy_of(server: Server, endpoint: str, **more) -> ServerPolicy:
    tokenizer = Tokenizer() if endpoint == "completions" else None
    return ServerPolicy(server.url, endpoint=endpoint, tokenizer=tokenizer, retry_for=0, **more)


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_chain_is_written_to_its_end_in_steps(server, demo, endpoint):
    policy = policy_of(server, endpoint, extra={"repetition_penalty": 1.1})
    found = beam_search(policy, stub_prm(demo), QUESTION, DOCUMENTS, width=1, expansions=2)
    assert found.best.text == WHOLE
    assert found.answer == "A"
    assert found.tree.policy_calls == 3
    assert not found.best.truncated
    bodies = server.bodies[2:]
    assert all(body["model"] == "m" and body["repetition_penalty"] == 1.1 for body in bodies)
    assert len({body["seed"] for body in bodies}) == len(bodies)
    assert all(0 <= body["seed"] < 2**31 for body in bodies)
    again = asyncio.run(policy.aextend(QUESTION, DOCUMENTS, [GrowingChain("", (), 0)], 2))
    assert again == policy.extend(QUESTION, DOCUMENTS, [GrowingChain("", (), 0)], 2)
    assert "label" not in repr(policy)


def test_a_server_that_does_not_tell_where_it_stopped_ends_with_nothing_more(server, demo):
    server.tells_stop = False
    found = beam_search(policy_of(server, "completions"), stub_prm(demo), QUESTION, DOCUMENTS, width=1, expansions=1)
    assert found.best.text == WHOLE
    assert found.tree.policy_calls == 4


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_provider_that_starts_anew_is_refused(server, endpoint):
    server.continues = False
    with pytest.raises(PolicyError, match="does not continue"):
        policy_of(server, endpoint)


def test_a_provider_that_refuses_the_question_is_refused(server):
    server.status = 400
    with pytest.raises(PolicyError, match="continue_final_message is not known"):
        policy_of(server, "chat")


def test_a_real_server_without_the_means_to_continue_is_refused(policy_server):
    with pytest.raises(PolicyError):
        ServerPolicy(policy_server, model="policy", retry_for=0)


def test_a_server_that_dies_is_told_of(server, demo):
    policy = policy_of(server, "chat")
    server.status = 503
    with pytest.raises(ServerError, match="503"):
        beam_search(policy, stub_prm(demo), QUESTION, DOCUMENTS)


def test_answers_that_are_none_are_refused(server):
    policy = policy_of(server, "chat")
    for wrong in ({}, {"choices": []}, {"choices": [{"message": {"content": 3}}]}, {"choices": [{"message": None}]}):
        server.write = lambda _, wrong=wrong: wrong
        with pytest.raises(PolicyError, match="without a text"):
            policy.extend(QUESTION, DOCUMENTS, [GrowingChain("", (), 0)], 1)
    server.write = lambda _: {"choices": [{"message": {"content": None}, "finish_reason": "stop", "stop_reason": None}]}
    assert policy.extend(QUESTION, DOCUMENTS, [GrowingChain("", (), 0)], 1)[0][0].finished


def test_wrong_settings_are_refused(server):
    for wrong in ({"endpoint": "x"}, {"temperature": -1}, {"top_p": 2}, {"step_end": ""}, {"endpoint": "completions"}):
        with pytest.raises(InputError):
            ServerPolicy(server.url, **wrong)
    server.models = ["a", "b"]
    with pytest.raises(PolicyError, match="serves 2 models"):
        ServerPolicy(server.url)
