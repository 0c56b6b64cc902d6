"""Draw more answers while the verdict is weak, and refer to a clinician if it stays so, as a LangGraph graph.

`python -m examples.langgraph_second_opinion`. Retrieval, sampling and reranking are nodes; whether to sample again is
an edge. A reward is not a probability that an answer is right: where to draw the line is for you to find on your data.
"""

from operator import add
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langgraph.graph import END, START, StateGraph
from typing_extensions import NotRequired, TypedDict

from examples.few_patients import PATIENTS, tally
from examples.formulary.hospital import Hospital
from examples.langchain_parts import FormularyRetriever, ask_locally
from medprm_integrations.langchain import MedPRMReranker
from medprm_scorer import MedPRM, Ranking, policy_messages

SURE = 0.5  # lowest step reward of the winner with which an answer is given
ROUND, MOST = 4, 12  # samples drawn at once, and at most


class State(TypedDict):
    """What travels through the graph."""

    question: str
    documents: NotRequired[list[Document]]
    candidates: NotRequired[Annotated[list[str], add]]
    ranking: NotRequired[Ranking]
    answer: NotRequired[str]


def build_graph(llm: BaseChatModel, retriever: BaseRetriever, prm: MedPRM) -> Any:
    """A question in; an answer out, or the advice to ask a clinician."""

    def retrieve(state: State) -> dict[str, Any]:
        return {"documents": retriever.invoke(state["question"])}

    def sample(state: State) -> dict[str, Any]:
        texts = [document.page_content for document in state["documents"]]
        drawn = llm.batch([policy_messages(state["question"], texts)] * ROUND)
        return {"candidates": [message.text for message in drawn]}

    reranker = MedPRMReranker(prm=prm)

    def rerank(state: State) -> dict[str, Any]:
        return {
            "ranking": reranker.invoke(
                {
                    "question": state["question"],
                    "documents": [*state["documents"]],
                    "candidates": [*state["candidates"]],
                }
            )
        }

    def enough(state: State) -> Literal["sample", "answer"]:
        sure = state["ranking"].best.reward("min") >= SURE
        return "answer" if sure or len(state["candidates"]) >= MOST else "sample"

    def answer(state: State) -> dict[str, Any]:
        ranking = state["ranking"]
        sure = ranking.answer is not None and ranking.best.reward("min") >= SURE
        return {"answer": ranking.answer if sure else "ask a clinician"}

    graph = StateGraph(State)
    for node in (retrieve, sample, rerank, answer):
        graph.add_node(node)
    for before, after in ((START, "retrieve"), ("retrieve", "sample"), ("sample", "rerank"), ("answer", END)):
        graph.add_edge(before, after)
    graph.add_conditional_edges("rerank", enough)
    return graph.compile()


def main() -> None:
    """Answer some patients' questions."""
    hospital = Hospital(0)
    with ask_locally() as llm:
        graph = build_graph(llm, FormularyRetriever.of(hospital), MedPRM.from_pretrained())
        right = 0
        for number in range(PATIENTS):
            case = hospital.case(number)
            state = graph.invoke({"question": case.text})
            print(f"Patient {number}: the right answer is {case.answer}; after {len(state['candidates'])} samples:")
            right += state["answer"] == case.answer
            print(f"{state['answer']}\n{state['ranking']}\n")
        print(tally(right, PATIENTS))


if __name__ == "__main__":
    main()
