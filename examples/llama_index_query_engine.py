"""Query engines that answer with the best of several sampled chains: `python -m examples.llama_index_query_engine`.

With `MedPRMSynthesizer` the winning chain is the response. With `MedPRMRerank` the best chain is put before the
retrieved documents, for whatever answers from them. Here that is the mode "context_only", which hands them on as they
are: the small policy model cannot restate a chain faithfully. With a language model that can, leave the mode out.
"""

from llama_index.core.llms import LLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import BaseRetriever

from examples.few_patients import PATIENTS, tally
from examples.formulary.hospital import Hospital
from examples.llama_index_parts import FormularyRetriever, ask_locally
from medprm_integrations.llama_index import MedPRMRerank, MedPRMSynthesizer, ranking_of
from medprm_scorer import MedPRM

N = 8  # samples of each question


def with_synthesizer(llm: LLM, retriever: BaseRetriever, prm: MedPRM, n: int = N) -> RetrieverQueryEngine:
    """The winning chain is the response."""
    return RetrieverQueryEngine(retriever, response_synthesizer=MedPRMSynthesizer(prm=prm, llm=llm, n=n))


def with_postprocessor(llm: LLM, retriever: BaseRetriever, prm: MedPRM, n: int = N) -> RetrieverQueryEngine:
    """The best chain before the documents."""
    return RetrieverQueryEngine.from_args(
        retriever,
        llm=llm,
        response_mode=ResponseMode.CONTEXT_ONLY,
        node_postprocessors=[MedPRMRerank(prm=prm, llm=llm, n=n)],
    )


def main() -> None:
    """Answer some patients' questions."""
    hospital = Hospital(0)
    with ask_locally() as llm:
        retriever, prm = FormularyRetriever(hospital), MedPRM.from_pretrained()
        synthesizing, postprocessing = with_synthesizer(llm, retriever, prm), with_postprocessor(llm, retriever, prm)
        right = 0
        for number in range(PATIENTS):
            case = hospital.case(number)
            ranking = ranking_of(synthesizing.query(case.text))
            right += ranking.answer == case.answer
            print(f"Patient {number}: the right answer is {case.answer}.\n{ranking}\n")
            print(f"The best of {N} chains, and the documents:\n{postprocessing.query(case.text)}\n")
        print(tally(right, PATIENTS))


if __name__ == "__main__":
    main()
