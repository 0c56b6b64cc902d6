"""The LCEL chain and the agent of the examples against one sample and against self-consistency.

`python -m examples.langchain_comparison` asks them all about the same patients, through the real server.
"""

from examples import comparison
from examples.formulary.hospital import Case, Hospital
from examples.langchain_agent import build_agent
from examples.langchain_parts import FormularyRetriever, ask_locally
from examples.langchain_rag import build_chain
from medprm_integrations.langchain import MedPRMMiddleware, ranking_of
from medprm_scorer import MedPRM

PAIRS = [
    ("LCEL chain, MedPRMReranker", "LCEL chain, self-consistency"),
    ("LCEL chain, MedPRMReranker", "agent, one sample"),
    ("agent, MedPRMMiddleware", "agent, self-consistency"),
    ("agent, MedPRMMiddleware", "agent, one sample"),
]


def main() -> None:
    """Compare and print."""
    options = comparison.read_options(__doc__)
    hospital, prm = Hospital(0), MedPRM.from_pretrained()
    retriever = FormularyRetriever.of(hospital)
    with ask_locally() as llm:
        chain = build_chain(llm, retriever, prm, options.n)
        plain = build_agent(llm, retriever)
        selecting = build_agent(llm, retriever, MedPRMMiddleware(prm=prm, n=options.n))

        def ask(case: Case) -> comparison.Answers:
            messages = {"messages": [("user", case.text)]}
            ranking = chain.invoke(case.text)
            chosen = ranking_of(selecting.invoke(messages)["messages"][-1])
            single = plain.invoke(messages)["messages"][-1].text
            return {
                "agent, one sample": prm.read_answer(single),
                "agent, self-consistency": comparison.majority(chosen),
                "agent, MedPRMMiddleware": chosen.answer,
                "LCEL chain, self-consistency": comparison.majority(ranking),
                "LCEL chain, MedPRMReranker": ranking.answer,
            }

        comparison.main("langchain_comparison", ask, hospital, PAIRS, options)


if __name__ == "__main__":
    main()
