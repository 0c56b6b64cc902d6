"""The LlamaIndex examples run as they stand, through a real server, and say what they should."""

import asyncio
import runpy
import sys
from contextlib import contextmanager

import pytest

pytest.importorskip("llama_index.llms.openai_like", reason="the examples' client is not installed here")

from examples import llama_index_agent, llama_index_app, llama_index_comparison, llama_index_query_engine
from examples.formulary.hospital import Hospital
from examples.llama_index_parts import FormularyRetriever, language_model
from medprm_integrations.llama_index import MedPRMLLM, ranking_of
from medprm_integrations.llama_index.nodes import DRAFT, DraftNode
from medprm_scorer.evaluation.journal import Journal
from tests.examples.test_hospital import solve
from tests.support.llama_index_scripts import BAD, GOOD, ScriptedLLM, documents_in, reading_prm

HOSPITAL = Hospital(0)


@pytest.fixture
def retriever():
    return FormularyRetriever(HOSPITAL)


@pytest.fixture
def llm(policy_server):
    return language_model(policy_server)


@pytest.mark.parametrize("example", [llama_index_query_engine, llama_index_agent])
def test_an_example_runs(example, llm, monkeypatch, capsys):
    monkeypatch.setattr(example, "ask_locally", contextmanager(lambda: iter([llm])))
    monkeypatch.setattr(example, "PATIENTS", 1)
    example.main()
    printed = capsys.readouterr().out
    assert f"Patient 0: the right answer is {HOSPITAL.case(0).answer}" in printed
    assert "weakest step" in printed
    assert "verified" not in printed
    assert (example is llama_index_query_engine) == ("The best of 8 chains, and the documents:" in printed)
    last = printed.rstrip().splitlines()[-1]
    assert last in [f"Right: {n} of 1. So few patients measure nothing; docs/results.md has more." for n in (0, 1)]


@pytest.mark.parametrize("package", ["llama_index.llms.openai_like", "rank_bm25"])
def test_a_missing_package_is_one_line(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("examples.formulary.search_tool", "examples.llama_index_parts"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("examples.llama_index_agent")
    assert ended.value.code == f"the examples need {package}: pip install '.[examples]'"


def test_the_synthesizer_answers_with_the_best_chain_of_the_retrieved_documents(llm, retriever, demo):
    case = HOSPITAL.case(1)
    response = llama_index_query_engine.with_synthesizer(llm, retriever, demo, n=4).query(case.text)
    ranking = ranking_of(response)
    documents = [node.get_content() for node in response.source_nodes]
    assert solve(case.text, documents) == case.answer
    assert len(ranking.chains) == 4
    assert str(response) == ranking.best.text
    chains = [chain.text for chain in sorted(ranking.chains, key=lambda chain: chain.index)]
    expected = demo.rank(case.text, chains, documents)
    assert ranking.best.step_rewards == pytest.approx(expected.best.step_rewards, abs=1e-5)


def test_the_postprocessor_puts_the_best_chain_before_the_documents(llm, retriever, demo):
    case = HOSPITAL.case(2)
    response = llama_index_query_engine.with_postprocessor(llm, retriever, demo, n=4).query(case.text)
    chain, *documents = response.source_nodes
    ranking = ranking_of(chain.node)
    assert isinstance(chain.node, DraftNode)
    assert chain.node.text == DRAFT + ranking.best.text
    assert [node.get_content() for node in documents] == [node.get_content() for node in retriever.retrieve(case.text)]
    assert str(response).startswith(f"{DRAFT}Step 1:")


def test_the_agent_searches_by_itself_and_selects_among_its_answers(llm, demo):
    case = HOSPITAL.case(3)
    agent = llama_index_agent.build_agent(MedPRMLLM(llm=llm, prm=demo, n=3), HOSPITAL)

    async def ask():
        return await agent.run(case.text)

    output = asyncio.run(ask())
    ranking = ranking_of(output)
    (call,) = output.tool_calls
    assert call.tool_name == llama_index_agent.TOOL  # type: ignore[attr-defined]
    assert solve(case.text, [call.tool_output.content]) == case.answer
    assert len(ranking.chains) == 3
    assert ranking.documents_used == 1
    assert output.response.content == ranking.best.text


def test_the_comparison_keeps_its_answers_and_prints_its_table(policy_server, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(llama_index_comparison, "serve", contextmanager(lambda _, **options: iter([policy_server])))
    monkeypatch.setattr("sys.argv", ["", "--cases", "2", "--n", "2", "--out", str(tmp_path)])
    llama_index_comparison.main()
    printed = capsys.readouterr().out
    with Journal(tmp_path / "llama_index_comparison.sqlite3", {"about": "llama_index_comparison n=2"}) as journal:
        assert len(journal) == 2
    ways = ("one sample", "MedPRMSynthesizer of 2", "MedPRMSynthesizer, stops at most at 8", "MedPRMRerank of 2")
    assert all(f"| {way} |" in printed for way in ways)


# --- the application ---

FIRST = "Which daily dose of Fexidrel is right in morlitis at 20 kg?"


def test_the_application_runs_with_its_own_files_a_follow_up_and_a_person(llm, monkeypatch, capsys):
    monkeypatch.setattr(llama_index_app, "ask_locally", contextmanager(lambda: iter([llm])))
    monkeypatch.setattr(llama_index_app, "LEAST_REWARD", 1.01)  # each answer is doubtful
    monkeypatch.setattr("builtins.input", lambda _: "Ask the pharmacy.")
    monkeypatch.setattr("sys.argv", [""])
    llama_index_app.main()
    printed = capsys.readouterr().out
    assert printed.count("Ask the pharmacy.") == 2
    assert printed.count("Doubtful (the reward is ") == 2
    assert "10 kg" in printed


def test_the_application_asks_a_person_only_where_there_is_doubt(tmp_path):
    (tmp_path / "labels.txt").write_text("Label: dose Fexidrel at 9 mg per kg, limit Fexidrel to 190 mg.")
    (tmp_path / "other.md").write_text("Not a text file.")
    prm, asked = reading_prm(), []
    scripted = ScriptedLLM(answers=[GOOD, GOOD + ".", BAD])

    def person(answer, reasons):
        asked.append((answer, reasons))
        return "Ask the pharmacy."

    desk = llama_index_app.Desk(scripted, tmp_path, prm, person, n=3)
    answer, cautions = desk.ask(FIRST)
    assert answer.startswith(GOOD)
    assert asked == []
    assert documents_in(prm)[0].endswith("limit Fexidrel to 190 mg.")
    assert len(documents_in(prm)) == 1
    scripted.answers = [BAD]
    answer, cautions = desk.ask("And at 10 kg?")
    assert answer == "Ask the pharmacy."
    (doubtful,) = asked
    assert doubtful == (BAD, ["the reward is 0.20"])
    assert f"{FIRST}\n\nAnd at 10 kg?" in prm.engine.calls[-1][0]  # type: ignore[attr-defined]
    assert "Every chain has a step below 0.5: do not rely on this answer." in cautions
    scripted.answers = [GOOD]
    desk.ask("Sure?")
    assert [message.content for message in desk._memory.get_all()][3] == "Ask the pharmacy."
