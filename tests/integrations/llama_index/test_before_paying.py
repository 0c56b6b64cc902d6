"""What is checked before any sample is paid for."""

import asyncio

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate, RichPromptTemplate
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_TEXT_QA_PROMPT_SEL
from pydantic import ValidationError

from medprm_integrations.llama_index import MedPRMLLM, MedPRMRerank, MedPRMSynthesizer, policy_template
from medprm_scorer import InputError
from tests.support.llama_index_scripts import GOOD, QUESTION, SECRET, ScriptedLLM, document, reading_prm

NODES = [document("Label: give 5 mg.")]


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def llm():
    return ScriptedLLM(answers=[GOOD])


BAD_TEMPLATES = [
    (PromptTemplate("Context: {context} Q: {question}"), "has no {query_str} and no {context_str}"),
    (PromptTemplate("{context_str}"), "has no {query_str}:"),
    (PromptTemplate("{query_str}"), "has no {context_str}:"),
    (RichPromptTemplate("{{ question }} {{ context_str }}"), "has no {query_str}:"),
    (ChatPromptTemplate([ChatMessage("{query_str}")]), "has no {context_str}:"),
    ("Answer {query_str} from {context_str}", "must be a prompt template, such as PromptTemplate(text), not str"),
    (5, "not int"),
]


@pytest.mark.parametrize(("template", "message"), BAD_TEMPLATES)
def test_a_template_in_which_the_question_or_the_documents_have_no_place(prm, llm, template, message):
    for make in (MedPRMSynthesizer, MedPRMRerank):
        with pytest.raises((InputError, ValidationError)) as caught:
            make(prm=prm, llm=llm, text_qa_template=template)
        assert message in str(caught.value)
        made = make(prm=prm, llm=llm)
        with pytest.raises(InputError) as caught:
            made.update_prompts({"text_qa_template": template})
        assert message in str(caught.value)
    assert llm.asked == []


@pytest.mark.parametrize(
    "template",
    [
        policy_template(),
        policy_template("open"),
        DEFAULT_TEXT_QA_PROMPT_SEL,
        PromptTemplate("{documents}{query_str}"),
        PromptTemplate("{c} {q}", template_var_mappings={"context_str": "c", "query_str": "q"}),
        PromptTemplate("{context_str} {query_str} {tone}").partial_format(tone="Brief."),
        RichPromptTemplate("{{ context_str }} {{ query_str }}"),
    ],
)
def test_templates_that_have_both(prm, llm, template):
    made = MedPRMSynthesizer(prm=prm, llm=llm, n=1, text_qa_template=template)
    made.synthesize(QUESTION, NODES)
    asked = str(llm.asked[0][0])
    assert "give 5 mg" in asked
    assert "Which dose?" in asked
    MedPRMRerank(prm=prm, llm=llm, text_qa_template=template)


def test_what_is_no_node_is_refused(prm, llm):
    for run in (
        lambda: MedPRMSynthesizer(prm=prm, llm=llm).synthesize(QUESTION, [SECRET]),
        lambda: asyncio.run(MedPRMSynthesizer(prm=prm, llm=llm).asynthesize(QUESTION, [SECRET])),
    ):
        with pytest.raises(InputError, match="node 0 must be a NodeWithScore, not str"):
            run()
    assert llm.asked == []


def test_evidence_that_fails_costs_no_samples(prm, llm):
    def failing(messages):
        raise LookupError(SECRET)

    made = MedPRMLLM(llm=llm, prm=prm, n=8, evidence=failing)
    for run in (lambda: made.chat([ChatMessage(QUESTION)]), lambda: asyncio.run(made.achat([ChatMessage(QUESTION)]))):
        with pytest.raises(LookupError):
            run()
    assert llm.asked == []


def test_settings_that_are_assigned_later(prm, llm):
    for make in (MedPRMLLM, MedPRMRerank, MedPRMSynthesizer):
        with pytest.raises(ValidationError, match="agree must be at most n"):
            make(prm=prm, llm=llm, n=4, agree=9)
    made = MedPRMLLM(llm=llm, prm=prm)
    made.n = 0
    with pytest.raises(InputError, match=r"^n: Input should be greater than or equal to 1"):
        made.chat([ChatMessage(QUESTION)])
    assert llm.asked == []
