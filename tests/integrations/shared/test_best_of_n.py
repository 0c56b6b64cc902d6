"""The pipeline itself: many questions under one limit and one call of the reward model, errors in their places."""

import ast
import asyncio
import re
import threading
import warnings
from pathlib import Path

import pytest

import medprm_integrations
from medprm_integrations.shared.best_of_n import achoose_all, choose, choose_all
from medprm_integrations.shared.evidence import Evidence
from medprm_integrations.shared.jobs import Job, new_drawing, request_of
from medprm_integrations.shared.ranking import rank_all
from medprm_integrations.shared.settings import SamplingSettings
from medprm_integrations.shared.user_warnings import DocumentsLeftOutWarning
from medprm_scorer import InputError, MedPRM, ScoringError
from medprm_scorer.sampling.rules import Sample
from tests.support.reading import BAD, GOOD, QUESTION, reading_prm


@pytest.fixture
def prm():
    return reading_prm()


def job(settings, *answers, question=QUESTION, **options):
    remaining = iter(answers)

    def ask():
        answer = next(remaining)
        if isinstance(answer, Exception):
            raise answer
        return answer

    drawing = new_drawing(settings, lambda value: None if value == "tool" else value)
    return Job(question=question, drawing=drawing, ask=ask, source=object, usage=lambda values: None, **options)


def test_each_question_has_its_result_or_its_error_and_the_reward_model_is_called_once(prm):
    settings = SamplingSettings(prm=prm, n=2, max_concurrency=1)

    def jobs():
        return [
            job(settings, GOOD, BAD),
            InputError("no question"),
            job(settings, TimeoutError(), ValueError()),
            job(settings, "tool", "tool"),
            job(settings, " ", ""),
            job(settings, BAD, GOOD),
        ]

    async def choose_async():
        made = jobs()
        for one in made:
            if isinstance(one, Job):
                one.ask = awaited(one.ask)
        return await achoose_all(settings, made)

    def awaited(ask):
        async def asked():
            return ask()

        return asked

    for results in (choose_all(settings, jobs()), asyncio.run(choose_async())):
        kinds = [type(result).__name__ for result in results]
        assert kinds == ["Choice", "InputError", "TimeoutError", "Choice", "NothingScoredError", "Choice"]
        assert (results[0].value, results[5].value) == (GOOD, GOOD)
        assert (results[3].value, results[3].ranking) == ("tool", None)
    assert len(prm.engine.calls) == 2


def test_one_limit_holds_for_all_questions(prm):
    settings, now, most, lock = SamplingSettings(prm=prm, n=4), 0, 0, threading.Lock()

    def ask():
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.01)
        with lock:
            now -= 1
        return GOOD

    jobs = [job(settings) for _ in range(4)]
    for one in jobs:
        one.ask = ask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choose_all(settings, jobs, limit=3)
    assert 1 < most <= 3


@pytest.mark.parametrize("question", ["", " \n", None, 5])
def test_a_blank_question_is_refused_before_anything_is_paid_for(prm, question):
    settings = SamplingSettings(prm=prm)
    with pytest.raises(InputError, match="the question must be a text that is not blank"):
        job(settings, GOOD, question=question)


def test_a_sample_says_its_answer_and_whether_it_was_cut_off(prm):
    settings = SamplingSettings(prm=prm)
    samples = [Sample(("a [0.9]", "b [0.9]"), "A"), Sample(BAD, truncated=True), Sample(GOOD)]
    request = request_of(settings, QUESTION, samples, ["Label"])
    assert (request.candidates[0], request.answers, request.truncated) == (
        ["a [0.9]", "b [0.9]"],
        ["A", None, None],
        [1],
    )
    (ranking,) = rank_all(settings, [request])
    assert (ranking.answer, ranking.documents_used) == ("A", 1)


@pytest.mark.parametrize(
    ("texts", "given", "used"), [(["h", "s"], 2, 1), (["h", "hh"], 2, 0), ([], 0, 0), (["s"], 1, 1)]
)
def test_a_ranking_counts_what_never_reached_it(prm, texts, given, used):
    texts = [text.replace("h", "dose " * 4000) for text in texts]
    settings = SamplingSettings(prm=prm, n=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choice = choose(settings, job(settings, GOOD, documents=texts))
    assert (choice.ranking.documents_given, choice.ranking.documents_used) == (given, used)
    assert [type(one.message) for one in caught] == ([DocumentsLeftOutWarning] if used < given else [])
    assert choice.note["documents_left_out"] == given - used
    assert choice.ranking.documents_read == [place for place, text in enumerate(texts) if len(text) < 9]
    assert any("3,072" in caution for caution in choice.ranking.cautions) == (used < given)


def test_documents_of_which_none_is_read_are_warned_of(demo):
    huge, small = "dose " * 5000, "Label: give 5 mg."
    bare = MedPRM.from_pretrained(system="no_documents")  # it takes none at all
    for prm, documents, warned in (
        (demo, [huge, small, small], True),
        (demo, [huge], True),
        (demo, [small, huge], True),
        (demo, [], False),
        (bare, [small], False),
    ):
        settings = SamplingSettings(prm=prm)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rank_all(settings, [request_of(settings, "Which dose?", [Sample("Step 1: 5 mg.")], documents)])
        assert [one.category for one in caught] == [DocumentsLeftOutWarning] * warned


def test_evidence_shows_no_text():
    assert repr(Evidence(("secret",), 1)) == "Evidence(left_out=1)"


def test_nothing_to_rank_is_no_call(prm):
    assert rank_all(SamplingSettings(prm=prm), []) == []
    assert prm.engine.calls == []


def test_if_nothing_could_be_scored_it_is_an_error(prm):
    settings = SamplingSettings(prm=prm, n=1)
    with pytest.raises(ScoringError, match="candidate 0: it is blank"):
        choose(settings, job(settings, " "))


def test_what_is_shared_knows_no_framework():
    for path in (Path(medprm_integrations.__file__).parent / "shared").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(re.match(r"(medprm_integrations\.)?(lang|llama)", name) for name in names), path.name
