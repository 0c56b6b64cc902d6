"""Questions about your own text files, with follow-ups, and a person for doubtful answers: a LangGraph application.

    python -m examples.langgraph_app    # offline: the small policy model, and documents of a made-up ward
    python -m examples.langgraph_app --url https://api.example.org/v1 --model NAME --documents FOLDER \
        --reward-model dmis-lab/llama-3.1-medprm-reward-v1.0 --ask "…" --ask "…"

`--url` is any OpenAI-compatible server; its key is in `OPENAI_API_KEY`.
"""

import argparse
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import SecretStr

from examples.langchain_parts import ask_locally
from medprm_integrations.langchain import MedPRMBestOfN, ranking_of
from medprm_scorer import MedPRM, Ranking

try:
    from langchain_openai import ChatOpenAI
    from rank_bm25 import BM25Okapi
except ModuleNotFoundError as error:
    raise SystemExit(f"the examples need {error.name}: pip install '.[examples]'") from None

OWN = Path(__file__).parent / "ward_documents"
QUESTIONS = [
    "A patient aged 90 years comes with morlitis. The patient has calthoma. The patient weighs 20 kg. "
    "Which daily dose of Fexidrel is right?",
    "And if the patient weighs 10 kg?",
]
LEAST_REWARD, LEAST_SHARE = 0.5, 0.6
"""Below these a person is asked. They are a start: set them on questions of your own whose answers you know."""


class Index:
    """The paragraphs of all text files in a folder, searched by their words (BM25)."""

    def __init__(self, folder: Path) -> None:
        self.pieces = [
            Document(piece.strip(), metadata={"source": file.name})
            for file in sorted(folder.glob("*.txt"))
            for piece in file.read_text(encoding="utf-8").split("\n\n")
            if piece.strip()
        ]
        self._ranks = BM25Okapi([_words(piece.page_content) for piece in self.pieces])

    def search(self, text: str, count: int = 4) -> list[Document]:
        """The paragraphs that fit a text best, each with its score: medprm reads the best of them first."""
        scores = self._ranks.get_scores(_words(text))
        best = sorted(range(len(scores)), key=lambda place: -scores[place])[:count]
        return [
            Document(piece.page_content, metadata={**piece.metadata, "relevance_score": float(scores[place])})
            for place in best
            for piece in [self.pieces[place]]
        ]


class State(MessagesState):
    """The conversation, and what was found for its last question."""

    documents: list[Document]


def build_app(llm: BaseChatModel, index: Index, prm: MedPRM, n: int = 8) -> Any:
    """The graph: search, answer, and a person where the answer is doubtful. Each conversation is a thread."""
    best = MedPRMBestOfN(llm=llm, prm=prm, n=n)

    def search(state: State) -> dict[str, Any]:
        said = [str(message.text) for message in state["messages"] if isinstance(message, HumanMessage)]
        return {"documents": index.search("\n".join(said))}

    def answer(state: State) -> dict[str, Any]:
        # the whole conversation: what is judged is the user's turns together, so that "And at 10 kg?" is understood
        return {"messages": [best.invoke({"question": state["messages"], "documents": state["documents"]})]}  # type: ignore[typeddict-item]

    def check(state: State) -> dict[str, Any]:
        # a separate node: after an interrupt the node runs again, and samples would be paid for twice
        message = state["messages"][-1]
        ranking = ranking_of(message)
        if not (reasons := doubts(ranking)):
            return {}
        said = interrupt({"answer": message.text, "doubts": reasons, "cautions": ranking.cautions})
        return {"messages": [AIMessage(said, id=message.id)]} if said else {}  # in the place of the doubtful one

    graph = StateGraph(State)
    graph.add_sequence([search, answer, check])
    graph.add_edge(START, "search")
    graph.add_edge("check", END)
    return graph.compile(checkpointer=InMemorySaver())


def doubts(ranking: Ranking) -> list[str]:
    """Why a person should look at an answer; nothing if none needs to."""
    reward = ranking.best.reward(ranking.aggregate)
    share = ranking.votes[0].share if ranking.votes else 0.0
    return [
        *([f"the reward is {reward:.2f}"] if reward < LEAST_REWARD else []),
        *([f"the answer has {share:.0%} of the votes"] if share < LEAST_SHARE else []),
        *(["no document was read"] if not ranking.documents_used else []),
    ]


def ask(app: Any, question: str, thread: str, person: Callable[[dict[str, Any]], str]) -> AIMessage:
    """One turn of a conversation.

    Args:
        app: The graph.
        question: What the user says.
        thread: Name of the conversation.
        person: Called with a doubtful answer, its doubts and its cautions; gives the right answer, or "" to leave it.
    """
    config = {"configurable": {"thread_id": thread}}
    state = app.invoke({"messages": [HumanMessage(question)]}, config)
    while waiting := state.get("__interrupt__"):
        state = app.invoke(Command(resume=person(waiting[0].value)), config)
    answer: AIMessage = state["messages"][-1]
    return answer


def ask_clinician(case: dict[str, Any]) -> str:
    """Somebody at the keyboard."""
    print(f"Doubtful ({'; '.join(case['doubts'])}):\n{case['answer']}")
    return input("Your answer in its place, or nothing to leave it: ")


@contextmanager
def language_model(url: str | None, model: str) -> Iterator[BaseChatModel]:
    """The model of a server, or without one the small policy model on this machine."""
    if url is None:
        with ask_locally() as llm:
            yield llm
    else:
        key = SecretStr(os.environ.get("OPENAI_API_KEY", "none"))
        yield ChatOpenAI(base_url=url, model=model, api_key=key, temperature=1.0)


def main() -> None:
    """Answer some questions, and show what there is to know of each answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", help="an OpenAI-compatible server")
    parser.add_argument("--model", default="", help="its model")
    parser.add_argument("--documents", type=Path, default=OWN, help="a folder of text files")
    parser.add_argument("--reward-model", help="the reward model; the demo model knows only its made-up world")
    parser.add_argument("--ask", action="append", help="a question; again for a follow-up")
    options = parser.parse_args()
    logging.getLogger("medprm").setLevel(logging.ERROR)  # its warnings are the cautions, which are shown below
    prm = MedPRM.from_pretrained(options.reward_model) if options.reward_model else MedPRM.from_pretrained()
    with language_model(options.url, options.model) as llm:
        app = build_app(llm, Index(options.documents), prm)
        for question in options.ask or QUESTIONS:
            answer = ask(app, question, "1", ask_clinician)
            print(f"\n{question}\n{answer.text}")
            for caution in answer.response_metadata.get("medprm", {}).get("cautions", ()):
                print(f"Caution: {caution}")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


if __name__ == "__main__":
    main()
