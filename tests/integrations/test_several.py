"""Several samples from one call, in every sampler: real clients, an HTTP server that gives n choices or does not."""

import asyncio
import json

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from pydantic import BaseModel

from benchmarks.policy_server import PolicyServer, Reply
from medprm_integrations.langchain import ChatMedPRM, MedPRMBestOfN, MedPRMMiddleware, ranking_of
from medprm_integrations.llama_index import MedPRMLLM, MedPRMSynthesizer
from medprm_integrations.llama_index.several import choices_of
from tests.support.llama_index_scripts import Fixed, document
from tests.support.reading import BAD, GOOD, QUESTION, reading_prm
from tests.support.sampler_ways import (
    WAYS,
    best_of_n,
    langchain_llm,
    llama_index_llm,
    middleware,
    ranking_in,
    usage_in,
)

both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
PROMPT, CHOICE = 100, 20  # tokens, as the server counts

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


JSON = [json.dumps({"reasoning": text, "answer": letter}) for text, letter in ((GOOD, "A"), (BAD, "B"))]


def texts(count):
    return [GOOD, BAD, *[GOOD] * count][:count]


def all_choices(number, body):
    return Reply(texts(body.get("n") or 1))


def asked(server):
    return [body.get("n") or 1 for body in server.seen.bodies]


def answer(way, server, is_async, **settings):
    given = {"prm": reading_prm(), "several_per_call": True, "keep": "all", **settings}
    return way(server.url, is_async=is_async, **given)


def run(model, value, is_async, config=None):
    return asyncio.run(model.ainvoke(value, config)) if is_async else model.invoke(value, config)


def waves(way, *sizes):
    """What is asked for; the first draw of an agent's turn may be a call of tools, and is made alone."""
    return [1, sizes[0] - 1, *sizes[1:]] if way is middleware else list(sizes)


@every_way
@both
def test_a_wave_is_one_request_and_its_prompt_is_billed_once(way, is_async):
    with PolicyServer(all_choices) as server:
        found = answer(way, server, is_async, n=5)
    assert asked(server) == waves(way, 5)
    ranking = ranking_in(found)
    assert (ranking.samples_drawn, len(ranking.chains), ranking.answer) == (5, 5, "A")
    # an agent's first draw is GOOD, too
    assert sorted(chain.text for chain in ranking.chains) == sorted([*texts(4), GOOD])
    used = usage_in(found)
    assert (used["input_tokens"], used["output_tokens"]) == (len(asked(server)) * PROMPT, 5 * CHOICE)


@every_way
@both
def test_it_is_off_unless_asked_for(way, is_async):
    with PolicyServer(all_choices) as server:
        found = answer(way, server, is_async, n=5, several_per_call=False)
    assert asked(server) == [1] * 5
    assert usage_in(found)["input_tokens"] == 5 * PROMPT


@every_way
@both
def test_what_is_missing_is_asked_for_one_by_one(way, is_async):
    with PolicyServer(lambda number, body: Reply(texts(2 if body.get("n") else 1))) as server:
        found = answer(way, server, is_async, n=6)
    assert asked(server) == waves(way, 6) + [1] * (3 if way is middleware else 4)
    assert len(ranking_in(found).chains) == 6
    used = usage_in(found)
    assert (used["input_tokens"], used["output_tokens"]) == (len(asked(server)) * PROMPT, 6 * CHOICE)


@every_way
@both
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_refuses_n_is_asked_one_by_one_and_only_refuses_once(way, is_async, status):
    def reply(number, body):
        return Reply(status=status) if (body.get("n") or 1) > 1 else Reply([GOOD])

    with PolicyServer(reply) as server:
        found = answer(way, server, is_async, n=6, max_concurrency=3)
    assert sorted(asked(server)) == [*[1] * 6, 3]
    assert server.seen.most <= 3
    assert ranking_in(found).samples_drawn == 6


@every_way
@both
def test_no_more_choices_are_asked_for_than_calls_may_run(way, is_async):
    with PolicyServer(all_choices) as server:
        found = answer(way, server, is_async, n=7, max_concurrency=4)
    assert max(asked(server)) == 4
    assert sum(asked(server)) == 7
    assert usage_in(found)["input_tokens"] == len(server.seen.bodies) * PROMPT


@every_way
@both
def test_a_server_that_gives_too_many_is_not_drawn_from_beyond_n(way, is_async):
    with PolicyServer(lambda number, body: Reply([GOOD] * 9)) as server:
        found = answer(way, server, is_async, n=4)
    assert len(ranking_in(found).chains) == 4


@every_way
@both
@pytest.mark.parametrize("stop", ["agree", "confident"])
def test_the_waves_of_a_rule_are_one_request_each(way, is_async, stop):
    with PolicyServer(lambda number, body: Reply([GOOD] * (body.get("n") or 1))) as server:
        found = answer(way, server, is_async, n=64, stop=stop)
    ranking = ranking_in(found)
    assert ranking.stopped == stop
    assert 3 <= sum(asked(server)) == ranking.samples_drawn <= 6
    assert len(asked(server)) == (2 if way is middleware else 1)
    assert usage_in(found)["output_tokens"] == ranking.samples_drawn * CHOICE


@every_way
@both
def test_a_rule_that_is_not_satisfied_asks_for_another_wave(way, is_async):
    other = GOOD.replace("(A)", "(B)")

    def reply(number, body):
        return Reply((([GOOD, other] if number < 2 else [GOOD]) * 32)[: body.get("n") or 1])

    with PolicyServer(reply) as server:
        ranking = ranking_in(answer(way, server, is_async, n=32, stop="confident"))
    assert len(ranking.chains) <= sum(asked(server)) <= ranking.samples_drawn <= 32
    assert len(asked(server)) > 2
    assert max(asked(server)) > 1


@every_way
@both
def test_the_choices_are_judged_as_if_they_had_come_alone(way, is_async):
    with PolicyServer(all_choices) as server:
        together = ranking_in(answer(way, server, is_async, n=5))
    alone = reading_prm().rank(QUESTION, [c.text for c in sorted(together.chains, key=lambda c: c.index)])
    assert [(chain.index, chain.step_rewards) for chain in together.chains] == [
        (chain.index, chain.step_rewards) for chain in alone.chains
    ]


@pytest.mark.parametrize("way", [way for way in WAYS if way is not middleware], ids=lambda way: way.__name__)
def test_a_call_that_nobody_waits_for_is_closed_once(way):
    with PolicyServer(lambda number, body: Reply([GOOD] * 4, seconds=60)) as server:
        with pytest.raises(TimeoutError):
            answer(way, server, True, n=4, timeout=1.0)
        server.wait_until_idle()
        assert server.seen.closed == len(asked(server)) <= 1  # a busy machine may not even have asked


@both
def test_the_texts_of_losing_choices_are_nowhere_in_the_answer(is_async):
    with PolicyServer(all_choices) as server:
        for way in WAYS:
            found = answer(way, server, is_async, n=5, keep="winner")
            assert ranking_in(found).answer == "A"
            assert BAD not in found.model_dump_json() if isinstance(found, BaseModel) else BAD not in repr(vars(found))


# --- LangChain ---


@both
@pytest.mark.parametrize(
    "wrap",
    [
        lambda llm: llm.bind(stop=["END"]).with_config(tags=["mine"]),
        lambda llm: llm.with_retry().bind(stop=["END"]),
        lambda llm: llm.bind(stop=["END"]).with_fallbacks([llm]),
    ],
    ids=["bound", "retried", "with fallbacks"],
)
@pytest.mark.parametrize("kind", [MedPRMBestOfN, ChatMedPRM])
def test_what_is_wrapped_around_a_model_stays(is_async, wrap, kind):
    with PolicyServer(all_choices) as server:
        made = kind(llm=wrap(langchain_llm(server.url)), prm=reading_prm(), n=5, several_per_call=True)
        message = run(made, {"question": QUESTION} if kind is MedPRMBestOfN else QUESTION, is_async)
    assert asked(server) == [5]
    assert [body.get("stop") for body in server.seen.bodies] == [["END"]]
    assert message.usage_metadata["total_tokens"] == PROMPT + 5 * CHOICE
    assert "total_cost" not in message.usage_metadata


@both
def test_a_model_that_falls_back_is_asked_one_by_one(is_async):
    with PolicyServer(lambda number, body: Reply(status=503)) as broken, PolicyServer(all_choices) as server:
        made = langchain_llm(broken.url).with_fallbacks([langchain_llm(server.url)])
        chat = ChatMedPRM(llm=made, prm=reading_prm(), n=4, several_per_call=True)
        assert ranking_of(run(chat, QUESTION, is_async)).samples_drawn == 4
    assert sum(asked(server)) >= 4


@pytest.mark.parametrize("way", WAYS[:3], ids=lambda way: way.__name__)
@both
def test_callbacks_see_the_tokens_once(way, is_async):
    seen = UsageMetadataCallbackHandler()
    with PolicyServer(all_choices) as server:
        model, settings = langchain_llm(server.url), {"prm": reading_prm(), "n": 5, "several_per_call": True}
        config = {"callbacks": [seen]}
        if way is best_of_n:
            run(MedPRMBestOfN(llm=model, **settings), {"question": QUESTION}, is_async, config)
        elif way is middleware:
            agent = create_agent(model, [], middleware=[MedPRMMiddleware(**settings)])
            run(agent, {"messages": [("human", QUESTION)]}, is_async, config)
        else:
            run(ChatMedPRM(llm=model, **settings), QUESTION, is_async, config)
    (used,) = seen.usage_metadata.values()
    assert (used["input_tokens"], used["output_tokens"]) == (len(asked(server)) * PROMPT, 5 * CHOICE)


@both
def test_a_prompt_of_the_users_own_is_sent_once(is_async):
    prompt = ChatPromptTemplate.from_messages([("human", "Mine: {question} {documents}")])
    with PolicyServer(all_choices) as server:
        best = MedPRMBestOfN(
            llm=langchain_llm(server.url), prm=reading_prm(), n=3, several_per_call=True, prompt=prompt
        )
        run(best, {"question": QUESTION, "documents": ["Label: give 5 mg."]}, is_async)
    assert asked(server) == [3]
    assert server.seen.bodies[0]["messages"][0]["content"].startswith("Mine: ")


@both
def test_structured_answers_come_together_and_an_invalid_one_fails_alone(is_async):
    def reply(number, body):
        return Reply(["no JSON", JSON[1], *[JSON[0]] * 9][: body["n"]] if body.get("n") else [JSON[0]])

    with PolicyServer(reply) as server:
        settings = {"prm": reading_prm(), "n": 5, "several_per_call": True, "replacements": 0}
        chat = ChatMedPRM(llm=langchain_llm(server.url), **settings)
        structured = chat.with_structured_output(Answer, method="json_mode")
        assert run(structured, QUESTION, is_async).answer == "A"
        assert asked(server) == [5]
        agent = create_agent(
            langchain_llm(server.url),
            [],
            middleware=[MedPRMMiddleware(**settings)],
            response_format=ProviderStrategy(Answer),
        )
        state = run(agent, {"messages": [("human", QUESTION)]}, is_async)
    assert asked(server) == [5, 1, 4]
    assert state["structured_response"].answer == "A"
    assert len(ranking_of(state["messages"][-1]).chains) == 4


# --- LlamaIndex ---


@both
def test_a_text_model_gives_several_too(is_async):
    with PolicyServer(all_choices) as server:
        model = MedPRMLLM(llm=llama_index_llm(server.url), prm=reading_prm(), n=5, several_per_call=True, keep="all")
        found = asyncio.run(model.acomplete(QUESTION)) if is_async else model.complete(QUESTION)
    assert asked(server) == [5]
    assert sorted(chain.text for chain in ranking_in(found).chains) == sorted(texts(5))
    assert usage_in(found)["total_tokens"] == PROMPT + 5 * CHOICE


@both
def test_a_model_that_knows_no_n_is_asked_one_by_one(is_async):
    llm = MockLLM(max_tokens=3)
    model = MedPRMLLM(llm=llm, prm=reading_prm(), n=3, several_per_call=True)
    asked = [ChatMessage(QUESTION)]
    found = asyncio.run(model.achat(asked)) if is_async else model.chat(asked)
    assert len(ranking_in(found).chains) == 3


@both
def test_objects_and_documents_beyond_the_window_are_asked_for_one_by_one(is_async):
    with PolicyServer(lambda number, body: Reply([JSON[0]] * (body.get("n") or 1))) as server:
        for settings in ({"output_cls": Answer}, {}):
            llm = llama_index_llm(server.url, context_window=300, max_tokens=50)
            made = MedPRMSynthesizer(prm=reading_prm(), llm=llm, n=2, several_per_call=True, **settings)
            nodes = [document("Label: give 5 mg. " * (1 if settings else 60))]
            found = asyncio.run(made.asynthesize(QUESTION, nodes)) if is_async else made.synthesize(QUESTION, nodes)
            assert len(ranking_in(found).chains) == 2
    assert set(asked(server)) == {1}


def test_a_query_engine_counts_the_tokens_once():
    counter = TokenCountingHandler(tokenizer=str.split)
    with PolicyServer(all_choices) as server:
        llm = llama_index_llm(server.url, callback_manager=CallbackManager([counter]))
        made = MedPRMSynthesizer(prm=reading_prm(), llm=llm, n=5, several_per_call=True)
        engine = RetrieverQueryEngine(Fixed(nodes=[document("Label: give 5 mg.")]), response_synthesizer=made)
        engine.query(QUESTION)
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (PROMPT, 5 * CHOICE)


def test_choices_that_call_tools_and_empty_ones():
    call = {"id": "1", "type": "function", "function": {"name": "weigh", "arguments": "{}"}}
    choices = [{"message": {"content": GOOD}}, {"message": {"content": None, "tool_calls": [call]}}, {"message": {}}]
    raw = {"choices": choices, "usage": {"prompt_tokens": 3}}
    said = ChatMessage(content=GOOD, role="assistant")
    found = choices_of(ChatResponse(message=said, raw=raw, additional_kwargs={"prompt_tokens": 3, "id": "x"}))
    assert [one.message.content or "" for one in found] == [GOOD, "", ""]
    assert [one.message.additional_kwargs for one in found] == [{}, {"tool_calls": [call]}, {}]
    assert [one.additional_kwargs for one in found] == [{"prompt_tokens": 3, "id": "x"}, {"id": "x"}, {"id": "x"}]
    assert [one.raw["choices"] for one in found] == [[choice] for choice in choices]
    assert [one.raw.get("usage") for one in found] == [{"prompt_tokens": 3}, None, None]
    assert choices_of(ChatResponse(message=said, raw={"choices": []})) == [
        ChatResponse(message=said, raw={"choices": []})
    ]
    assert len(choices_of(ChatResponse(message=said))) == 1
