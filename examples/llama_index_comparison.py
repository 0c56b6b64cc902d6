"""The query engines of the examples against one sample and against majority vote.

`python -m examples.llama_index_comparison` asks them all about the same patients, through the real server.
"""

from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.query_engine import RetrieverQueryEngine

from examples import comparison
from examples.counting_relay import count_calls
from examples.formulary.hospital import Case, Hospital
from examples.formulary.sample import POLICY
from examples.llama_index_parts import FormularyRetriever, language_model
from examples.llama_index_query_engine import with_postprocessor
from examples.serving import serve
from medprm_integrations.llama_index import MedPRMSynthesizer, ranking_of
from medprm_scorer import MedPRM

MORE = 4  # times as many samples for the ways that may draw more


def main() -> None:
    """Compare and print."""
    options = comparison.read_options(__doc__)
    hospital, prm = Hospital(0), MedPRM.from_pretrained()
    retriever = FormularyRetriever(hospital)
    few, most = options.n, MORE * options.n
    one, stops = "one sample", f"MedPRMSynthesizer, stops at most at {most}"
    votes, selects = ({n: f"{way} of {n}" for n in (few, most)} for way in ("majority", "MedPRMSynthesizer"))
    reranks = f"MedPRMRerank of {few}"
    pairs = [
        *((selects[n], votes[n]) for n in (few, most)),
        (selects[few], one),
        (reranks, votes[few]),
        (stops, selects[few]),
        (stops, selects[most]),
    ]
    with serve(POLICY, batching=True) as url, count_calls(url) as (relay, calls):
        llm = language_model(relay)

        def engine(n: int, **settings: Any) -> RetrieverQueryEngine:
            answering = MedPRMSynthesizer(prm=prm, llm=llm, n=n, **settings)
            return RetrieverQueryEngine(retriever, response_synthesizer=answering)

        plain, stopping = engine(1), engine(most, stop="confident")
        selecting = {n: engine(n) for n in (few, most)}
        postprocessing = with_postprocessor(llm, retriever, prm, few)

        def ask(case: Case) -> comparison.Answers:
            def run(way: BaseQueryEngine) -> tuple[RESPONSE_TYPE, int]:
                return comparison.counted(lambda: way.query(case.text), calls)

            single, for_one = run(plain)
            answers = {one: (prm.read_answer(str(single)), for_one)}
            for n, way in selecting.items():
                chosen, count = run(way)
                answers |= comparison.voted_and_selected(ranking_of(chosen), count, votes[n], selects[n])
            stopped, for_some = run(stopping)
            reranked, for_rerank = run(postprocessing)
            return answers | {
                stops: (ranking_of(stopped).answer, for_some),
                reranks: (prm.read_answer(str(reranked)), for_rerank),
            }

        comparison.main("llama_index_comparison", ask, hospital, pairs, options)


if __name__ == "__main__":
    main()
