"""What the integrations share: drawing samples, running calls together, the budget of evidence, copies, settings."""

import ast
import asyncio
import contextvars
import copy
import gc
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

import medprm_integrations
from medprm_integrations.shared.concurrency import arun_all, in_thread, run_all
from medprm_integrations.shared.drawing import Drawing, IdenticalSamplesWarning, SamplesFailedWarning
from medprm_integrations.shared.evidence import (
    DocumentsLeftOutWarning,
    counted,
    none_fits,
    warn_if_unread,
    within_budget,
)
from medprm_integrations.shared.evidence_tools import UnknownToolWarning, tool_names, warn_of_unknown
from medprm_integrations.shared.input_keys import checked_keys
from medprm_integrations.shared.known_settings import KnownSettings, refuse_unknown
from medprm_integrations.shared.lazy_imports import MissingPackageError, missing
from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_integrations.shared.settings import SamplingSettings, reward_model
from medprm_integrations.shared.sharing import Absent, share
from medprm_scorer import InputError, MedPRM, MedPRMError, ModelError
from medprm_scorer.request_parsing import MEANT_DOCUMENTS
from medprm_scorer.text.answers import extract_answer


class Source:
    pass


def drawn(*outcomes, n=None, **options):
    drawing = Drawing(n or len(outcomes), lambda value: None if value == "tool" else value, **options)
    drawing.add(list(outcomes))
    return drawing


def test_failures_and_calls_of_tools_end_nothing():
    drawing = drawn("a", ValueError(), "tool", " ")
    drawing.check()
    assert (drawing.values, drawing.texts, drawing.dropped) == (["a", " "], ["a", " "], ["tool"])
    assert len(drawing.errors) == 1
    assert (drawing.drawn, drawing.to_draw()) == (4, 0)
    assert "2 candidates, 1 dropped, 1 failed" in repr(drawing)


@pytest.mark.parametrize(("count", "note"), [(1, "the sample failed"), (3, "all 3 samples failed")])
def test_when_all_fail_the_first_error_comes_with_the_count(count, note):
    errors = [TimeoutError(str(place)) for place in range(count)]
    for _ in range(2):
        with pytest.raises(TimeoutError, match=note) as caught:
            drawn(*errors).check()
    assert caught.value is errors[0]
    assert len(errors[0].__notes__) == 1


def test_nothing_drawn_is_an_error():
    with pytest.raises(MedPRMError, match="no sample"):
        Drawing(3, str).check()


def test_a_probe_goes_on_only_after_a_candidate():
    tool, answer, failed = (drawn(first, n=4, probe=True) for first in ("tool", "a", ValueError()))
    assert (tool.to_draw(), answer.to_draw(), failed.to_draw()) == (0, 3, 3)
    assert Drawing(4, str, probe=True).to_draw() == 1
    answer.add(["tool", "tool"])
    assert answer.to_draw() == 1


def test_agreement_stops_and_never_draws_more_than_it_takes():
    letters = {"(A)": "The answer is (A)", "(b)": "the answer is (b)", "B": "The answer is B.", "-": "Who knows."}
    drawing = Drawing(10, letters.get, agree=3, answer=extract_answer)
    asked = []
    for outcomes in (["(A)", "(b)", "-"], ["B", "B"]):
        asked.append(drawing.to_draw())
        drawing.add(outcomes)
    assert asked == [3, 2]  # after the first three, the leader lacks two
    assert drawing.to_draw() == 0
    assert Drawing(2, str, agree=5, answer=extract_answer).to_draw() == 2


def test_identical_samples_warn_once_for_each_source():
    one, two = Source(), Source()
    for source in (one, two):
        with pytest.warns(IdenticalSamplesWarning, match="temperature") as caught:
            drawn("secret", "secret").warn_if_identical(source)
        assert "secret" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn("secret", "secret").warn_if_identical(one)
        for drawing in (drawn("a"), drawn("a", "b"), drawn(" ", " "), drawn("a", ValueError())):
            drawing.warn_if_identical(Source())


def test_a_source_that_is_gone_leaves_nothing_behind():
    from medprm_integrations.shared import user_warnings as once

    before = set(once._told)
    with pytest.warns(IdenticalSamplesWarning):
        drawn("a", "a").warn_if_identical(Source())
    gc.collect()
    assert once._told <= before


variable = contextvars.ContextVar("variable", default="unset")


def test_calls_run_together_in_order_and_with_the_callers_context():
    variable.set("set")
    now, most, lock = 0, 0, threading.Lock()

    def work(place):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        if place == 2:
            raise ValueError(place)
        return place, variable.get()

    results = run_all([lambda place=place: work(place) for place in range(8)], limit=3)
    assert [r for r in results if not isinstance(r, Exception)] == [(p, "set") for p in range(8) if p != 2]
    assert isinstance(results[2], ValueError)
    assert 1 < most <= 3
    assert run_all([], limit=3) == []
    assert asyncio.run(arun_all([], limit=3)) == []


def test_tasks_are_bounded_too():
    now, most = 0, 0

    async def work():
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return 1

    assert asyncio.run(arun_all([work] * 8, limit=3)) == [1] * 8
    assert most == 3


def test_an_error_that_stops_is_raised_and_the_rest_is_not_begun():
    begun = []

    def work(place):
        begun.append(place)
        if place == 0:
            raise KeyError
        time.sleep(0.05)

    calls = [lambda place=place: work(place) for place in range(50)]
    with pytest.raises(KeyError):
        run_all(calls, limit=2, stops=lambda error: isinstance(error, KeyError))
    assert len(begun) < 10

    async def awork(place):
        begun.append(place)
        await asyncio.sleep(0 if place == 0 else 30)
        raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(arun_all([lambda place=place: awork(place) for place in range(9)], 9, lambda error: True))


def test_cancelling_the_caller_cancels_the_calls():
    ended = []

    async def work():
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(1)

    async def main():
        task = asyncio.create_task(arun_all([work] * 4, limit=2))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [1, 1]  # the other two never began


def test_what_is_shared_knows_no_framework():
    for path in (Path(medprm_integrations.__file__).parent / "shared").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(re.match(r"(medprm_integrations\.)?(lang|llama)", name) for name in names), path.name


def test_evidence_passes_over_what_does_not_fit():
    def count(text):
        return len(text.split())

    evidence = within_budget(["new " * 90, "b c", " ", "b c", "d", "e f g"], count, budget=8)
    assert (evidence.texts, evidence.left_out) == (("b c", "d"), 2)
    assert "b c" not in repr(evidence)
    assert within_budget(["x"], count, budget=2).texts == ("x",)
    assert within_budget(["x"], count, budget=1).left_out == 1


def test_what_fits_is_read_whole(demo):
    texts = ["dose " * 4000, "limit " * 900, *(f"Label {n}: " + "dose 5 mg. " * 80 for n in range(9))]
    evidence = within_budget(texts, demo.count_tokens)
    ranking = demo.rank("Which dose?", ["Step 1: 5 mg."], evidence.texts)
    assert ranking.documents_used == ranking.documents_given == len(evidence.texts) == 11 - evidence.left_out > 1


def test_copies_and_pickles_share_the_model(demo):
    share()
    holder = {"prm": demo, "n": [3]}
    for again in (copy.copy(holder), copy.deepcopy(holder), pickle.loads(pickle.dumps(holder))):  # noqa: S301
        assert again["prm"] is demo
    assert len(pickle.dumps(holder)) < 500
    assert copy.copy(demo) is demo


def test_a_pickle_of_another_process_says_what_to_do(demo, tmp_path):
    share()
    (tmp_path / "pickle").write_bytes(pickle.dumps(demo))
    code = "import pickle, sys; prm = pickle.load(open(sys.argv[1], 'rb')); print(repr(prm)); prm.rank"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickle"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "Absent()"
    assert "a pickle does not hold the reward model" in done.stderr
    with pytest.raises(ModelError):
        _ = copy.deepcopy(Absent()).engine


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"n": 2.0}, {"n": True}, {"strategy": "best"}, {"aggregate": "median"}, {"agree": 1}, {"m": 1}]
)
def test_settings_are_checked(bad):
    with pytest.raises(ValidationError):
        SamplingSettings(**bad)


def test_an_unknown_strategy_lists_those_there_are():
    with pytest.raises(ValidationError, match=r"best_of_n.*majority_vote"):
        SamplingSettings(strategy="best")


def test_only_a_missing_package_is_called_missing():
    other = ModuleNotFoundError(name="something")
    assert missing("X", "langchain", "langchain", other) is other
    error = missing("X", "langchain", "langchain", ModuleNotFoundError(name="langchain.agents"))
    assert isinstance(error, MissingPackageError)
    assert isinstance(error, ImportError)
    assert str(error) == "X needs langchain: pip install langchain"


# --- what a user is told ---


def test_some_failures_are_told_by_their_kinds_and_never_by_their_texts():
    drawing = drawn("a", *(RuntimeError("Jane Doe") for _ in range(6)), TimeoutError("Jane Doe"))
    with pytest.warns(SamplesFailedWarning) as caught:
        drawing.warn(Source())
    text = str(caught[0].message)
    assert text == "7 of 8 samples failed (RuntimeError, TimeoutError): choosing among 1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (drawn("a", "b"), drawn("a", "tool"), drawn(ValueError(), ValueError()), drawn("tool", OSError())):
            other.warn(Source())


@pytest.mark.parametrize("key", MEANT_DOCUMENTS)
def test_documents_under_another_name_are_refused(key):
    needed = {"question": "Which dose?"}
    for documents in ({}, {"documents": None}):
        with pytest.raises(InputError, match=f"^unknown key '{key}': documents go under the key documents$"):
            checked_keys({**needed, key: ["Label"], **documents}, ["question"])
    given = {**needed, key: ["Label"], "documents": []}
    assert checked_keys(given, ["question"]) is given


def test_missing_keys_are_named_beside_those_that_are_there():
    assert checked_keys({"question": "?", "patient_id": 3}, ["question"])["patient_id"] == 3
    for given, message in (
        ({"query": "?"}, "the key 'question' is missing (there is 'query')"),
        ({"query": "?", "user": 1}, "the key 'question' is missing (there are 'query' and 'user')"),
        ({}, "the key 'question' is missing (the dict is empty)"),
        ({"Jane Doe has malaria": "?", 5: 5}, "the key 'question' is missing (there is none that is a name)"),
        (["?"], 'the input must be a dict: {"question": …, "documents": […]}'),
    ):
        with pytest.raises(InputError) as caught:
            checked_keys(given, ["question"])
        assert str(caught.value) == message


class Settings(KnownSettings):
    strategy: str = "vote"
    name: str = Field(default="x", alias="title")


class Model(BaseModel):
    top_a: float = 0.5


class Sampling(Settings):
    llm: Model


def test_unknown_settings_are_refused_with_the_likely_one():
    assert Settings(strategy="x", title="y").name == "y"
    for cls, given, message in (
        (Settings, {"strateg": "x"}, "unknown setting 'strateg': did you mean 'strategy'?"),
        (Settings, {"zzz": "x"}, "unknown setting 'zzz': there are strategy, name, title"),
        (Settings, {"temperature": 1}, "unknown setting 'temperature': there are strategy, name, title"),
        (Sampling, {"llm": Model(), "temperature": 1}, "unknown setting 'temperature': set it on llm"),
        (Sampling, {"llm": Model(), "top_a": 1}, "unknown setting 'top_a': set it on llm"),
        (Sampling, {"llm": Model(), "lm": 1}, "unknown setting 'lm': did you mean 'llm'?"),
    ):
        with pytest.raises(ValidationError) as caught:
            cls(**given)
        (error,) = caught.value.errors()
        assert error["msg"] == f"Value error, {message}"
    refuse_unknown([], ["prm"])


def test_what_is_no_reward_model_is_refused(demo):
    assert reward_model(demo) is demo
    for bad, kind in (("model", "str"), (None, "NoneType"), (MedPRM, "type")):
        with pytest.raises(InputError) as caught:
            reward_model(bad)
        assert str(caught.value) == f"prm must be a MedPRM (MedPRM.from_pretrained(...)), not {kind}"


def test_tool_names_are_a_list():
    assert (tool_names(None), tool_names([]), tool_names({"a"})) == (None, (), ("a",))
    for bad in ("search_label", b"search", 5, [5], (name for name in "ab")):
        with pytest.raises(InputError, match="evidence_tools must be a list of tool names"):
            tool_names(bad)


def test_names_that_no_tool_has_are_told_once():
    source = Source()
    with pytest.warns(UnknownToolWarning) as caught:
        warn_of_unknown(["serch", "weigh"], ["weigh", "search"], source)
    assert str(caught[0].message) == "evidence_tools: there is no tool 'serch'; the tools are 'search', 'weigh'"
    with pytest.warns(UnknownToolWarning, match="none of the tools 'a', 'b'; the tools are 'c'"):
        warn_of_unknown(["a", "b"], ["c"], source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unknown(["serch", "weigh"], ["weigh", "search"], source)
        for names, known in ((None, ["a"]), ([], ["a"]), (["a"], ["a"]), (["a"], [])):
            warn_of_unknown(names, known, Source())


def test_documents_of_which_none_is_read_are_told_of(demo):
    huge, small = "dose " * 5000, "Label: give 5 mg."
    chains = ["Step 1: 5 mg."]
    for documents, count in (([huge, small, small], 3), ([huge], 1)):
        ranking = demo.rank("Which dose?", chains, documents)
        assert none_fits(documents, demo.count_tokens)
        with pytest.warns(DocumentsLeftOutWarning) as caught:
            warn_if_unread(ranking, documents, demo.count_tokens)
        subject = (
            f"none of {count} documents was read: the first" if count > 1 else "the only document was not read: it"
        )
        end = "exceeds the model's budget of 3,072 tokens; split documents smaller"
        assert str(caught[0].message) == f"{subject} {end}"
    bare = MedPRM.from_pretrained(system="no_documents")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for documents in ([], [small, huge]):
            warn_if_unread(demo.rank("Which dose?", chains, documents), documents, demo.count_tokens)
        warn_if_unread(bare.rank("Which dose?", chains, [small]), [small], bare.count_tokens)  # it takes none at all


@pytest.mark.parametrize(
    ("texts", "given", "used"), [(["h", "s"], 2, 1), (["h", "hh"], 2, 0), ([], 0, 0), (["s"], 1, 1)]
)
def test_a_ranking_counts_what_never_reached_it(demo, texts, given, used):
    texts = [text.replace("h", "dose " * 4000) for text in texts]
    evidence = within_budget(texts, demo.count_tokens)
    ranking = demo.rank("Which dose?", ["Step 1: 5 mg."], evidence.texts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ranking = counted(ranking, evidence)
    assert (ranking.documents_given, ranking.documents_used) == (given, used)
    assert [type(one.message) for one in caught] == ([DocumentsLeftOutWarning] if given and not used else [])
    assert ranking_metadata(ranking)["documents_left_out"] == given - used


def test_calls_that_block_wait_together_and_keep_the_context():
    variable.set("set")

    def work(place, *, twice):
        time.sleep(0.2)
        return place * twice, variable.get()

    async def main():
        return await asyncio.gather(*(in_thread(work, place, twice=2) for place in range(24)))

    begun = time.perf_counter()
    assert asyncio.run(main()) == [(2 * place, "set") for place in range(24)]
    assert time.perf_counter() - begun < 24 * 0.2 / 2
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda: 1 // 0))
