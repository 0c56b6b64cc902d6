"""`MedPRMReranker` and `MedPRMOutputParser`: kinds of input, chains, batches, schemas, traces, copies."""

import asyncio
import copy
import json
import pickle
import random
import subprocess
import sys

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough
from pydantic import ValidationError

from examples.formulary.chains import Policy, make_chain
from examples.formulary.world import make_question
from medprm_integrations.langchain import MedPRMOutputParser, MedPRMReranker, ranking_of
from medprm_scorer import InputError, ModelError, Ranking, ScoringError
from tests.support.langchain_scripts import BAD, GOOD, QUESTION, SECRET, WORSE, Recorder, ScriptedChat, reading_prm

REQUEST = {"question": QUESTION, "candidates": [BAD, GOOD], "documents": ["Label: give 5 mg."]}


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def reranker(prm):
    return MedPRMReranker(prm=prm)


def test_every_kind_of_input_gives_the_same_ranking(reranker):
    plain = reranker.invoke(REQUEST)
    assert (plain.answer, plain.best.index, plain.documents_used) == ("A", 1, 1)
    question = HumanMessage([{"type": "text", "text": QUESTION}])
    generations = [ChatGeneration(message=AIMessage(BAD)), ChatGeneration(message=AIMessage(GOOD))]
    for request in (
        {**REQUEST, "question": question},
        {**REQUEST, "question": [SystemMessage("Be brief."), question, AIMessage("Hm.")]},
        {**REQUEST, "question": ChatPromptTemplate.from_messages([question]).invoke({})},
        {**REQUEST, "candidates": [AIMessage(BAD), GOOD]},
        {**REQUEST, "candidates": (Generation(text=BAD), Document(GOOD))},
        {**REQUEST, "candidates": [BAD.split("\n"), GOOD.split("\n")]},
        {**REQUEST, "candidates": generations},
        {**REQUEST, "candidates": ChatResult(generations=generations)},
        {**REQUEST, "candidates": LLMResult(generations=[generations])},
        {**REQUEST, "documents": [Document("Label: give 5 mg.", metadata={"source": "x"})]},
    ):
        same = {"exclude": {"seconds": True, "best": {"split_by"}, "chains": {"__all__": {"split_by"}}}}
        assert reranker.invoke(request).model_dump(**same) == plain.model_dump(**same)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("a text", "must be a dict"),
        ({"question": QUESTION}, r"the key 'candidates' is missing \(there is 'question'\)"),
        ({"query": SECRET, SECRET: ""}, r"the keys 'question' and 'candidates' are missing \(there is 'query'\)"),
        ({SECRET: ""}, "none that is a name"),
        ({**REQUEST, "question": 5}, "question"),
        ({**REQUEST, "question": " "}, "question"),
        ({**REQUEST, "question": [AIMessage(SECRET)]}, "no question"),
        ({**REQUEST, "candidates": GOOD}, "candidates"),
        ({**REQUEST, "candidates": []}, "no candidates"),
        ({**REQUEST, "candidates": [GOOD, {"text": SECRET}]}, "candidate 1"),
        ({**REQUEST, "candidates": LLMResult(generations=[[], []])}, "2 prompts"),
        ({**REQUEST, "documents": "one text"}, "documents"),
        ({**REQUEST, "documents": ["ok", {"text": SECRET}]}, "document 1"),
    ],
)
def test_bad_input_is_named_by_its_place(reranker, bad, message):
    with pytest.raises(InputError, match=message) as caught:
        reranker.invoke(bad)
    assert SECRET not in str(caught.value)


def test_what_cannot_be_scored_cannot_win(reranker):
    ranking = reranker.invoke({**REQUEST, "candidates": [" ", AIMessage(""), BAD]})
    assert ranking.best.index == 2
    with pytest.raises(ScoringError, match="candidate 0"):
        reranker.invoke({**REQUEST, "candidates": [" "]})


def test_a_batch_is_one_call_of_the_model(reranker, prm):
    requests = [{**REQUEST, "candidates": [BAD, GOOD][:: 1 if n % 2 else -1]} for n in range(32)]
    rankings = reranker.batch(requests)
    assert [len(call) for call in prm.engine.calls] == [32]
    assert [ranking.best.index for ranking in rankings] == [n % 2 for n in range(32)]
    assert [r.best.index for r in asyncio.run(reranker.abatch(requests))] == [n % 2 for n in range(32)]
    assert [len(call) for call in prm.engine.calls] == [32, 32]
    assert reranker.batch([]) == []


def test_a_bad_request_does_not_end_the_batch(reranker, prm):
    requests = [REQUEST, {"question": QUESTION}, {**REQUEST, "candidates": [" "]}, REQUEST]
    results = reranker.batch(requests, return_exceptions=True)
    assert [type(result) for result in results][::3] == [Ranking, Ranking]
    assert isinstance(results[1], InputError)
    assert isinstance(results[2], ScoringError)
    assert [len(call) for call in prm.engine.calls] == [2]
    with pytest.raises(InputError):
        reranker.batch(requests)


def test_it_composes(reranker):
    sampled = RunnableLambda(lambda _: [AIMessage(BAD), AIMessage(GOOD)])
    retriever = RunnableLambda(lambda question: [Document("Label: give 5 mg.")])
    chain = (
        {"question": RunnablePassthrough(), "candidates": sampled, "documents": retriever}
        | RunnablePassthrough.assign(ranking=reranker)
        | (lambda given: given["candidates"][given["ranking"].best.index].text)
    )
    assert chain.invoke(QUESTION) == GOOD
    assert chain.batch([QUESTION] * 3) == [GOOD] * 3
    assert "".join(chain.stream(QUESTION)) == GOOD
    both = RunnableParallel(vote=reranker, best=reranker.with_config(run_name="best")).invoke(REQUEST)
    assert both["vote"].answer == both["best"].answer == "A"
    assert asyncio.run(chain.ainvoke(QUESTION)) == GOOD


def test_fields_can_be_configured(reranker):
    flexible = reranker.configurable_fields(
        top_n=ConfigurableField(id="top_n"), strategy=ConfigurableField(id="strategy")
    )
    request = {**REQUEST, "candidates": [BAD, WORSE, GOOD.replace("0.9", "0.4")]}
    config = {"configurable": {"top_n": 1, "strategy": "majority_vote"}}
    assert flexible.invoke(request).answer == "A"
    ranking = flexible.with_config(config).invoke(request)
    assert (ranking.answer, len(ranking.chains), len(ranking.votes)) == ("B", 1, 2)
    assert [len(one.chains) for one in flexible.batch([request] * 2, config)] == [1, 1]


@pytest.mark.parametrize("bad", [{"strategy": "best"}, {"aggregate": "median"}, {"top_n": 0}])
def test_settings_are_checked(prm, bad):
    with pytest.raises(ValidationError):
        MedPRMReranker(prm=prm, **bad)


def test_schemas(reranker):
    given = reranker.get_input_jsonschema()
    given = given["$defs"][given["$ref"].rsplit("/", 1)[-1]] if "$ref" in given else given
    assert set(given["properties"]) == {"question", "candidates", "documents"}
    assert set(given["required"]) == {"question", "candidates"}
    assert "best" in reranker.get_output_jsonschema()["properties"]


def test_traces_have_names_and_parents_and_no_text(reranker):
    recorder = Recorder()
    chain = RunnablePassthrough() | reranker
    chain.invoke(REQUEST, {"callbacks": [recorder]})
    (whole,) = recorder.named("RunnableSequence")
    assert {run["name"] for run in recorder.below(whole)} == {"RunnablePassthrough", "MedPRMReranker"}
    reranker.with_config(run_name="mine").batch([REQUEST] * 3, {"callbacks": [recorder]})
    assert len(recorder.named("mine")) == 3
    assert {run["end"] for run in recorder.runs.values()} == {"end"}
    reranker.batch([REQUEST, 5], {"callbacks": [recorder]}, return_exceptions=True)
    assert [recorder.runs[run]["end"] for run in recorder.named("MedPRMReranker")][1:] == ["end", "error"]
    assert "5 mg" not in repr(reranker)


def test_settings_are_data_and_copies_share_the_model(reranker, prm):
    settings = {"strategy": "weighted_vote", "aggregate": "min", "top_n": None}
    assert settings.items() <= json.loads(reranker.model_dump_json()).items()
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(reranker)
    for again in (copy.copy(reranker), copy.deepcopy(reranker)):
        assert again.prm is prm
        assert again.invoke(REQUEST).answer == "A"


def test_many_tasks_at_once(reranker):
    async def main():
        return await asyncio.gather(*(reranker.ainvoke(REQUEST) for _ in range(16)))

    assert {ranking.answer for ranking in asyncio.run(main())} == {"A"}


def test_with_the_demo_model_right_chains_beat_wrong_ones(demo):
    rng = random.Random(5)
    requests, answers = [], []
    while len(requests) < 24:
        question = make_question(rng)
        good, bad = make_chain(question, rng, Policy(rate=0.0)), make_chain(question, rng, Policy(rate=0.6))
        if good.answer == question.answer != bad.answer:
            messages = [AIMessage(bad.text), AIMessage(good.text)]
            documents = [Document(text) for text in question.documents]
            requests.append({"question": question.text, "candidates": messages, "documents": documents})
            answers.append(question.answer)
    rankings = MedPRMReranker(prm=demo, strategy="best_of_n").batch(requests)
    right = sum(ranking.answer == answer for ranking, answer in zip(rankings, answers, strict=True))
    assert right >= 18  # 12 by chance


# --- the output parser ---


def test_the_parser_sees_all_generations(prm):
    llm = ScriptedChat(answers=[BAD, GOOD])
    result = llm.generate([[HumanMessage(QUESTION)]] * 2)
    generations = [generation for prompt in result.generations for generation in prompt]
    parser = MedPRMOutputParser(prm=prm).about(HumanMessage(QUESTION), [Document("Label: give 5 mg.")])
    message = parser.parse_result(generations)
    assert (message.text, ranking_of(message).documents_used) == (GOOD, 1)
    assert asyncio.run(parser.aparse_result(generations)).text == GOOD
    assert QUESTION.split("\n")[0] in prm.engine.calls[0][0]
    assert "mg" not in repr(parser)


def test_the_parser_in_a_chain_and_without_a_question(prm):
    parser = MedPRMOutputParser(prm=prm)
    chain = ScriptedChat(answers=[GOOD]) | parser
    assert chain.invoke(QUESTION).text == GOOD
    assert parser.parse_result([Generation(text=BAD), Generation(text=GOOD)]).text == GOOD
    assert parser.invoke(GOOD).text == GOOD
    assert parser.get_output_jsonschema()
    with pytest.raises(InputError, match="no candidates"):
        parser.parse_result([])


def test_without_langchain_core_the_command_that_installs_it_is_named():
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == sys.argv[1]: raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import medprm_integrations.langchain as integration\n"
        "getattr(integration, sys.argv[2])"
    )

    def run(*arguments):
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    done = run("langchain_core", "MedPRMReranker")
    assert 'MedPRMReranker needs langchain_core: pip install "medprm[langchain]", or ".[langchain]" in' in done.stderr
    done = run("langchain", "MedPRMMiddleware")
    assert "MedPRMMiddleware needs langchain: pip install langchain" in done.stderr
    assert run("langchain", "ChatMedPRM").returncode == 0
    assert run("langgraph", "MedPRMBestOfN").returncode == 0
