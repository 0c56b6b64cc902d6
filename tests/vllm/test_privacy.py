"""The key and the texts go to the server that was named, and nowhere else: no redirect, proxy, log or error."""

import json
import logging
import pickle
import threading
import traceback

import pytest

from medprm_scorer import MedPRM
from medprm_scorer.errors import ServerError
from medprm_scorer.vllm.client import Client, ClientConfig
from tests.support.llama3 import real_tokenizer
from tests.support.vllm_stand_in import Handler, Server, StandIn, running
from tests.vllm.test_engine import CHAINS, DOCUMENTS, QUESTION, reach, rewards_of, right

KEY = "s3cret-key"
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class Records(Server):
    """Keeps what reaches it, and refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def answer(self, request, body):
        self.seen.append(f"{request.requestline} {request.headers} {body!r}")
        request.reply(502, {"error": "no"})

    def handle(self, request, body):
        self.answer(request, body)


def secrets(shown: str) -> list[str]:
    """What no log, error or other server may have: the key, words of the texts, ids of their tokens."""
    ids = real_tokenizer()(QUESTION, add_special_tokens=False)["input_ids"]
    written = [", ".join(map(str, ids[:6])), ",".join(map(str, ids[:6]))]
    return [secret for secret in (KEY, "Which dose", "mg per kg", "Read 5 mg", *written) if secret in shown]


def test_the_check_sees_secrets():
    assert secrets(f"Bearer {KEY} Which dose? {CHAINS[0]} {DOCUMENTS[0]}") == [
        KEY,
        "Which dose",
        "mg per kg",
        "Read 5 mg",
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status):
    class Redirects(StandIn):
        moved = False

        def answer(self, request, body):
            if self.moved:
                return request.reply(status, {}, {"Location": other.url + request.path})
            return super().answer(request, body)

    with running(Records()) as other, running(Redirects(api_key=KEY)) as server:
        prm = reach(server, api_key=KEY)
        server.moved = True
        with pytest.raises(ServerError, match=f"with {status}"):
            rewards_of(prm)
        assert other.seen == []


def test_a_proxy_of_the_environment_gets_nothing_in_clear_text(monkeypatch):
    with running(Records()) as proxy, running(StandIn(api_key=KEY)) as server:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert rewards_of(reach(server, api_key=KEY)) == [pytest.approx(chain, abs=1e-9) for chain in right()]
        assert proxy.seen == []


def test_a_proxy_is_asked_for_a_tunnel_only(monkeypatch):
    monkeypatch.setattr(Handler, "do_CONNECT", Handler.do_GET, raising=False)
    with running(Records()) as proxy:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        with pytest.raises(ServerError) as caught:
            MedPRM.from_vllm("https://server.invalid", tokenizer=real_tokenizer(), api_key=KEY, retry_for=0.0)
    assert proxy.seen
    assert all(seen.startswith("CONNECT server.invalid:443 ") for seen in proxy.seen)
    assert secrets("".join(proxy.seen) + str(caught.value)) == []


def told(error: BaseException | None) -> str:
    """All that can be read of an error and of what it came from, suppressed or not."""
    shown = ""
    while error is not None:
        shown += repr(error) + str(error) + repr(vars(error)) + "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    return shown


@pytest.mark.parametrize("fault", ["away", "refuses", "no JSON", "times out"])
def test_no_log_of_any_library_and_no_error_has_the_key_or_a_text(fault, caplog):
    class Breaks(StandIn):
        broken = False
        hold = threading.Event()

        def answer(self, request, body):
            if not self.broken:
                return super().answer(request, body)
            if fault == "refuses":
                return request.reply(400, {"error": {"message": f"bad: {json.loads(body)}"}})
            if fault == "no JSON":
                return request.reply_bytes(200, b"{")
            return self.hold.wait(5)

    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio", "medprm_scorer"):
        caplog.set_level(logging.DEBUG, logger=name)
    server = Breaks(api_key=KEY)
    with running(server):
        prm = reach(server, api_key=KEY, timeout=20.0 if fault != "times out" else 2.0)
        rewards_of(prm)
        server.broken = True
        if fault != "away":
            with pytest.raises(ServerError) as caught:
                rewards_of(prm)
            server.hold.set()
    if fault == "away":
        with pytest.raises(ServerError) as caught:
            rewards_of(prm)
    assert caplog.records  # httpx and httpcore do log
    assert secrets(caplog.text) == []
    assert secrets(told(caught.value)) == []


def test_what_holds_the_key_cannot_be_pickled_and_does_not_show_it():
    client = Client("http://127.0.0.1:9", KEY, True, ClientConfig())
    assert KEY not in repr(client)
    with pytest.raises(TypeError):
        pickle.dumps(client)
