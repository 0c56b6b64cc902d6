"""Warnings: given once where they should be, and without any text of a patient."""

import gc
import warnings

import pytest

from medprm_integrations.shared import user_warnings
from medprm_integrations.shared.user_warnings import (
    IdenticalSamplesWarning,
    SamplesFailedWarning,
    UnknownToolWarning,
    warn_of_failures,
    warn_of_identical,
    warn_of_unknown_tools,
    warn_of_unread,
)
from medprm_scorer.sampling.drawing import Drawing


class Source:
    pass


def drawn(*outcomes):
    drawing = Drawing(len(outcomes), lambda value: None if value == "tool" else value)
    for number, outcome in zip([drawing.start() for _ in outcomes], outcomes, strict=True):
        drawing.finish(number, outcome)
    return drawing


def test_identical_samples_warn_once_for_each_source():
    one, two = Source(), Source()
    for source in (one, two):
        with pytest.warns(IdenticalSamplesWarning, match="temperature") as caught:
            warn_of_identical(["secret", "secret"], source)
        assert "secret" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_identical(["secret", "secret"], one)
        for texts in (["a"], ["a", "b"], [" ", " "], []):
            warn_of_identical(texts, Source())


def test_a_source_that_is_gone_leaves_nothing_behind():
    before = set(user_warnings._warned)
    with pytest.warns(IdenticalSamplesWarning):
        warn_of_identical(["a", "a"], Source())
    gc.collect()
    assert user_warnings._warned <= before


def test_some_failures_are_named_by_their_kinds_and_never_by_their_texts():
    with pytest.warns(SamplesFailedWarning) as caught:
        warn_of_failures(drawn("a", *(RuntimeError("Jane Doe") for _ in range(6)), TimeoutError("Jane Doe")))
    assert str(caught[0].message) == "7 of 8 samples failed (RuntimeError, TimeoutError): choosing among 1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (drawn("a", "b"), drawn("a", "tool"), drawn(ValueError(), ValueError()), drawn("tool", OSError())):
            warn_of_failures(other)


@pytest.mark.parametrize(
    ("used", "given", "said"),
    [
        (0, 3, "none of 3 documents was read: the first exceeds"),
        (0, 1, "the only document was not read: it exceeds"),
        (2, 5, "2 of 5 documents were read: the others exceed"),
    ],
)
def test_unread_documents(used, given, said):
    with pytest.warns(user_warnings.DocumentsLeftOutWarning) as caught:
        warn_of_unread(used, given)
    assert str(caught[0].message) == f"{said} the model's budget of 3,072 tokens; split documents smaller"


def test_names_that_no_tool_has_are_warned_of_once():
    source = Source()
    with pytest.warns(UnknownToolWarning) as caught:
        warn_of_unknown_tools(["serch", "weigh"], ["weigh", "search"], source)
    assert str(caught[0].message) == "evidence_tools: there is no tool 'serch'; the tools are 'search', 'weigh'"
    with pytest.warns(UnknownToolWarning, match="none of the tools 'a', 'b'; the tools are 'c'"):
        warn_of_unknown_tools(["a", "b"], ["c"], source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unknown_tools(["serch", "weigh"], ["weigh", "search"], source)
        for names, known in ((None, ["a"]), ([], ["a"]), (["a"], ["a"]), (["a"], [])):
            warn_of_unknown_tools(names, known, Source())
