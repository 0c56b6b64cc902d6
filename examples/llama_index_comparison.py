"""The query engines of the examples against one sample and against majority vote.

`python -m examples.llama_index_comparison` asks them all about the same patients, through the real server.
"""

from llama_index.core.query_engine import RetrieverQueryEngine

from examples import comparison
from examples.counting_relay import count_calls
from examples.formulary.hospital import Case, Hospital
from examples.formulary.sample import POLICY
from examples.llama_index_parts import FormularyRetriever, language_model
from examples.llama_index_query_engine import with_postprocessor, with_synthesizer
from examples.serving import serve
from medprm_integrations.llama_index import MedPRMSynthesizer, ranking_of
from medprm_scorer import MedPRM

PAIRS = [
    ("MedPRMSynthesizer", "majority vote of its samples"),
    ("MedPRMSynthesizer", "one sample"),
    ("MedPRMRerank", "majority vote of its samples"),
    ("MedPRMRerank", "one sample"),
    ("MedPRMSynthesizer that stops", "MedPRMSynthesizer"),
]


def main() -> None:
    """Compare and print."""
    options = comparison.read_options(__doc__)
    hospital, prm = Hospital(0), MedPRM.from_pretrained()
    retriever = FormularyRetriever(hospital)
    with serve(POLICY) as url, count_calls(url) as (relay, calls):
        llm = language_model(relay)
        plain = RetrieverQueryEngine(retriever, response_synthesizer=MedPRMSynthesizer(prm=prm, llm=llm, n=1))
        synthesizing = with_synthesizer(llm, retriever, prm, options.n)
        some = MedPRMSynthesizer(prm=prm, llm=llm, n=options.n, stop="confident")
        stopping = RetrieverQueryEngine(retriever, response_synthesizer=some)
        postprocessing = with_postprocessor(llm, retriever, prm, options.n)

        def ask(case: Case) -> comparison.Answers:
            single, for_one = comparison.counted(lambda: plain.query(case.text), calls)
            chosen, for_all = comparison.counted(lambda: synthesizing.query(case.text), calls)
            stopped, for_some = comparison.counted(lambda: stopping.query(case.text), calls)
            reranked, for_rerank = comparison.counted(lambda: postprocessing.query(case.text), calls)
            ranking = ranking_of(chosen)
            return {
                "one sample": (prm.read_answer(str(single)), for_one),
                "majority vote of its samples": (comparison.majority(ranking), for_all),
                "MedPRMSynthesizer": (ranking.answer, for_all),
                "MedPRMSynthesizer that stops": (ranking_of(stopped).answer, for_some),
                "MedPRMRerank": (prm.read_answer(str(reranked)), for_rerank),
            }

        comparison.main("llama_index_comparison", ask, hospital, PAIRS, options)


if __name__ == "__main__":
    main()
