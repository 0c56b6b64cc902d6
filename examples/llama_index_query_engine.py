"""Query engines that answer with the best of several sampled chains: `python -m examples.llama_index_query_engine`.

With `MedPRMSynthesizer` the winning chain is the response. With `MedPRMRerank` a verified chain is put before the
retrieved documents, and the engine's own synthesizer answers from them.
"""

from llama_index.core.llms import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import CompactAndRefine
from llama_index.core.retrievers import BaseRetriever

from examples.formulary.hospital import Hospital
from examples.llama_index_parts import PATIENTS, FormularyRetriever, ask_locally
from medprm_integrations.llama_index import MedPRMRerank, MedPRMSynthesizer, ranking_of
from medprm_scorer import MedPRM

PROMPT = PromptTemplate("{context_str}\n\nQuestion: {query_str}")


def with_synthesizer(llm: LLM, retriever: BaseRetriever, prm: MedPRM, n: int = 8) -> RetrieverQueryEngine:
    """The winning chain is the response."""
    return RetrieverQueryEngine(retriever, response_synthesizer=MedPRMSynthesizer(prm=prm, llm=llm, n=n))


def with_postprocessor(llm: LLM, retriever: BaseRetriever, prm: MedPRM, n: int = 8) -> RetrieverQueryEngine:
    """A verified chain before the documents, for the engine's own synthesizer, which need not sample any more."""
    sober = llm.model_copy(update={"temperature": 0.0})
    return RetrieverQueryEngine(
        retriever,
        response_synthesizer=CompactAndRefine(llm=sober, text_qa_template=PROMPT),
        node_postprocessors=[MedPRMRerank(prm=prm, llm=llm, n=n)],
    )


def main() -> None:
    """Answer some patients' questions."""
    hospital = Hospital(0)
    with ask_locally() as llm:
        retriever, prm = FormularyRetriever(hospital), MedPRM.from_pretrained()
        synthesizing, postprocessing = with_synthesizer(llm, retriever, prm), with_postprocessor(llm, retriever, prm)
        for number in range(PATIENTS):
            case = hospital.case(number)
            response = synthesizing.query(case.text)
            print(f"Patient {number}: the right answer is {case.answer}.\n{ranking_of(response)}\n")
            print(f"From a verified chain and the documents:\n{postprocessing.query(case.text)}\n")


if __name__ == "__main__":
    main()
