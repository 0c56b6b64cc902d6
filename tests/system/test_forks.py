"""A process that is forked while other threads work has their locks, and none of the threads that would open them."""

import ast
import os

import pytest

from examples.formulary.sample import POLICY
from medprm_integrations.shared.calls import CallsInFlight
from medprm_scorer.search import GrowingChain, LocalPolicy
from tests.local.test_request_queue import exit_status
from tests.support.paths import ROOT
from tests.support.reading import GOOD, QUESTION, reading_prm

LOCKS = tuple(f"threading.{kind}" for kind in ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event"))
SOURCES = sorted(path for name in ("medprm_scorer", "medprm_integrations") for path in (ROOT / name).rglob("*.py"))


def made_outside_of_reset(source: str) -> list[int]:
    """Lines that make a lock of `threading` elsewhere than in a method `reset`, which runs in every fork."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for method in ast.walk(tree)
        if isinstance(method, ast.FunctionDef) and method.name == "reset"
        for node in ast.walk(method)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in LOCKS and id(node) not in inside
    ]


def test_every_lock_is_made_anew_in_a_fork():
    made = {path.relative_to(ROOT).as_posix(): path.read_text() for path in SOURCES}
    assert {name: lines for name, text in made.items() if (lines := made_outside_of_reset(text))} == {}
    locked = [name for name, text in made.items() if any(f"{one}(" in text for one in LOCKS)]
    assert len(locked) >= 5
    assert all("reset_after_fork(self)" in made[name] for name in locked)
    assert made_outside_of_reset("import threading\nx = threading.Lock()") == [2]


def calls_of_a_limit() -> tuple[object, object]:
    calls = CallsInFlight()
    assert calls.take(1, list)  # by a thread that the fork has not
    return calls, lambda: calls.take(1, list)


def ranking_that_grows() -> tuple[object, object]:
    live = reading_prm().live(QUESTION)
    return live, lambda: len(live.add([GOOD])) == 1


def policy() -> tuple[object, object]:
    here = LocalPolicy.from_pretrained(POLICY, device="cpu", dtype="float32", max_step_tokens=2)
    return here, lambda: len(here.extend("Which dose?", (), [GrowingChain("", (), 7)], 1)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("make", [calls_of_a_limit, ranking_that_grows, policy])
def test_a_fork_does_not_wait_for_a_thread_that_it_has_not(make):
    held, works = make()
    with held._lock:
        if (child := os.fork()) == 0:
            status = 1
            try:
                status = 6 if works() else 2
            finally:
                os._exit(status)
    assert exit_status(child) == 6
