"""The query engines of the examples against one sample and against majority vote.

`python -m examples.llama_index_comparison` asks them all about the same patients, through the real server.
"""

from llama_index.core.query_engine import RetrieverQueryEngine

from examples import comparison
from examples.formulary.hospital import Case, Hospital
from examples.llama_index_parts import FormularyRetriever, ask_locally
from examples.llama_index_query_engine import with_postprocessor, with_synthesizer
from medprm_integrations.llama_index import MedPRMSynthesizer, ranking_of
from medprm_scorer import MedPRM

PAIRS = [
    ("MedPRMSynthesizer", "majority vote of its samples"),
    ("MedPRMSynthesizer", "one sample"),
    ("MedPRMRerank", "majority vote of its samples"),
    ("MedPRMRerank", "one sample"),
]


def main() -> None:
    """Compare and print."""
    options = comparison.read_options(__doc__)
    hospital, prm = Hospital(0), MedPRM.from_pretrained()
    retriever = FormularyRetriever(hospital)
    with ask_locally() as llm:
        plain = RetrieverQueryEngine(retriever, response_synthesizer=MedPRMSynthesizer(prm=prm, llm=llm, n=1))
        synthesizing = with_synthesizer(llm, retriever, prm, options.n)
        postprocessing = with_postprocessor(llm, retriever, prm, options.n)

        def ask(case: Case) -> comparison.Answers:
            ranking = ranking_of(synthesizing.query(case.text))
            return {
                "one sample": prm.read_answer(str(plain.query(case.text))),
                "majority vote of its samples": comparison.majority(ranking),
                "MedPRMSynthesizer": ranking.answer,
                "MedPRMRerank": prm.read_answer(str(postprocessing.query(case.text))),
            }

        comparison.main("llama_index_comparison", ask, hospital, PAIRS, options)


if __name__ == "__main__":
    main()
