"""A proxy between client and server that breaks answers: every result is right or a clear error, and nothing hangs."""

import asyncio
import gzip
import os
import random
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from medprm_scorer.encoding import EncodedChain, EncodedPrompt
from medprm_scorer.errors import InputError, ServerError
from medprm_scorer.vllm import client as client_module
from medprm_scorer.vllm.client import Client, ClientConfig
from medprm_scorer.vllm.endpoints import ENDPOINTS, Endpoint, Labels
from medprm_scorer.vllm.engine import VLLMEngine
from medprm_scorer.vllm.event_loop import BackgroundLoop
from tests.local.test_request_queue import exit_status
from tests.support.vllm_stand_in import (
    FAULTS,
    MINUS,
    MODEL,
    PASSING,
    PLUS,
    TAG,
    FaultProxy,
    StandIn,
    expected,
    running,
)

CONFIG = ClientConfig(timeout=0.5, retry_for=1.5, concurrency=4, first_pause=0.02)
BOUND = 2 * CONFIG.timeout + CONFIG.retry_for  # of one request: a first try, the tries again, one that began in time
ALL_PATHS = tuple(endpoint.path for endpoint in ENDPOINTS)


def engine_at(
    url: str, endpoint: Endpoint = ENDPOINTS[0], config: ClientConfig = CONFIG, loop: BackgroundLoop | None = None
):
    client = Client(url, None, True, config)
    labels = Labels(PLUS, MINUS)
    return VLLMEngine(
        client, loop or BackgroundLoop(), model=MODEL, root="r", max_tokens=8191, endpoint=endpoint, labels=labels
    )


def prompts_of(rng: random.Random, count: int) -> list[EncodedPrompt]:
    prompts = []
    for _ in range(count):
        chains = []
        for _ in range(rng.randint(1, 4)):
            ids: list[int] = []
            tags = []
            for _ in range(rng.randint(1, 4)):
                ids += [rng.randrange(1000) for _ in range(rng.randint(1, 5))] + [TAG]
                tags.append(len(ids) - 1)
            chains.append(EncodedChain(tuple(ids), tuple(tags)))
        chains += rng.sample(chains, rng.randint(0, 1))  # a candidate that was sampled twice
        prompts.append(EncodedPrompt(tuple(rng.randrange(1000) for _ in range(20)), tuple(chains)))
    return prompts


def nearly(rewards):
    return [[[pytest.approx(reward, abs=1e-9) for reward in chain] for chain in prompt] for prompt in rewards]


def one_run(seed: int, upstream: int, loop: BackgroundLoop) -> tuple[str, Counter[str]]:
    """What came of one seeded run, and the faults that befell it."""
    rng = random.Random(seed)
    prompts = prompts_of(rng, rng.randint(1, 5))
    if seed < len(FAULTS):  # each fault befalls at least one run, whatever the timing
        proxy = FaultProxy(upstream, seed, 1.0, (FAULTS[seed],))
    else:
        proxy = FaultProxy(upstream, seed, rng.choice([0.1, 0.3, 0.6]), FAULTS if seed % 2 else PASSING)
    engine = engine_at(proxy.url, ENDPOINTS[seed % len(ENDPOINTS)], loop=loop)
    received: set[bytes | None] = set()
    exchange = engine._client._exchange

    async def noted(*given):
        answer = await exchange(*given)
        received.add(answer[2])
        return answer

    engine._client._exchange = noted
    with running(proxy):
        begun = time.monotonic()
        try:
            rewards = engine.score(prompts) if seed % 3 else asyncio.run(engine.ascore(prompts))
        except ServerError as error:
            outcome = "error"
            message = str(error)
        else:
            outcome, message = "right", "the server"
            assert rewards == nearly(expected(prompts))
            assert not proxy.fatal & received, seed  # what cannot be right was never taken for it
        assert message.startswith("the server")
        assert len(message) < 500
        assert time.monotonic() - begun < 2 * BOUND + 60  # five requests at most, four at once, on a busy machine
        loop.run(engine._client.close())
    assert proxy.most_under_way <= 2 * CONFIG.concurrency  # those that a time-out gave up may still run there
    return outcome, proxy.injected


@pytest.mark.parametrize("runs", [220, pytest.param(500, marks=pytest.mark.slow)])
def test_every_result_is_right_or_a_clear_error_in_many_seeded_runs(runs):
    outcomes: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    loop = BackgroundLoop()
    with running(StandIn(ALL_PATHS)) as server, ThreadPoolExecutor(8) as pool:
        port = server.server_address[1]
        for outcome, faults in pool.map(lambda seed: one_run(seed, port, loop), range(runs)):
            outcomes[outcome] += 1
            injected += faults
    loop.stop()
    assert sum(outcomes.values()) == runs
    assert outcomes["right"] > runs / 4
    assert outcomes["error"] > runs / 10
    assert all(injected[fault] for fault in FAULTS), injected


@pytest.mark.parametrize("seconds", [2.0, pytest.param(20.0, marks=pytest.mark.vllm)])
def test_a_server_that_goes_away_and_returns_ends_no_run(seconds):
    """The time scale of the default run is small; `make test-vllm` has the server away for 20 s."""
    rng = random.Random(3)
    prompts = prompts_of(rng, 40)
    first = StandIn(seconds=0.02)
    port = first.server_address[1]
    engine = engine_at(
        first.url, config=ClientConfig(timeout=5, retry_for=seconds + 60, concurrency=2, first_pause=0.05)
    )
    results: list[object] = []
    worker = threading.Thread(target=lambda: results.append(engine.score(prompts)))
    with running(first):
        worker.start()
        while first.requests["/generative_scoring"] < 8:
            time.sleep(0.005)
    time.sleep(seconds)
    assert not results
    with running(StandIn(port=port)) as second:
        worker.join(timeout=seconds + 120)
        engine.close()
    assert results
    assert results[0] == nearly(expected(prompts))
    assert second.requests["/generative_scoring"] > 20


def test_a_server_that_stays_away_is_a_clear_error_in_time():
    engine = engine_at("http://127.0.0.1:9", config=ClientConfig(timeout=1, retry_for=0.4, first_pause=0.05))
    begun = time.monotonic()
    with pytest.raises(ServerError, match=r"the server at http://127.0.0.1:9 cannot be reached: "):
        engine.score(prompts_of(random.Random(1), 1))
    assert time.monotonic() - begun < 30  # of the 120 that are the default


def test_a_server_that_never_answers_is_given_up_after_its_timeout():
    with running(StandIn(seconds=20)) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=0.2, retry_for=60, first_pause=0.01))
        begun = time.monotonic()
        with pytest.raises(ServerError, match=r"did not answer /generative_scoring within 0.2 s"):
            engine.score(prompts_of(random.Random(1), 1))
        assert time.monotonic() - begun < 30
        assert server.requests["/generative_scoring"] == 3


class Trickle(StandIn):
    """Sends a byte now and then, for ever: each read is quick, and the answer never ends."""

    def answer(self, request, body):
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while True:
            request.wfile.write(b" ")
            request.wfile.flush()
            time.sleep(0.02)


def test_an_answer_that_trickles_in_is_bounded_too():
    with running(Trickle()) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=0.3, retry_for=0, first_pause=0.01))
        with pytest.raises(ServerError, match="did not answer"):
            engine.score(prompts_of(random.Random(1), 1))


class Busy(StandIn):
    """Says 429 with a Retry-After to the first requests."""

    def __init__(self, after: str, times: int = 1) -> None:
        super().__init__()
        self.after, self.times, self.arrivals = after, times, []

    def answer(self, request, body):
        self.arrivals.append(time.monotonic())
        if len(self.arrivals) <= self.times:
            return request.reply(429, {"error": {"message": "too many"}}, {"Retry-After": self.after})
        return super().answer(request, body)


def test_retry_after_is_honoured():
    prompts = prompts_of(random.Random(1), 1)
    with running(Busy("1")) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=5, retry_for=10, first_pause=0.01))
        assert engine.score(prompts) == nearly(expected(prompts))
    assert server.arrivals[1] - server.arrivals[0] >= 1.0


def test_a_retry_after_beyond_patience_is_an_error_at_once():
    with running(Busy("3600")) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=5, retry_for=10, first_pause=0.01))
        begun = time.monotonic()
        with pytest.raises(ServerError, match="with 429: too many"):
            engine.score(prompts_of(random.Random(1), 1))
        assert time.monotonic() - begun < 60


class Sends(StandIn):
    """Answers with given bytes."""

    def __init__(self, raw: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        super().__init__()
        self.sent = raw, headers, status

    def answer(self, request, body):
        raw, headers, status = self.sent
        return request.reply_bytes(status, raw, headers)


BOMB = gzip.compress(b" " * 64 * 2**20)


@pytest.mark.parametrize(
    ("raw", "headers", "status", "message"),
    [
        (BOMB, {"Content-Encoding": "gzip"}, 200, "compressed"),
        (BOMB, {"Content-Encoding": "gzip"}, 400, "with 400: no reason given"),
        (b" " * 2**20, None, 200, "more than"),
        (b"[" * 100_000, None, 200, "not JSON"),
        (b"[" * 100_000, None, 400, "with 400"),
        (b'{"model": 1, "model": 2}', None, 200, "a key occurs twice"),
        (b'{"data": [{"index": 0, "index": 1}]}', None, 200, "a key occurs twice"),
        (b"\xff\xfe\x00", None, 200, "not JSON"),
        (b"[]", None, 200, "not an object"),
        (b"", None, 204, "with 204"),
        (b"", None, 101, "with 101|broke off its answer"),
    ],
    ids=[
        *("bomb", "bomb as a refusal", "large", "deep", "deep refusal", "doubled", "doubled inside", "no UTF-8"),
        *("list", "nothing", "another protocol"),
    ],
)
def test_answers_are_bounded_in_every_way(monkeypatch, raw, headers, status, message):
    """What a hostile server sends is refused, and never unpacked: a bomb would take 64 MiB here."""
    monkeypatch.setattr(client_module, "_LARGEST_ANSWER", 2**19)
    with running(Sends(raw, headers, status)) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=20, retry_for=0, first_pause=0.01))
        tracemalloc.start()
        try:
            with pytest.raises(ServerError, match=message):
                engine.score(prompts_of(random.Random(1), 1))
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_connections_of_its_own():
    prompts = prompts_of(random.Random(1), 3)
    with running(StandIn(seconds=0.3)) as server, ThreadPoolExecutor(1) as pool:
        engine = engine_at(server.url)
        under_way = pool.submit(engine.score, prompts)
        while not server.under_way:
            time.sleep(0.001)
        if (child := os.fork()) == 0:
            os._exit(6 if engine.score(prompts) == nearly(expected(prompts)) else 1)
        assert under_way.result(30) == nearly(expected(prompts))
        assert exit_status(child) == 6


def wait_until_idle(server, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while server.under_way and time.monotonic() < end:
        time.sleep(0.01)
    return not server.under_way


class Watchful(StandIn):
    """Waits for the client to hang up, and counts those that did."""

    hung_up = 0

    def answer(self, request, body):
        request.connection.settimeout(10)
        if request.rfile.read(1) == b"":
            self.hung_up += 1
        request.close_connection = True


def test_cancelling_closes_the_requests_on_the_server():
    async def cancelled(engine):
        task = asyncio.ensure_future(engine.ascore(prompts_of(random.Random(1), 3)))
        while server.under_way < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with running(Watchful()) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=30))
        asyncio.run(cancelled(engine))
        assert wait_until_idle(server)
        assert server.hung_up == 3


def test_a_deadline_ends_a_call_whose_requests_wait_for_each_other():
    """Each request alone would be in time; one at a time, they are not."""
    with running(Watchful()) as server:
        engine = engine_at(server.url, config=ClientConfig(concurrency=1, deadline=0.3))
        with pytest.raises(ServerError, match=r"within its deadline of 0\.3 s"):
            engine.score(prompts_of(random.Random(1), 3))
        assert wait_until_idle(server)
        engine.close()
    with pytest.raises(InputError, match="deadline must be"):
        ClientConfig(deadline=0)


def test_closing_the_engine_tells_those_who_wait():
    """Neither a task that nobody has cancelled, nor a thread, sees a cancellation."""
    prompts = prompts_of(random.Random(1), 1)

    async def closed():
        task = asyncio.ensure_future(engine.ascore(prompts))
        while server.under_way < 2:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.close)
        with pytest.raises(ServerError, match="were closed while it was asked"):
            await asyncio.wait_for(task, 60)

    with running(Watchful()) as server, ThreadPoolExecutor(1) as pool:
        engine = engine_at(server.url, config=ClientConfig(timeout=30))
        waiting = pool.submit(engine.score, prompts)
        asyncio.run(closed())
        with pytest.raises(ServerError, match="were closed while it was asked"):
            waiting.result(60)


class OneBad(Watchful):
    """Refuses one prompt, and keeps the others waiting."""

    def answer(self, request, body):
        if self.requests["/generative_scoring"] == 3:
            return request.reply(400, {"error": {"message": "this one is not liked", "code": 400}})
        return super().answer(request, body)


def test_a_failure_of_one_request_closes_the_others():
    with running(OneBad()) as server:
        engine = engine_at(server.url, config=ClientConfig(timeout=30))
        with pytest.raises(ServerError, match="with 400: this one is not liked"):
            engine.score(prompts_of(random.Random(1), 3))
        assert wait_until_idle(server)
        assert server.hung_up == 2


def test_concurrency_is_bounded_and_used():
    with running(StandIn(seconds=0.05)) as server:
        prompts = prompts_of(random.Random(5), 12)
        assert engine_at(server.url, config=ClientConfig(concurrency=3)).score(prompts) == nearly(expected(prompts))
        assert server.most_under_way == 3


def test_the_event_loop_stays_free_and_loops_may_change():
    async def ticks(engine, prompts):
        task = asyncio.ensure_future(engine.ascore(prompts))
        count = 0
        while not task.done():
            await asyncio.sleep(0.01)
            count += 1
        return count, task.result()

    with running(StandIn(seconds=0.3)) as server:
        engine = engine_at(server.url)
        for seed in range(2):
            prompts = prompts_of(random.Random(seed), 2)
            count, rewards = asyncio.run(ticks(engine, prompts))
            assert count >= 5
            assert rewards == nearly(expected(prompts))
        before = threading.active_count()
        asyncio.run(ticks(engine, prompts_of(random.Random(9), 4)))
        assert threading.active_count() <= before + 4  # the server's own, and none of the client's


def test_many_threads_share_one_engine():
    failures: list[object] = []

    def work(seed: int) -> None:
        prompts = prompts_of(random.Random(seed), 2)
        if engine.score(prompts) != nearly(expected(prompts)):
            failures.append(seed)

    with running(StandIn()) as server:
        engine = engine_at(server.url)
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert failures == []
    assert sum(server.requests.values()) == 32
