"""The LangChain examples run as they stand, through a real server, and say what they should."""

import runpy
import sys
from contextlib import contextmanager

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tracers.base import BaseTracer

from examples import (
    comparison,
    langchain_agent,
    langchain_comparison,
    langchain_rag,
    langgraph_app,
    langgraph_second_opinion,
    serving,
)
from examples.formulary.hospital import Hospital
from examples.formulary.sample import POLICY
from examples.formulary.turns import TOOL
from examples.langchain_parts import FormularyRetriever, chat_model
from medprm_integrations.langchain import MedPRMMiddleware, ranking_of
from medprm_integrations.shared.doubt import DOUBT_ANSWER
from medprm_scorer import Floors
from medprm_scorer.evaluation.journal import Journal
from tests.examples.test_hospital import solve
from tests.support.langchain_scripts import BAD, GOOD, WORSE, ScriptedChat, reading_prm
from tests.support.reading import documents_in

HOSPITAL = Hospital(0)


class Recorder(BaseTracer):
    """Keeps whole trees of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots = []

    def _persist_run(self, run) -> None:
        self.roots.append(run)


@pytest.fixture
def retriever():
    return FormularyRetriever.of(HOSPITAL)


@pytest.fixture
def llm(policy_server):
    return chat_model(policy_server)


@pytest.mark.parametrize("example", [langchain_rag, langchain_agent, langgraph_second_opinion])
def test_an_example_runs(example, llm, monkeypatch, capsys):
    monkeypatch.setattr(example, "ask_locally", contextmanager(lambda: iter([llm])))
    monkeypatch.setattr(example, "PATIENTS", 1)
    example.main()
    printed = capsys.readouterr().out
    assert f"Patient 0: the right answer is {HOSPITAL.case(0).answer}" in printed
    assert "weakest step" in printed
    last = printed.rstrip().splitlines()[-1]
    assert last in [f"Right: {n} of 1. So few patients measure nothing; docs/results.md has more." for n in (0, 1)]


def test_the_server_is_announced_before_it_starts(monkeypatch, capsys):
    def fails(*_, **__):
        raise OSError("no such program")

    monkeypatch.setattr("examples.serving.subprocess.Popen", fails)
    with pytest.raises(OSError, match="no such program"), serving.serve(POLICY):
        pass
    assert capsys.readouterr().err == "starting a server for policy_model\n"


@pytest.mark.parametrize("package", ["langchain_openai", "rank_bm25"])
def test_a_missing_package_is_one_line(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("examples.formulary.search_tool", "examples.langchain_parts"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("examples.langchain_agent")
    assert ended.value.code == f"the examples need {package}: pip install '.[examples]'"


def test_the_chain_ranks_samples_against_what_was_retrieved(llm, retriever, demo):
    case = HOSPITAL.case(1)
    ranking = langchain_rag.build_chain(llm, retriever, demo, n=4).invoke(case.text)
    assert len(ranking.chains) == 4
    assert ranking.documents_used == ranking.documents_given == len(retriever.invoke(case.text))
    expected = demo.rank(case.text, [c.text for c in sorted(ranking.chains, key=lambda c: c.index)],
                         [document.page_content for document in retriever.invoke(case.text)])  # fmt: skip
    for chain, same in zip(ranking.chains, expected.chains, strict=True):
        assert chain.step_rewards == pytest.approx(same.step_rewards, abs=1e-5)


def test_the_agent_searches_by_itself_and_its_answer_is_checked_against_what_it_found(llm, retriever, demo):
    case, recorder = HOSPITAL.case(2), Recorder()
    agent = langchain_agent.build_agent(llm, retriever, MedPRMMiddleware(prm=demo, n=3))
    messages = agent.invoke({"messages": [("user", case.text)]}, {"callbacks": [recorder]})["messages"]
    _human, call, found, answer = messages
    assert isinstance(call, AIMessage)
    assert [one["name"] for one in call.tool_calls] == [TOOL]
    assert isinstance(found, ToolMessage)
    assert solve(case.text, [document.page_content for document in found.artifact]) == case.answer
    ranking = ranking_of(answer)
    assert len(ranking.chains) == 3
    assert ranking.documents_used == len(found.artifact)
    assert answer.text == ranking.best.text
    (root,) = recorder.roots
    models = [run for run in _below(root) if run.run_type in ("llm", "chat_model")]
    assert len(models) == 1 + 3  # the call of the tool, and the samples of the answer


def test_the_graph_draws_more_while_it_is_unsure(llm, retriever, demo, monkeypatch):
    graph = langgraph_second_opinion.build_graph(llm, retriever, demo)
    monkeypatch.setattr(langgraph_second_opinion, "SURE", 1.01)  # never
    state = graph.invoke({"question": HOSPITAL.case(3).text})
    assert len(state["candidates"]) == len(state["ranking"].chains) == langgraph_second_opinion.MOST
    assert state["answer"] == "ask a clinician"
    monkeypatch.setattr(langgraph_second_opinion, "SURE", 0.0)  # always
    state = graph.invoke({"question": HOSPITAL.case(3).text})
    assert len(state["candidates"]) == langgraph_second_opinion.ROUND
    assert state["answer"] == state["ranking"].answer


def test_the_application_answers_over_its_own_files(policy_server, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or "Ask the ward's pharmacist.")
    monkeypatch.setattr(langgraph_app, "FLOORS", Floors(min_reward=1.0))  # each answer is doubtful
    monkeypatch.setattr("sys.argv", ["", "--url", policy_server, "--model", str(POLICY)])
    langgraph_app.main()
    printed = capsys.readouterr().out
    assert len(asked) == 2
    assert printed.count("Ask the ward's pharmacist.") == 2
    assert printed.count("below the floor of 1. The floor is uncalibrated.") == 2


FIRST = "Which dose of Fexidrel, 40 kg?"


@pytest.mark.parametrize("sure", [True, False])
def test_the_application_asks_a_person_only_when_in_doubt(sure):
    scripted, prm = ScriptedChat(answers=[GOOD, BAD, GOOD] if sure else [WORSE]), reading_prm()
    index, cases = langgraph_app.Index(langgraph_app.OWN), []
    app = langgraph_app.build_app(scripted, index, prm, n=3, rewrites=False)

    def person(case):
        cases.append(case)
        return "180 mg, says the pharmacist"

    first = langgraph_app.ask(app, FIRST, "a", person)
    later = langgraph_app.ask(app, "And at 10 kg?", "a", person)
    assert len(scripted.asked) == 6  # the second run of the node that waits draws nothing
    assert any("Label: dose Fexidrel at 9 mg per kg" in document for document in documents_in(prm))
    if sure:
        assert ranking_of(later).question == f"{FIRST}\n\nAnd at 10 kg?"
        assert (first.text, later.text, cases) == (GOOD, GOOD, [])
        assert any("put together from 2 messages" in caution for caution in ranking_of(later).cautions)
    else:
        assert first.text == later.text == "180 mg, says the pharmacist"
        assert [case["answer"] for case in cases] == [WORSE] * 2
        assert any("reward is 0.100, below the floor" in caution for caution in cases[0]["ranking"]["cautions"])
        assert langgraph_app.ask(app, FIRST, "b", lambda case: True).text == WORSE
        assert langgraph_app.ask(app, FIRST, "c", lambda case: None).text == DOUBT_ANSWER


def test_the_application_judges_a_follow_up_as_the_model_rewrites_it():
    rewritten = "Which dose of Fexidrel, 10 kg?"
    scripted = ScriptedChat(answers=[GOOD] * 3 + [rewritten] + [GOOD] * 3)
    app = langgraph_app.build_app(scripted, langgraph_app.Index(langgraph_app.OWN), reading_prm(), n=3)
    langgraph_app.ask(app, FIRST, "a", lambda case: None)
    ranking = ranking_of(langgraph_app.ask(app, "And at 10 kg?", "a", lambda case: None))
    assert (ranking.question, ranking.trusted) == (rewritten, True)


@pytest.mark.parametrize(("typed", "reply"), [("", None), (" OK ", True), ("Give 9 mg.", "Give 9 mg."), (None, None)])
def test_the_applications_clinician(monkeypatch, typed, reply):
    def at_the_keyboard(prompt):
        if typed is None:
            raise EOFError
        return typed

    monkeypatch.setattr("builtins.input", at_the_keyboard)
    case = {"answer": GOOD, "steps": [{"text": GOOD, "reward": 0.9}], "ranking": {"cautions": ["Not trusted."]}}
    assert langgraph_app.ask_clinician(case) == reply


def test_the_index_reads_text_files_by_paragraphs(tmp_path):
    with pytest.raises(SystemExit, match="no text"):
        langgraph_app.Index(tmp_path)
    (tmp_path / "a.txt").write_text("Fever is common.\n\n\n\nРвота редка.\n\nPain.", encoding="utf-8")
    (tmp_path / "b.md").write_text("not read")
    index = langgraph_app.Index(tmp_path)
    assert [piece.page_content for piece in index.pieces] == ["Fever is common.", "Рвота редка.", "Pain."]
    best, *_ = index.search("рвота")
    assert best.metadata["source"] == "a.txt"
    assert best.page_content == "Рвота редка."


def test_the_comparison_counts_right_and_goes_on(policy_server, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(langchain_comparison, "serve", contextmanager(lambda _, **options: iter([policy_server])))
    text = tmp_path / "page.md"
    marks = ["<!-- figures: written by langchain_comparison.py -->", "<!-- end of langchain_comparison.py -->"]
    text.write_text("before\n" + "\n".join(marks) + "\nafter\n")
    options = ["", "--cases", "2", "--n", "2", "--out", str(tmp_path), "--results", str(text)]
    monkeypatch.setattr("sys.argv", options)
    langchain_comparison.main()
    first, filled = capsys.readouterr().out, text.read_text()
    with Journal(tmp_path / "langchain_comparison.sqlite3", {"about": "langchain_comparison n=2"}) as journal:
        assert len(journal) == 2
        calls = {way: count for way, (_, count) in journal.get("0").items()}
    assert calls["agent, one sample"] == 2  # the search, and the answer
    assert calls["agent, MedPRMMiddleware of 2"] == calls["agent, majority of 2"] == 1 + 2
    assert calls["agent, MedPRMMiddleware of 8"] == 1 + 8
    assert 1 + 3 <= calls["agent, MedPRMMiddleware, stops at most at 8"] <= 1 + 8
    assert calls["LCEL chain, MedPRMReranker of 2"] == 2
    assert "| agent, MedPRMMiddleware of 8 |" in first
    monkeypatch.setattr(langchain_comparison, "build_chain", lambda *_: None)  # nothing is asked again
    langchain_comparison.main()
    again = capsys.readouterr().out
    assert again.split("\n\n", 1)[1] == first.split("\n\n", 1)[1]
    assert "| agent, one sample |" in filled


def test_accuracies_and_differences_are_those_of_a_few_lines():
    answers = [{"one": ("A", 1), "two": (letter, 8)} for letter in "AAAB" * 10]
    answers[3] = {"one": (None, 1), "two": ("A", 4)}
    printed = comparison.table(answers, ["A"] * 40, [("one", "two")])
    assert f"| one | {100 * 39 / 40:.1f} [" in printed
    assert f"| two | {100 * 31 / 40:.1f} [" in printed
    assert "] | 7.9 |" in printed
    assert f"| one − two | {100 * 8 / 40:+.1f} [" in printed


def test_self_consistency_is_the_first_most_frequent_answer(demo):
    chains = [f"Step 1: So the answer is ({letter})" for letter in "CBBC"] + ["Step 1: no idea", " "]
    assert comparison.majority(demo.rank("Which?", chains)) == "C"
    assert comparison.majority(demo.rank("Which?", ["Step 1: no idea"])) is None


def _below(run):
    yield run
    for child in run.child_runs:
        yield from _below(child)
