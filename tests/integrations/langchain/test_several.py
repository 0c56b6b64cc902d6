"""Several samples from one call: a real client against an HTTP server that answers with n choices, or does not."""

import asyncio
import warnings

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from benchmarks.policy_server import PolicyServer, Reply
from medprm_integrations.langchain import MedPRMBestOfN, ranking_of
from tests.support.reading import BAD, GOOD, QUESTION, reading_prm

both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
PROMPT, CHOICE = 100, 20  # tokens, as the server counts


def texts(count):
    return [GOOD, BAD, *[GOOD] * count][:count]


def asked(server):
    return [body.get("n") or 1 for body in server.seen.bodies]


def answer(server, is_async, *, bind=False, **settings):
    llm = ChatOpenAI(base_url=server.url, api_key="none", model="policy", temperature=1, max_retries=0)
    bound = llm.bind(stop=["END"]).with_config(tags=["mine"]) if bind else llm
    best = MedPRMBestOfN(llm=bound, prm=reading_prm(), **{"several_per_call": True, "keep": "all", **settings})
    given = {"question": QUESTION, "documents": ["Label: give 5 mg."]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(best.ainvoke(given)) if is_async else best.invoke(given)


@both
@pytest.mark.parametrize("bind", [False, True], ids=["model", "bound"])
def test_a_wave_is_one_request_and_its_prompt_is_billed_once(is_async, bind):
    with PolicyServer(lambda number, body: Reply(texts(body["n"]))) as server:
        message = answer(server, is_async, bind=bind, n=5)
    assert asked(server) == [5]
    assert [body.get("stop") for body in server.seen.bodies] == [["END"] if bind else None]
    assert sorted(chain.text for chain in ranking_of(message).chains) == sorted(texts(5))
    used = message.usage_metadata
    assert (used["input_tokens"], used["output_tokens"]) == (PROMPT, 5 * CHOICE)


@both
def test_it_is_off_unless_asked_for(is_async):
    with PolicyServer(lambda number, body: Reply([GOOD])) as server:
        message = answer(server, is_async, n=5, several_per_call=False)
    assert asked(server) == [1] * 5
    assert message.usage_metadata["input_tokens"] == 5 * PROMPT


@both
def test_what_is_missing_is_asked_for_one_by_one(is_async):
    with PolicyServer(lambda number, body: Reply(texts(2 if number == 0 else 1))) as server:
        message = answer(server, is_async, n=5)
    assert asked(server) == [5, 1, 1, 1]
    assert len(ranking_of(message).chains) == 5
    assert message.usage_metadata["input_tokens"] == 4 * PROMPT
    assert message.usage_metadata["output_tokens"] == 5 * CHOICE


@both
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_refuses_n_is_asked_one_by_one_and_only_refuses_once(is_async, status):
    def reply(number, body):
        return Reply(status=status) if (body.get("n") or 1) > 1 else Reply([GOOD])

    with PolicyServer(reply) as server:
        message = answer(server, is_async, n=6, max_concurrency=3)
    assert asked(server) == [3, *[1] * 6]
    assert server.seen.most <= 3
    assert ranking_of(message).samples_drawn == 6


@both
def test_no_more_choices_are_asked_for_than_calls_may_run(is_async):
    with PolicyServer(lambda number, body: Reply(texts(body.get("n") or 1))) as server:
        message = answer(server, is_async, n=7, max_concurrency=4)
    assert max(asked(server)) == 4
    assert sum(asked(server)) == 7
    assert message.usage_metadata["input_tokens"] == len(server.seen.bodies) * PROMPT


@both
def test_the_first_wave_of_a_rule_is_one_request(is_async):
    with PolicyServer(lambda number, body: Reply([GOOD] * (body.get("n") or 1))) as server:
        message = answer(server, is_async, n=64, stop="agree")
    assert asked(server) == [3]
    assert ranking_of(message).stopped == "agree"


def test_a_call_that_nobody_waits_for_is_closed_once():
    with PolicyServer(lambda number, body: Reply(texts(body["n"]), seconds=60)) as server:
        with pytest.raises(TimeoutError):
            answer(server, True, n=4, timeout=0.5)
        server.wait_until_idle()
        assert (asked(server), server.seen.closed) == ([4], 1)


@both
def test_a_prompt_of_the_users_own_is_sent_once(is_async):
    prompt = ChatPromptTemplate.from_messages([("human", "Mine: {question} {documents}")])
    with PolicyServer(lambda number, body: Reply(texts(body["n"]))) as server:
        answer(server, is_async, n=3, prompt=prompt)
    assert asked(server) == [3]
    assert server.seen.bodies[0]["messages"][0]["content"].startswith("Mine: ")
