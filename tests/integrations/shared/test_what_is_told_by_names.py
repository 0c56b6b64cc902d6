"""Rules that read names, headings and fields: they say what they should, in linear time, for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_integrations.shared.prompt_context import holds_documents
from medprm_integrations.shared.questions import put_together
from medprm_integrations.shared.structured import is_answer_schema
from medprm_integrations.shared.tool_evidence import brings_evidence, found_nothing
from tests.support.clock import within_cpu_seconds

LOOKING = (
    "search search_labels retrieve_guidelines PubMedSearch get_labs lookupDose order_history_search tavily_search "
    "orders addison_disease_guide планы _ 42 weigh"
)
ACTING = (
    "order_drug orderDrug sendMessage write_todos transfer_to_surgery transfer_back_to_supervisor handoff_to_x think "
    "task update-record BOOK_BED"
)


@pytest.mark.parametrize("name", LOOKING.split())
def test_tools_that_look_something_up(name):
    assert brings_evidence(name)
    assert brings_evidence(None)


@pytest.mark.parametrize("name", ACTING.split())
def test_tools_that_act_plan_or_hand_over(name):
    assert not brings_evidence(name)


@given(st.text())
def test_any_name_has_an_answer(name):
    assert brings_evidence(name) in (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{ }",
        '""',
        "null",
        "N/A",
        "No documents found.",
        "no results",
        "0 results.",
        "No relevant documents were found for this query.",
        "Sorry, no matching articles found for 'Zoravine in pregnancy'.",
        "There are no results for “x”",
        "I could not find any documents.",
        "Nothing found!",
        "Empty Response",
    ],
)
def test_results_that_say_that_nothing_was_found(text):
    assert found_nothing(text)


@pytest.mark.parametrize(
    "text",
    [
        "No interactions found.",
        "No dose adjustment is needed.",
        "None",
        "+++",
        "No match",
        "No results found for ibuprofen 400. Closest entry: at most 1200 mg daily.",
        "No articles to date show harm from metformin in pregnancy.",
        "No allergies are recorded.",
        "None of the trials was blinded.",
        "Not found in breast milk.",
        "No results were significant; the dose is 5 mg.",
        "0 mg",
        "5",
        "нет",
        "No documents found. Label: give 5 mg.",
        "no " * 200,
    ],
)
def test_results_that_say_something(text):
    assert not found_nothing(text)


@given(st.text(max_size=180))
def test_a_result_with_a_finding_behind_anything_says_something(text):
    assert not found_nothing(f"{text}. Give 5 mg.")


@pytest.mark.parametrize(
    "text",
    [
        "Context: x",
        "Use this.\n\n## Retrieved documents:\nx",
        "<context>\nx\n</context>",
        "Answer.\nRelevant passages (three):\nx",
        "SOURCES:\n[1] x",
        "  **Documents:** x",
    ],
)
def test_prompts_that_hold_documents(text):
    assert holds_documents(["nothing", text])


@pytest.mark.parametrize(
    "text",
    [
        "Which dose?",
        "In this context: which?",
        "The documents are lost.",
        "A man.\nContext matters here",
        "",
        "contexts",
    ],
)
def test_prompts_that_hold_none(text):
    assert not holds_documents([text])


@pytest.mark.parametrize(
    "text", ["the " * 9_000, "\n<[(#" * 9_000, "\ncontext" * 9_000, "\nthe the context" + "x" * 90_000]
)
def test_hostile_prompts_cost_little(text):
    with within_cpu_seconds(2):
        holds_documents([text] * 20)
        brings_evidence(text)


@pytest.mark.parametrize(
    "fields",
    [["steps"], ["reasoning", "confidence"], ["step_1", "step_2"], ["final_answer"], ["diagnosis"], ["Answer"],
     ["explanation", "choice"], ["response", "steps"]],
)  # fmt: skip
def test_schemas_of_answers(fields):
    assert is_answer_schema(fields)


@pytest.mark.parametrize(
    "fields", [[], ["destination"], ["choice"], ["binary_score"], ["tools"], ["query"], ["step_1"]]
)
def test_schemas_of_helper_calls(fields):
    assert not is_answer_schema(fields)


@given(st.lists(st.text(max_size=50)))
def test_any_fields_have_an_answer(fields):
    assert is_answer_schema(fields) in (True, False)


def test_where_the_question_starts():
    options = "Which dose?\n\n(A) 5 mg\n(B) 9 mg"
    assert put_together(["a", "b"]).start == 0
    assert put_together(["", "a", "b"]).start == 1
    assert put_together(["a", options, "b"]).start == 1
    assert put_together(["x" * 9_000, "b"]).start == 1
    assert put_together([], ["system"]).start == 0


@given(st.lists(st.text(max_size=900) | st.just("Which?\n(A) 5 mg\n(B) 9 mg") | st.just("x" * 5_000), max_size=12))
def test_the_question_begins_with_the_turn_that_it_starts_at(turns):
    if any(turn.strip() for turn in turns):
        asked = put_together(turns)
        assert asked.text.startswith(turns[asked.start])
