"""The LCEL chain and the agent of the examples against one sample and against self-consistency.

`python -m examples.langchain_comparison` asks them all about the same patients, through the real server.
"""

from typing import Any

from langchain_core.messages import AIMessage

from examples import comparison
from examples.counting_relay import count_calls
from examples.formulary.hospital import Case, Hospital
from examples.formulary.sample import POLICY
from examples.langchain_agent import build_agent
from examples.langchain_parts import FormularyRetriever, chat_model
from examples.langchain_rag import build_chain
from examples.serving import serve
from medprm_integrations.langchain import MedPRMMiddleware, ranking_of
from medprm_scorer import MedPRM

MORE = 4  # times as many samples for the ways that may draw more


def main() -> None:
    """Compare and print."""
    options = comparison.read_options(__doc__)
    hospital, prm = Hospital(0), MedPRM.from_pretrained()
    retriever = FormularyRetriever.of(hospital)
    few, most = options.n, MORE * options.n
    one, stops = "agent, one sample", f"agent, MedPRMMiddleware, stops at most at {most}"
    votes, selects = ({n: f"agent, {way} of {n}" for n in (few, most)} for way in ("majority", "MedPRMMiddleware"))
    chain_votes, chain_selects = f"LCEL chain, majority of {few}", f"LCEL chain, MedPRMReranker of {few}"
    pairs = [
        (chain_selects, chain_votes),
        *((selects[n], votes[n]) for n in (few, most)),
        (selects[few], one),
        (stops, selects[few]),
        (stops, selects[most]),
    ]
    with serve(POLICY, batching=True) as url, count_calls(url) as (relay, calls):
        llm = chat_model(relay)
        chain = build_chain(llm, retriever, prm, few)
        plain = build_agent(llm, retriever)
        selecting = {n: build_agent(llm, retriever, MedPRMMiddleware(prm=prm, n=n)) for n in (few, most)}
        stopping = build_agent(llm, retriever, MedPRMMiddleware(prm=prm, n=most, stop="confident"))

        def ask(case: Case) -> comparison.Answers:
            def run(agent: Any) -> tuple[AIMessage, int]:
                found, count = comparison.counted(lambda: agent.invoke({"messages": [("user", case.text)]}), calls)
                return found["messages"][-1], count

            single, for_one = run(plain)
            answers = {one: (prm.read_answer(single.text), for_one)}
            for n, agent in selecting.items():
                chosen, count = run(agent)
                answers |= comparison.voted_and_selected(ranking_of(chosen), count, votes[n], selects[n])
            stopped, for_some = run(stopping)
            ranking, for_chain = comparison.counted(lambda: chain.invoke(case.text), calls)
            answers |= comparison.voted_and_selected(ranking, for_chain, chain_votes, chain_selects)
            return answers | {stops: (ranking_of(stopped).answer, for_some)}

        comparison.main("langchain_comparison", ask, hospital, pairs, options)


if __name__ == "__main__":
    main()
