"""The LCEL chain and the agent of the examples against one sample and against self-consistency.

`python -m examples.langchain_comparison` asks them all about the same patients, through the real server.
"""

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

PAIRS = [
    ("LCEL chain, MedPRMReranker", "LCEL chain, self-consistency"),
    ("LCEL chain, MedPRMReranker", "agent, one sample"),
    ("agent, MedPRMMiddleware", "agent, self-consistency"),
    ("agent, MedPRMMiddleware", "agent, one sample"),
    ("agent, MedPRMMiddleware that stops", "agent, MedPRMMiddleware"),
]


def main() -> None:
    """Compare and print."""
    options = comparison.read_options(__doc__)
    hospital, prm = Hospital(0), MedPRM.from_pretrained()
    retriever = FormularyRetriever.of(hospital)
    with serve(POLICY) as url, count_calls(url) as (relay, calls):
        llm = chat_model(relay)
        chain = build_chain(llm, retriever, prm, options.n)
        plain = build_agent(llm, retriever)
        selecting = build_agent(llm, retriever, MedPRMMiddleware(prm=prm, n=options.n))
        stopping = build_agent(llm, retriever, MedPRMMiddleware(prm=prm, n=options.n, stop="confident"))

        def ask(case: Case) -> comparison.Answers:
            messages = {"messages": [("user", case.text)]}
            ranking, for_chain = comparison.counted(lambda: chain.invoke(case.text), calls)
            single, for_one = comparison.counted(lambda: plain.invoke(messages), calls)
            chosen, for_all = comparison.counted(lambda: selecting.invoke(messages), calls)
            stopped, for_some = comparison.counted(lambda: stopping.invoke(messages), calls)
            samples = ranking_of(chosen["messages"][-1])
            return {
                "agent, one sample": (prm.read_answer(single["messages"][-1].text), for_one),
                "agent, self-consistency": (comparison.majority(samples), for_all),
                "agent, MedPRMMiddleware": (samples.answer, for_all),
                "agent, MedPRMMiddleware that stops": (ranking_of(stopped["messages"][-1]).answer, for_some),
                "LCEL chain, self-consistency": (comparison.majority(ranking), for_chain),
                "LCEL chain, MedPRMReranker": (ranking.answer, for_chain),
            }

        comparison.main("langchain_comparison", ask, hospital, PAIRS, options)


if __name__ == "__main__":
    main()
