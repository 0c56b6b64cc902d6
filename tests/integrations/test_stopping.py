"""Sampling that stops when it knows enough: in every sampler, in threads and in tasks, against a real HTTP server."""

import asyncio
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.policy_server import PolicyServer, Reply
from medprm_integrations.langchain import ChatMedPRM, MedPRMBestOfN, ranking_of
from medprm_integrations.shared import draw_samples
from medprm_scorer import Confident, ScoringError
from tests.support.reading import BAD, GOOD, QUESTION, WORSE, reading_prm
from tests.support.sampler_ways import WAYS, best_of_n, langchain_llm, ranked

SLOW = 60.0
"""Seconds of a call that is never waited for."""


every_way = pytest.mark.parametrize("way", [ranked(way) for way in WAYS], ids=lambda way: way.__name__)
both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch) -> Iterator[None]:
    """No thread that asks a language model is left when the calls it made are over; on a busy machine none is late."""
    monkeypatch.setattr(draw_samples, "_SHORTEST_PATIENCE", 1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    end = time.monotonic() + 30
    while any(thread.name == "medprm" for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "medprm"]


class Jump:
    """A clock that has no time pass until some samples have been seen, and then a thousand seconds at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, samples: int) -> None:
        self._left = samples
        monkeypatch.setattr(draw_samples, "time", SimpleNamespace(monotonic=lambda: 0.0 if self._left > 0 else 1000.0))

    def __call__(self, seen: Any) -> None:
        self._left -= 1


def scripted(*replies: tuple[str, float]) -> Callable[[int, dict[str, Any]], Reply]:
    """The replies in the order of the calls; after them, calls that are never waited for."""

    def reply(number: int, body: dict[str, Any]) -> Reply:
        text, seconds = replies[number] if number < len(replies) else (BAD, SLOW)
        return Reply([text], seconds)

    return reply


@every_way
@both
def test_an_easy_question_is_over_after_one_wave(prm, way, is_async):
    with PolicyServer(scripted(*[(GOOD, 0.0)] * 64)) as server:
        ranking = way(server.url, is_async=is_async, prm=prm, n=64, stop="confident", keep="all")
    assert (ranking.stopped, ranking.answer) == ("confident", "A")
    assert 3 <= ranking.samples_drawn == len(server.seen.bodies) <= 6
    plain = prm.rank(QUESTION, [chain.text for chain in sorted(ranking.chains, key=lambda one: one.index)])
    assert [chain.index for chain in plain.chains] == [chain.index for chain in ranking.chains]


@every_way
@both
def test_agreement_stops_too_and_without_a_rule_all_are_drawn(prm, way, is_async):
    with PolicyServer(scripted(*[(GOOD, 0.0)] * 64)) as server:
        ranking = way(server.url, is_async=is_async, prm=prm, n=64, stop="agree")
        assert (ranking.stopped, ranking.samples_drawn) == ("agree", 3)
        ranking = way(server.url, is_async=is_async, prm=prm, n=5)
        assert (ranking.stopped, ranking.samples_drawn, len(ranking.chains)) == ("all", 5, 5)


@every_way
def test_what_still_runs_is_closed_at_the_server(prm, way, monkeypatch):
    monkeypatch.setattr(draw_samples, "_SHORTEST_PATIENCE", 0.05)  # another is asked for beside one that hangs
    replies = [(GOOD, 0.0), (BAD, SLOW if way.__name__ != "middleware" else 0.0), (BAD, SLOW), *[(GOOD, 0.0)] * 20]
    with PolicyServer(scripted(*replies)) as server:
        ranking = way(server.url, is_async=True, prm=prm, n=64, stop=Confident(0.9), keep="all")
        server.wait_until_idle()
        seen = server.seen
    assert (ranking.stopped, ranking.answer) == ("confident", "A")
    assert seen.closed >= 1  # at least the slow one
    assert len(ranking.chains) <= seen.answered <= ranking.samples_drawn - seen.closed


@every_way
def test_threads_are_not_waited_for(prm, way, monkeypatch):
    monkeypatch.setattr(draw_samples, "_SHORTEST_PATIENCE", 0.05)  # another is asked for beside one that hangs
    slow = 1 if way.__name__ == "middleware" else 0  # the first draw of an agent's turn is waited for
    with PolicyServer(lambda number, body: Reply([GOOD], SLOW if number == slow else 0.0)) as server:
        ranking = way(server.url, is_async=False, prm=prm, n=64, stop="confident", keep="all")
        assert server.seen.now >= 1  # it is still asked, and the answer is there
        assert server.seen.closed == 0
    assert (ranking.stopped, ranking.answer) == ("confident", "A")


@both
def test_the_same_samples_give_the_same_ranking_both_ways_and_as_the_plain_way(prm, is_async):
    texts = [GOOD, BAD, WORSE, GOOD, "Step 1: Who knows [0.4].", " ", GOOD, GOOD, GOOD, GOOD, GOOD, GOOD]
    with PolicyServer(scripted(*[(text, 0.0) for text in texts])) as server:
        ranking = ranked(best_of_n)(
            server.url, is_async=is_async, prm=prm, n=12, stop="confident", max_concurrency=1, keep="all"
        )
    kept = len(ranking.chains)
    assert kept <= ranking.samples_drawn <= kept + 1 < 12  # another may be asked for while the last one is judged
    plain = prm.rank(QUESTION, texts[:kept], ["Label: give 5 mg."])
    changed = {"seconds": 0.0, "stopped": "confident", "samples_drawn": kept}
    assert ranking.model_copy(update=changed) == plain.model_copy(update=changed)


@every_way
@both
def test_a_sample_that_takes_too_long_fails(prm, way, is_async, monkeypatch):
    with PolicyServer(lambda number, body: Reply([GOOD], SLOW if number == 1 else 0.0)) as server:
        jump = Jump(monkeypatch, 2)
        ranking = way(server.url, is_async=is_async, prm=prm, n=3, timeout=500.0, replacements=0, on_sample=jump)
        assert (len(ranking.chains), ranking.stopped, ranking.samples_drawn) == (2, "quorum", 3)


@every_way
@both
def test_where_all_samples_take_too_long_it_is_a_timeout(prm, way, is_async):
    with PolicyServer(lambda number, body: Reply([GOOD], SLOW)) as server:
        with pytest.raises(TimeoutError, match=r"longer than 0\.2 s"):
            way(server.url, is_async=is_async, prm=prm, n=2, timeout=0.2)
        if is_async:
            server.wait_until_idle()
            assert server.seen.closed == len(server.seen.bodies)


@every_way
@both
def test_at_the_deadline_what_is_there_is_ranked(prm, way, is_async, monkeypatch):
    with PolicyServer(lambda number, body: Reply([GOOD], SLOW if number > 1 else 0.0)) as server:
        jump = Jump(monkeypatch, 2)
        ranking = way(server.url, is_async=is_async, prm=prm, n=4, deadline=500.0, on_sample=jump)
        assert (len(ranking.chains), ranking.stopped, ranking.samples_drawn) == (2, "deadline", 4)
        assert server.seen.answered == 2


@every_way
@both
def test_a_deadline_before_any_sample_is_a_timeout(prm, way, is_async):
    with (
        PolicyServer(lambda number, body: Reply([GOOD], SLOW)) as server,
        pytest.raises(TimeoutError, match="the deadline came before any sample"),
    ):
        way(server.url, is_async=is_async, prm=prm, n=2, deadline=0.3)


@every_way
@both
def test_fewer_than_the_quorum_are_an_error(prm, way, is_async):
    with (
        PolicyServer(lambda number, body: Reply([GOOD], status=200 if number in (0, 2) else 500)) as server,
        pytest.raises(ScoringError, match=r"only 2 of the 8 samples that were asked for .* the quorum is 4"),
    ):
        way(server.url, is_async=is_async, prm=prm, n=6, quorum=4)


@every_way
@both
def test_failed_samples_are_replaced_and_a_refusal_is_not_repeated(prm, way, is_async):
    with PolicyServer(lambda number, body: Reply([GOOD], status=500 if number == 2 else 200)) as server:
        ranking = way(server.url, is_async=is_async, prm=prm, n=4)
        assert (len(ranking.chains), ranking.stopped, ranking.samples_drawn) == (4, "all", 5)
    with PolicyServer(lambda number, body: Reply(status=401)) as server:
        with pytest.raises(Exception, match="401"):
            way(server.url, is_async=is_async, prm=prm, n=64, max_concurrency=4)
        assert len(server.seen.bodies) <= 4


@every_way
@both
def test_a_budget_of_tokens_is_kept(prm, way, is_async):
    with PolicyServer(lambda number, body: Reply([GOOD])) as server:  # of 120 tokens each
        ranking = way(server.url, is_async=is_async, prm=prm, n=64, max_tokens_total=620, max_concurrency=2)
    assert (len(ranking.chains), ranking.stopped, ranking.samples_drawn) == (5, "budget", 5)


@every_way
@both
def test_progress_is_told_as_samples_come(prm, way, is_async):
    seen: list[Any] = []
    texts = [GOOD, BAD, GOOD, GOOD]
    with PolicyServer(scripted(*[(text, 0.0) for text in texts])) as server:
        way(server.url, is_async=is_async, prm=prm, n=4, max_concurrency=1, on_sample=seen.append)
    assert [one.number for one in seen] == [0, 1, 2, 3]
    assert [one.reward for one in seen] == [0.9, 0.2, 0.9, 0.9]
    assert [one.answer for one in seen] == ["A", "B", "A", "A"]
    assert {one.leader for one in seen} == {"A"}
    assert seen[-1].probability > seen[0].probability > 0.5
    assert [one.drawn for one in seen] == sorted(one.drawn for one in seen)
    assert seen[-1].drawn == 4
    assert "5 mg" not in repr(seen)


def together(reply: Callable[[dict[str, Any]], str], calls: int) -> Callable[[int, dict[str, Any]], Reply]:
    """The first replies come when so many calls are there at once."""
    full = threading.Event()

    def answer(number: int, body: dict[str, Any]) -> Reply:
        if number == calls - 1:
            full.set()
        return Reply([reply(body)], after=full)

    return answer


def test_a_batch_gives_freed_calls_to_questions_that_still_need_them(prm):
    asked: Counter[str] = Counter()

    def reply(body: dict[str, Any]) -> str:
        question = body["messages"][-1]["content"]
        asked[question] += 1
        if "hard" not in question:
            return GOOD
        return [GOOD.replace("0.9", "0.2"), BAD][asked[question] % 2]  # two answers of the same low reward in turn

    questions = [f"{QUESTION} {'hard' if place % 3 == 1 else 'easy'} {place}" for place in range(6)]
    with PolicyServer(together(reply, 4)) as server:
        best = MedPRMBestOfN(llm=langchain_llm(server.url), prm=prm, n=16, stop="confident", max_concurrency=4)
        messages = asyncio.run(best.abatch([{"question": question} for question in questions]))
        server.wait_until_idle()
    drawn = [ranking_of(message).samples_drawn for message in messages]
    assert server.seen.most == 4
    assert sum(drawn) == len(server.seen.bodies)
    assert max(drawn[0], drawn[2], drawn[3], drawn[5]) <= 6
    assert (drawn[1], drawn[4]) == (16, 16)


def test_one_limit_holds_for_all_calls_of_an_object(prm):
    with PolicyServer(together(lambda body: GOOD, 3)) as server:
        best = MedPRMBestOfN(llm=langchain_llm(server.url), prm=prm, n=4, max_concurrency=3)

        async def ask() -> None:
            await asyncio.gather(*(best.ainvoke({"question": QUESTION}) for _ in range(4)))

        threads = [threading.Thread(target=best.invoke, args=({"question": QUESTION},)) for _ in range(3)]
        for thread in threads:
            thread.start()
        asyncio.run(ask())
        for thread in threads:
            thread.join()
    assert server.seen.most == 3
    assert server.seen.answered == 28


def test_cancelling_the_caller_closes_everything(prm):
    with PolicyServer(lambda number, body: Reply([GOOD], SLOW)) as server:
        best = MedPRMBestOfN(llm=langchain_llm(server.url), prm=prm, n=8, stop="confident")

        async def main() -> None:
            task = asyncio.create_task(best.ainvoke({"question": QUESTION}))
            while server.seen.now < 3:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())
        server.wait_until_idle()
        assert (server.seen.closed, server.seen.answered) == (3, 0)
        assert best.calls_in_flight.take(1, lambda: None)  # nothing counts as running any more


def test_the_metadata_count_what_was_drawn(prm):
    with PolicyServer(lambda number, body: Reply([[GOOD, BAD][number == 1]], 0.02)) as server:
        best = MedPRMBestOfN(llm=langchain_llm(server.url), prm=prm, n=64, stop="confident")
        message = asyncio.run(best.ainvoke({"question": QUESTION}))
        server.wait_until_idle()
    note = message.response_metadata["medprm"]
    assert note["stopped"] == "confident"
    assert note["samples_cancelled"] >= server.seen.closed
    assert note["samples_drawn"] == len(note["chains"]) + note["samples_cancelled"]
    assert note["usage"]["total_tokens"] == 120 * len(note["chains"])
    assert note["sampling_seconds"] > 0


def test_models_that_stop_otherwise_are_other_models_to_a_cache(prm):
    def shown(**settings):
        return repr(ChatMedPRM(llm=langchain_llm("http://127.0.0.1:9/v1"), prm=prm, **settings)._identifying_params)

    ways = [{}, {"stop": "confident"}, {"stop": Confident(0.95)}, {"stop": "agree"}, {"agree": 4}]
    assert len({shown(**settings) for settings in ways}) == len(ways)
    assert shown(stop="confident") == shown(stop=Confident())
