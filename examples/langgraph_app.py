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
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from pydantic import SecretStr

from examples.langchain_parts import ask_locally
from medprm_integrations.langchain import MedPRMBestOfN, ask_in_doubt
from medprm_scorer import Floors, MedPRM

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
FLOORS = Floors(min_reward=0.5, min_share=0.6, min_documents=1)
"""Below these a person is asked. They are a start: calibrate on questions of your own whose answers you know."""
REWRITE = (
    "Rewrite the user's last question so that it can be understood without the conversation. Keep the facts, numbers, "
    "units and options that still hold, and leave out those that the user has replaced. Reply with the question only."
)


class Index:
    """The paragraphs of all text files in a folder, searched by their words (BM25)."""

    def __init__(self, folder: Path) -> None:
        self.pieces = [
            Document(piece.strip(), metadata={"source": file.name})
            for file in sorted(folder.glob("*.txt"))
            for piece in file.read_text(encoding="utf-8").split("\n\n")
            if piece.strip()
        ]
        if not self.pieces:
            raise SystemExit(f"there is no text in the .txt files of {folder}: --documents must name a folder of them")
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
    """The conversation, its last question, and what was found for it."""

    asked: str | list[BaseMessage]
    documents: list[Document]


def build_app(llm: BaseChatModel, index: Index, prm: MedPRM, n: int = 8, *, rewrites: bool = True) -> Any:
    """The graph: search, answer, and a person where the answer is doubtful. Each conversation is a thread.

    Args:
        llm: The language model.
        index: The documents.
        prm: The reward model.
        n: How many answers are sampled.
        rewrites: Whether the model can rewrite a follow-up question. Otherwise the user's turns are judged together, in
            which numbers of earlier turns still stand; a caution says so.
    """
    best = MedPRMBestOfN(llm=llm, prm=prm, n=n, trust=FLOORS, on_doubt="interrupt")
    writer = llm.with_config(tags=["nostream"])  # a rewritten question is no answer

    def understand(state: State) -> dict[str, Any]:
        turns = _turns(state)
        if len(turns) == 1:
            return {"asked": str(turns[0].text)}
        if not rewrites:
            return {"asked": state["messages"]}
        return {"asked": str(writer.invoke([SystemMessage(REWRITE), *state["messages"]]).text)}

    def search(state: State) -> dict[str, Any]:
        asked = state["asked"]
        text = asked if isinstance(asked, str) else "\n".join(str(turn.text) for turn in _turns(state))
        return {"documents": index.search(text)}

    def answer(state: State) -> dict[str, Any]:
        return {"messages": [best.invoke({"question": state["asked"], "documents": state["documents"]})]}  # type: ignore[typeddict-item]

    def check(state: State) -> dict[str, Any]:
        # a separate node: after an interrupt the node runs again, and samples would be paid for twice
        return {"messages": [ask_in_doubt(state["messages"][-1])]}  # type: ignore[arg-type]

    graph = StateGraph(State)
    graph.add_sequence([understand, search, answer, check])
    graph.add_edge(START, "understand")
    graph.add_edge("check", END)
    return graph.compile(checkpointer=InMemorySaver())


def ask(app: Any, question: str, thread: str, person: Callable[[dict[str, Any]], str | bool | None]) -> AIMessage:
    """One turn of a conversation.

    Args:
        app: The graph.
        question: What the user says.
        thread: Name of the conversation.
        person: Called with what `ask_in_doubt` shows; gives the right answer, True to approve the one that waits, or
            None if nobody can tell: the user is then told that there is no reliable answer.
    """
    config = {"configurable": {"thread_id": thread}}
    state = app.invoke({"messages": [HumanMessage(question)]}, config)
    while waiting := state.get("__interrupt__"):
        reply = person(waiting[0].value)
        if reply is None:
            break
        state = app.invoke(Command(resume=reply), config)
    answer: AIMessage = state["messages"][-1]
    return answer


def ask_clinician(case: dict[str, Any]) -> str | bool | None:
    """Somebody at the keyboard."""
    print("Doubtful:", case.get("problem", ""), *case["ranking"]["cautions"])
    print(*(f"{step['reward']:.2f} {step['text']}" for step in case["steps"]), sep="\n")
    try:
        said = input("Your answer in its place, 'ok' to approve it, or nothing if you cannot tell: ").strip()
    except EOFError:
        return None
    return said.casefold() == "ok" or said or None


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
        app = build_app(llm, Index(options.documents), prm, rewrites=options.url is not None)
        for question in options.ask or QUESTIONS:
            answer = ask(app, question, "1", ask_clinician)
            print(f"\n{question}\n{answer.text}")
            note = answer.response_metadata["medprm"]
            for caution in () if note.get("doubt") == "person" else note["cautions"]:  # they are about the model's
                print(f"Caution: {caution}")


def _turns(state: State) -> list[BaseMessage]:
    return [message for message in state["messages"] if isinstance(message, HumanMessage)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


if __name__ == "__main__":
    main()
