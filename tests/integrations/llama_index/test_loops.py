"""Event loops and threads: notebooks, loops within loops, cancellation, many queries on one model, and imports."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.async_utils import asyncio_run
from llama_index.core.llms import ChatMessage
from llama_index.core.query_engine import RetrieverQueryEngine

from medprm_integrations.llama_index import MedPRMEvaluator, MedPRMLLM, MedPRMRerank, MedPRMSynthesizer, ranking_of
from tests.support.llama_index_scripts import BAD, GOOD, QUESTION, WORSE, Fixed, ScriptedLLM, document, reading_prm
from tests.support.paths import ROOT

LABEL = "Label: give 5 mg."


@pytest.fixture
def prm():
    return reading_prm()


def engine(prm, *answers, n=3, delay=0.0):
    llm = ScriptedLLM(answers=answers or (BAD, GOOD, WORSE), delay=delay)
    synthesizer = MedPRMSynthesizer(prm=prm, llm=llm, n=n)
    return RetrieverQueryEngine(Fixed([document(LABEL)]), response_synthesizer=synthesizer)


def test_sync_calls_within_a_running_loop(prm):
    """As in a notebook, where a loop runs all the time."""
    llm = ScriptedLLM(answers=[BAD, GOOD, WORSE])

    async def cell():
        assert str(engine(prm).query(QUESTION)) == GOOD
        assert MedPRMLLM(llm=llm, prm=prm, n=3).chat([ChatMessage(QUESTION)]).message.content == GOOD
        rerank = MedPRMRerank(prm=prm, llm=llm, n=3)
        assert rerank.postprocess_nodes([document(LABEL)], query_str=QUESTION)[0].text.endswith(GOOD)
        return MedPRMEvaluator(prm=prm).evaluate(QUESTION, GOOD).score

    assert asyncio.run(cell()) == pytest.approx(0.9)


def test_async_calls_by_asyncio_run_within_a_running_loop(prm):
    """LlamaIndex's own way out of a loop: a thread with another loop; and then again in the first one."""
    one = engine(prm)

    async def cell():
        inner = asyncio_run(one.aquery(QUESTION))
        return str(inner), str(await one.aquery(QUESTION))

    assert asyncio.run(cell()) == (GOOD, GOOD)


NOTEBOOK = """
import asyncio, sys
import nest_asyncio
nest_asyncio.apply()
sys.path.insert(0, ".")
from tests.integrations.llama_index.test_loops import *

prm, llm = reading_prm(), ScriptedLLM(answers=[BAD, GOOD, WORSE], delay=0.01)
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)

async def cell():
    one = loop.run_until_complete(engine(prm, delay=0.01).aquery(QUESTION))
    two = asyncio.run(MedPRMLLM(llm=llm, prm=prm, n=3).achat([ChatMessage(QUESTION)]))
    rerank = MedPRMRerank(prm=prm, llm=llm, n=3)
    three = loop.run_until_complete(rerank.apostprocess_nodes([document(LABEL)], query_str=QUESTION))
    four = MedPRMEvaluator(prm=prm).evaluate(QUESTION, GOOD)
    assert (str(one), two.message.content, ranking_of(three[0]).best.text, four.passing) == (GOOD, GOOD, GOOD, True)
    print("nested")

loop.run_until_complete(cell())
"""


def test_nested_loops_of_nest_asyncio():
    """In a process of its own, since it changes asyncio for good."""
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "nested", done.stderr


@pytest.mark.parametrize("what", ["synthesizer", "rerank", "llm", "stream"])
def test_cancellation_leaves_nothing_running(prm, what):
    llm = ScriptedLLM(answers=[GOOD], delay=30)
    wrapped = MedPRMLLM(llm=llm, prm=prm, n=4, max_concurrency=3)

    async def stream():
        return [piece async for piece in await wrapped.astream_chat([ChatMessage(QUESTION)])]

    async def main():
        asked = {
            "synthesizer": lambda: MedPRMSynthesizer(prm=prm, llm=llm, n=4, max_concurrency=3).asynthesize(
                QUESTION, [document(LABEL)]
            ),
            "rerank": lambda: MedPRMRerank(prm=prm, llm=llm, n=4, max_concurrency=3).apostprocess_nodes(
                [document(LABEL)], query_str=QUESTION
            ),
            "llm": lambda: wrapped.achat([ChatMessage(QUESTION)]),
            "stream": stream,
        }
        task = asyncio.ensure_future(asked[what]())
        while len(llm.asked) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    before = threading.active_count()
    assert asyncio.run(main()) == set()
    assert (len(llm.asked), llm.ended) == (3, 3)  # the fourth was never begun
    assert threading.active_count() <= before + 1
    assert prm.engine.calls == []


def test_closing_a_stream_early_asks_nothing(prm):
    llm = ScriptedLLM(answers=[GOOD])

    async def main():
        stream = await MedPRMLLM(llm=llm, prm=prm, n=2).astream_chat([ChatMessage(QUESTION)])
        await stream.aclose()

    asyncio.run(main())
    MedPRMLLM(llm=llm, prm=prm, n=2).stream_chat([ChatMessage(QUESTION)]).close()
    assert llm.asked == []


def queries(count):
    return [f"Question {place}: which dose?\n\n(A) {place} mg\n(B) 90 mg" for place in range(count)]


def answers(question):
    """Two chains that are about one question, so that a mix-up of questions shows in the rewards."""
    place = question.split()[1].rstrip(":")
    return [f"Step 1: Give {place} mg.\nStep 2: The answer is (A)", "Step 1: Give 90 mg.\nStep 2: The answer is (B)"]


def answering():
    """A model that answers the question that it is asked, the first time with A and then with B."""
    seen, lock = {}, threading.Lock()

    def answer(messages, kwargs):
        question = messages[-1].content.split("Question: ", 1)[1]
        with lock:
            seen[question] = seen.get(question, 0) + 1
            return answers(question)[(seen[question] - 1) % 2]

    return ScriptedLLM(answers=[answer], delay=0.001)


def check(demo, responses):
    """Each response is what its own question gives alone."""
    requests = [
        {"question": question, "candidates": answers(question), "documents": [LABEL]}
        for question in queries(len(responses))
    ]
    for response, expected in zip(responses, demo.rank_batch(requests), strict=True):
        ranking = ranking_of(response)
        assert ranking.question == expected.question
        assert str(response) == expected.best.text
        for chain in ranking.chains:
            (same,) = [other for other in expected.chains if other.text == chain.text]
            assert chain.step_rewards == pytest.approx(same.step_rewards, abs=1e-5)


def test_thirty_two_queries_at_once_are_each_right_and_packed(demo, monkeypatch):
    calls, real = [], demo.engine._batcher._serve
    monkeypatch.setattr(demo.engine._batcher, "_serve", lambda prompts: calls.append(len(prompts)) or real(prompts))
    synthesizer = MedPRMSynthesizer(prm=demo, llm=answering(), n=2, keep="all")
    one = RetrieverQueryEngine(Fixed([document(LABEL)]), response_synthesizer=synthesizer)

    async def main():
        return await asyncio.gather(*(one.aquery(question) for question in queries(32)))

    responses = asyncio.run(main())
    assert sum(calls) == 32
    assert len(calls) <= 16
    check(demo, responses)


def test_queries_from_many_threads_are_each_right(demo):
    synthesizer = MedPRMSynthesizer(prm=demo, llm=answering(), n=2, keep="all")
    one = RetrieverQueryEngine(Fixed([document(LABEL)]), response_synthesizer=synthesizer)
    with ThreadPoolExecutor(8) as pool:
        check(demo, list(pool.map(one.query, queries(16))))


# --- imports ---


@pytest.mark.parametrize(
    ("mine", "other"), [("llama_index", "langchain"), ("llama_index", "langgraph"), ("langchain", "llama_index")]
)
def test_the_integrations_do_not_import_each_other(mine, other):
    for path in (ROOT / "medprm_integrations" / mine).glob("*.py"):
        text = path.read_text()
        assert f"import {other}" not in text, path.name
        assert f"from {other}" not in text, path.name
        assert f"medprm_integrations.{other}" not in text, path.name


def test_a_missing_llama_index_says_what_to_install():
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "import medprm_integrations.llama_index as package\n"
        "try:\n    package.MedPRMRerank\nexcept ImportError as error:\n    print(error)\n"
        "assert not hasattr(package, 'Nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    install = 'pip install "medprm[llama-index]", or ".[llama-index]" in its folder'
    assert done.stdout.strip() == f"MedPRMRerank needs llama_index: {install}", done.stderr


def test_everything_public_is_there():
    import medprm_integrations.llama_index as package

    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name).__doc__
