"""The sync and async ways take the same arguments, and either of them says what the other does."""

import inspect
from typing import Any

import pytest

import medprm_scorer
from medprm_integrations.langchain import (
    ChatMedPRM,
    MedPRMBestOfN,
    MedPRMMiddleware,
    MedPRMOutputParser,
    MedPRMReranker,
)
from medprm_integrations.langchain import MedPRMEvaluator as LangChainEvaluator
from medprm_integrations.llama_index import MedPRMEvaluator, MedPRMLLM, MedPRMRerank, MedPRMSynthesizer
from medprm_integrations.shared import best_of_n, concurrency, evidence
from tests.support.reading import BAD, QUESTION, reading_prm

CLASSES: list[Any] = [
    LangChainEvaluator,
    *(ChatMedPRM, MedPRMBestOfN, MedPRMMiddleware, MedPRMOutputParser, MedPRMReranker),
    *(MedPRMEvaluator, MedPRMLLM, MedPRMRerank, MedPRMSynthesizer),
    *(medprm_scorer.MedPRM, medprm_scorer, best_of_n, concurrency, evidence),
]


def functions(holder):
    """The functions that are defined here, by name."""
    scopes = (
        [vars(holder)]
        if inspect.ismodule(holder)
        else [vars(cls) for cls in holder.__mro__ if cls.__module__.startswith("medprm")]
    )
    names = {name for scope in scopes for name in scope} | set(getattr(holder, "__all__", ()))
    found = {name: inspect.getattr_static(holder, name, None) or getattr(holder, name, None) for name in sorted(names)}
    return {name: one for name, one in found.items() if inspect.isfunction(one)}


def pairs():
    for holder in CLASSES:
        known = functions(holder)
        for name, function in known.items():
            prefix = "_" if name.startswith("_") else ""
            twin = known.get(f"{prefix}a{name.removeprefix(prefix)}")
            if twin is not None:
                yield pytest.param(function, twin, id=f"{holder.__name__}.{name}")


def shape(function):
    """The parameters without the types, which differ where one way takes what the other awaits."""
    parameters = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters]


@pytest.mark.parametrize(("sync", "awaited"), pairs())
def test_both_ways_take_the_same(sync, awaited):
    assert shape(sync) == shape(awaited)
    if not sync.__name__.startswith("_"):
        assert sync.__doc__
        assert awaited.__doc__
        assert f"`{sync.__name__}`" in awaited.__doc__ or awaited.__doc__ == sync.__doc__


def test_every_coroutine_has_a_way_without():
    for holder in CLASSES:
        known = functions(holder)
        for name, function in known.items():
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                prefix = "_" if name.startswith("_") else ""
                assert f"{prefix}{name.removeprefix(prefix).removeprefix('a')}" in known, (holder, name)


def test_the_pairs_that_users_know_are_among_them():
    known = {param.id for param in pairs()}
    wanted = ("MedPRM.score", "MedPRM.rank", "MedPRM.rank_batch", "medprm_scorer.score_file")
    assert {*wanted, "medprm_scorer.sample_chains"} <= known
    assert {"ChatMedPRM.invoke", "ChatMedPRM.stream", "MedPRMMiddleware.wrap_model_call"} <= known
    assert {"MedPRMLLM.chat", "MedPRMSynthesizer.synthesize", "MedPRMEvaluator.evaluate"} <= known


def test_both_frameworks_evaluators_say_the_same():
    prm, documents = reading_prm(), ["Label: 5 mg."]
    for given in (documents, None):
        found = LangChainEvaluator(prm=prm)(inputs=QUESTION, outputs=BAD, context=given)
        same = MedPRMEvaluator(prm=prm).evaluate(QUESTION, BAD, given)
        assert found == {"key": "medprm", "score": same.score, "comment": same.feedback}
