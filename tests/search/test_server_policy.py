"""A server as policy: one that continues is used, one that starts anew is refused, and failures are told."""

import asyncio
from collections.abc import Iterator

import pytest

from medprm_scorer import InputError
from medprm_scorer.errors import PolicyError, ServerError
from medprm_scorer.search import GrowingChain, ServerPolicy, beam_search
from tests.support.continuing_server import WHOLE, ContinuingServer, continuing_server
from tests.support.stub_search import DOCUMENTS, QUESTION, stub_prm

Server = ContinuingServer


@pytest.fixture
def server() -> Iterator[Server]:
    with continuing_server() as made:
        yield made


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
    bodies = [body for body in server.bodies if body.get("temperature")]
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


@pytest.mark.parametrize("min_tokens", ["known", "ignored", "refused"])
@pytest.mark.parametrize("check", [True, False])
def test_min_tokens_is_sent_only_to_a_server_that_knows_it(server, demo, min_tokens, check):
    server.min_tokens = min_tokens
    policy = policy_of(server, "chat", check=check)
    found = beam_search(policy, stub_prm(demo), QUESTION, DOCUMENTS, width=1, expansions=1)
    assert found.best.text == WHOLE
    assert [len(branch.steps) for branch in found.tree.branches] == [1, 1, 1]
    sent = any("min_tokens" in body for body in server.bodies if body.get("temperature"))
    assert sent == (min_tokens == "known" and check)


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
