"""What is said of a mistake, before anything is paid for."""

import pytest
from llama_index.core.llms import MockLLM

from medprm_integrations.llama_index import MedPRMEvaluator, MedPRMLLM, MedPRMRerank, MedPRMSynthesizer
from tests.support.llama_index_scripts import GOOD, QUESTION, SECRET, ScriptedLLM, document, reading_prm

NODES = [document("Label: give 5 mg.")]
PRM, MODEL = reading_prm(), ScriptedLLM(answers=[GOOD])


def synthesizer(**options):
    return MedPRMSynthesizer(**{"prm": PRM, "llm": MODEL, **options})


MISTAKES = {
    "arguments without names": (
        lambda: MedPRMRerank(PRM, MODEL),  # type: ignore[call-arg]
        r"by name: MedPRMRerank\(prm=…\)",
    ),
    "arguments without names, llm": (
        lambda: MedPRMLLM(PRM, MODEL),  # type: ignore[call-arg]
        r"by name: MedPRMLLM\(prm=…\)",
    ),
    "a class as the llm": (lambda: synthesizer(llm=MockLLM), r"not the class: make one, MockLLM\(\.\.\.\)"),
    "a class as the llm, rerank": (lambda: MedPRMRerank(prm=PRM, llm=MockLLM), "not the class: make one, MockLLM"),
    "a setting of the llm": (lambda: synthesizer(temperature=1), "unknown setting 'temperature': set it on llm"),
    "a setting of this llm": (lambda: synthesizer(delay=1), "unknown setting 'delay': set it on llm"),
    "a response mode": (lambda: synthesizer(response_mode="compact"), "unknown setting 'response_mode': MedPRMSynth"),
    "a typing error": (lambda: synthesizer(agregate="min"), "agregate"),
    "an output class": (lambda: synthesizer(output_cls=SECRET), "output_cls must be a pydantic class"),
    "no function": (lambda: synthesizer(is_evidence=SECRET), "is_evidence must be a function, not str"),
    "no function, llm": (lambda: MedPRMLLM(prm=PRM, llm=MODEL, is_answer=SECRET), "is_answer"),
    "no function, rerank": (lambda: MedPRMRerank(prm=PRM, is_evidence=SECRET), "is_evidence"),
    "no function, evaluator": (
        lambda: MedPRMEvaluator(prm=PRM, question=SECRET),
        "question must be a function, not str",
    ),
    "a node": (lambda: synthesizer().synthesize(QUESTION, NODES[0]), "nodes must be a list of nodes"),
    "a text": (lambda: synthesizer().synthesize(QUESTION, SECRET), "nodes must be a list of nodes"),
    "texts": (lambda: synthesizer().synthesize(QUESTION, [SECRET]), "node 0 must be a NodeWithScore, not str"),
    "a text as a response": (lambda: MedPRMEvaluator(prm=PRM).evaluate_response(QUESTION, SECRET), "call evaluate"),
    "data alone": (
        lambda: MedPRMRerank.from_dict(MedPRMRerank(prm=PRM).to_dict()),
        r"not part of the data: MedPRMRerank.from_dict\(data, prm=…, llm=…\)",
    ),
    "data alone, llm": (lambda: MedPRMLLM.from_dict(MedPRMLLM(prm=PRM, llm=MODEL).to_dict()), "not part of the data"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        make()
    assert SECRET not in str(caught.value)
    assert MODEL.asked == []


def test_data_and_what_it_lacks():
    data = MedPRMLLM(prm=PRM, llm=MODEL, n=3).to_dict()
    assert MedPRMLLM.from_dict(data, prm=PRM, llm=MODEL).n == 3
    assert MedPRMRerank.from_dict(MedPRMRerank(prm=PRM, top_n=2).to_dict(), prm=PRM).top_n == 2
