"""Documents that exceed the language model's window: packed into several prompts, each sample refined through them."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_REFINE_PROMPT_SEL
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.utilities.token_counting import TokenCounter
from pydantic import BaseModel

from medprm_integrations.llama_index import MedPRMRerank, MedPRMSynthesizer, policy_template, ranking_of
from medprm_integrations.llama_index.prompts import TEMPLATES, refining_template
from medprm_integrations.llama_index.window import asking_within_window
from medprm_scorer import InputError
from tests.support.llama_index_scripts import BAD, GOOD, QUESTION, Fixed, ScriptedLLM, document, reading_prm

WINDOW, OUTPUT = 2_000, 256


@pytest.fixture
def prm():
    return reading_prm()


class Counting(ScriptedLLM):
    """Refuses what its window does not hold, as servers do."""

    def _enter(self, asked, kwargs):
        tokens = TokenCounter().estimate_tokens_in_messages(asked) if self.is_chat else len(asked) // 5
        if tokens + OUTPUT > self.window:
            raise ValueError("too long")
        return super()._enter(asked, kwargs)


def llm(*answers, **options):
    return Counting(answers=answers or (BAD, GOOD), window=WINDOW, **options)


def nodes(count=5, words=550):
    return [document(f"Fact {number}: " + "word " * words, 0.5) for number in range(count)]


def ways(prm, model, documents, **options):
    made = {"prm": prm, "llm": model, "n": 1, **options}
    engine = RetrieverQueryEngine(Fixed(documents), MedPRMSynthesizer(**made))
    rerank = MedPRMRerank(**made)
    return {
        "synthesizer": lambda: engine.query(QUESTION),
        "asynthesizer": lambda: asyncio.run(engine.aquery(QUESTION)),
        "rerank": lambda: rerank.postprocess_nodes(documents, query_str=QUESTION)[0],
        "arerank": lambda: asyncio.run(rerank.apostprocess_nodes(documents, query_str=QUESTION))[0],
    }


each = pytest.mark.parametrize("way", ["synthesizer", "asynthesizer", "rerank", "arerank"])


@each
def test_each_sample_is_refined_through_all_documents(prm, way):
    model = llm(BAD, BAD, BAD, BAD, GOOD)
    ranking = ranking_of(ways(prm, model, nodes())[way]())
    prompts = [asked[0][-1].content for asked in model.asked]
    assert 1 < len(prompts) < 6
    assert sorted(set(re.findall(r"Fact (\d)", "".join(prompts)))) == list("01234")
    assert [BAD in prompt for prompt in prompts] == [False, *[True] * (len(prompts) - 1)]
    assert all(QUESTION in prompt for prompt in prompts)
    assert ranking.best.text in (BAD, GOOD)
    assert ranking.documents_given == 5


@each
def test_what_fits_is_asked_in_one_prompt(prm, way):
    model = llm()
    ways(prm, model, nodes(2, 100))[way]()
    assert len(model.asked) == 1


def test_the_tokens_of_all_parts_are_counted(prm):
    model = llm()
    response = MedPRMSynthesizer(prm=prm, llm=model, n=2).synthesize(QUESTION, nodes())
    assert response.metadata["medprm"]["usage"]["total_tokens"] == 5 * len(model.asked)


@each
def test_a_question_that_leaves_no_room_costs_nothing(prm, way):
    model = ScriptedLLM(answers=[GOOD], window=300)
    with pytest.raises(InputError, match="leave no room for documents in the llm's context window"):
        ways(prm, model, nodes(1, 10))[way]()
    assert model.asked == []


def test_a_text_model_and_templates_of_ones_own(prm):
    model = llm(is_chat=False)
    made = MedPRMSynthesizer(
        prm=prm,
        llm=model,
        n=1,
        text_qa_template=PromptTemplate("{context_str} {query_str} {tone}"),
        refine_template=PromptTemplate("{existing_answer} | {context_msg} | {query_str} {tone}"),
    )
    made.synthesize(QUESTION, nodes(), tone="Brief.")
    first, *others = [asked for asked, _ in model.asked]
    assert others
    assert all(" | Document" in prompt or f"{BAD} |" in prompt or f"{GOOD} |" in prompt for prompt in others)
    assert all("Brief." in prompt for prompt in (first, *others))
    made.update_prompts({"refine_template": DEFAULT_REFINE_PROMPT_SEL})
    assert made.get_prompts()["refine_template"].metadata == DEFAULT_REFINE_PROMPT_SEL.metadata


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (PromptTemplate("{query_str} {context_msg}"), "refine_template has no {existing_answer}"),
        (PromptTemplate("{query_str} {existing_answer}"), "refine_template has no {context_msg}"),
        (ChatPromptTemplate([]), "refine_template has no {query_str} and no {context_msg} and no {existing_answer}"),
        ("Refine {existing_answer}", "refine_template must be a prompt template"),
    ],
)
def test_refine_templates_are_checked_before_anything_is_paid(prm, template, message):
    model = llm()
    for make in (MedPRMSynthesizer, MedPRMRerank):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(prm=prm, llm=model, refine_template=template)
        with pytest.raises(InputError, match=re.escape(message)):
            make(prm=prm, llm=model).update_prompts({"refine_template": template})


class Answer(BaseModel):
    """An answer."""

    reasoning: str
    answer: str


class Structured(Counting):
    def structured_predict(self, output_cls, prompt, llm_kwargs=None, **values):
        answer = self._enter(prompt.format_messages(**values), {})
        self._leave()
        return answer


def test_structured_answers_are_refined_too(prm):
    model = Structured(answers=[Answer(reasoning="Step 1: 5 mg [0.9].", answer="A")], window=WINDOW)
    response = MedPRMSynthesizer(prm=prm, llm=model, n=1, output_cls=Answer).synthesize(QUESTION, nodes())
    assert response.response.answer == "A"
    assert '"answer":"A"' in model.asked[-1][0][-1].content


def test_a_helper_of_ones_own_says_what_fits(prm):
    model = ScriptedLLM(answers=[GOOD])
    made = MedPRMSynthesizer(prm=prm, llm=model, n=1)
    made._prompt_helper = PromptHelper(context_window=1_000, num_output=100)
    made.synthesize(QUESTION, nodes())
    assert len(model.asked) > 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=3_000), max_size=4), st.text(min_size=1, max_size=200))
def test_hostile_texts_do_not_break_the_packing(documents, question):
    asking_within_window(
        MockLLM(),
        dict(zip(TEMPLATES, (policy_template("free"), refining_template("free")), strict=True)),
        question,
        documents,
        is_async=False,
    )
