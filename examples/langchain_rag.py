"""Retrieval, sampling and reranking in one LCEL chain: `python -m examples.langchain_rag`.

The chain ends in a `Ranking`: its answer, its winning chain of thought, and the reward of every step.
"""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough

from examples.few_patients import PATIENTS, tally
from examples.formulary.hospital import Hospital
from examples.langchain_parts import FormularyRetriever, ask_locally
from medprm_integrations.langchain import MedPRMReranker
from medprm_scorer import MedPRM, Ranking, policy_messages


def build_chain(llm: BaseChatModel, retriever: BaseRetriever, prm: MedPRM, n: int = 8) -> Runnable[str, Ranking]:
    """A question in, the ranking of n sampled answers out."""

    def prompt(found: dict[str, Any]) -> list[dict[str, str]]:
        return policy_messages(found["question"], [document.page_content for document in found["documents"]])

    samples = RunnableLambda(prompt) | RunnableLambda(lambda messages: [messages] * n) | llm.map()
    request: Runnable[str, Any] = RunnableParallel(
        question=RunnablePassthrough(), documents=retriever
    ) | RunnablePassthrough.assign(candidates=samples)
    return request | MedPRMReranker(prm=prm)


def main() -> None:
    """Answer some patients' questions."""
    hospital = Hospital(0)
    with ask_locally() as llm:
        chain = build_chain(llm, FormularyRetriever.of(hospital), MedPRM.from_pretrained())
        right = 0
        for number in range(PATIENTS):
            case = hospital.case(number)
            ranking = chain.invoke(case.text)
            right += ranking.answer == case.answer
            print(f"Patient {number}: the right answer is {case.answer}.\n{ranking}\n")
        print(tally(right, PATIENTS))


if __name__ == "__main__":
    main()
