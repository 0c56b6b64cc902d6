"""Questions about your own text files, with follow-ups, and a person for doubtful answers: a LlamaIndex application.

    python -m examples.llama_index_app    # offline: the small policy model, and documents of a made-up ward
    python -m examples.llama_index_app --url https://api.example.org/v1 --model NAME --documents FOLDER \
        --reward-model dmis-lab/llama-3.1-medprm-reward-v1.0 --ask "…" --ask "…"

`--url` is any OpenAI-compatible server; its key is in `OPENAI_API_KEY`.
"""

import argparse
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llama_index.core import SimpleDirectoryReader
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from examples.llama_index_parts import ask_locally
from medprm_integrations.llama_index import MedPRMSynthesizer, ranking_of
from medprm_scorer import MedPRM, Ranking

try:
    from llama_index.llms.openai_like import OpenAILike
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


class WordRetriever(BaseRetriever):
    """The nodes that fit a query best by their words (BM25), with scores: medprm reads the best of them first.

    In its place: `VectorStoreIndex(nodes, embed_model=…).as_retriever()`.
    """

    def __init__(self, nodes: Sequence[BaseNode], count: int = 4) -> None:
        super().__init__()
        self._nodes, self._count = nodes, count
        self._ranks = BM25Okapi([_words(node.get_content()) for node in nodes])

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        scores = self._ranks.get_scores(_words(query_bundle.query_str))
        best = sorted(range(len(scores)), key=lambda place: -scores[place])[: self._count]
        return [NodeWithScore(node=self._nodes[place], score=float(scores[place])) for place in best]


class InTheUsersWords(CondenseQuestionChatEngine):
    """A chat engine that asks with all that the user said, so that no model rewrites a patient's question."""

    def _condense_question(self, chat_history: list[ChatMessage], last_message: str) -> str:
        said = [message.content or "" for message in chat_history if message.role == "user"]
        return "\n\n".join([*said, last_message])

    async def _acondense_question(self, chat_history: list[ChatMessage], last_message: str) -> str:
        return self._condense_question(chat_history, last_message)


class Desk:
    """One conversation over the text files of a folder.

    Args:
        llm: The model that answers, with a temperature above 0.
        folder: Where the files are.
        prm: The reward model.
        person: Called with a doubtful answer and its doubts; gives the right answer, or "" to leave it.
        n: Samples of each answer.
    """

    def __init__(
        self, llm: LLM, folder: Path, prm: MedPRM, person: Callable[[str, list[str]], str], n: int = 8
    ) -> None:
        # without metadata, as this small policy model has only seen bare documents
        documents = SimpleDirectoryReader(folder, required_exts=[".txt"], file_metadata=lambda _: {}).load_data()
        # paragraph by paragraph; of ordinary prose take 256 tokens, and leave the metadata in
        splitter = SentenceSplitter(chunk_size=32, chunk_overlap=0, include_metadata=False)
        retriever = WordRetriever(splitter.get_nodes_from_documents(documents))
        engine = RetrieverQueryEngine(retriever, MedPRMSynthesizer(prm=prm, llm=llm, n=n))
        self._person, self._memory = person, ChatMemoryBuffer.from_defaults(llm=llm)
        self._chat = InTheUsersWords.from_defaults(engine, memory=self._memory, llm=llm)

    def ask(self, question: str) -> tuple[str, list[str]]:
        """One turn: the answer, and what to know of it."""
        response = self._chat.chat(question)
        ranking = ranking_of(response)
        answer = response.response
        reasons = doubts(ranking)
        if reasons and (said := self._person(answer, reasons)):
            answer = said
            *before, _ = self._memory.get_all()
            self._memory.set([*before, ChatMessage(said, role="assistant")])  # in the place of the doubtful one
        return answer, ranking.cautions


def doubts(ranking: Ranking) -> list[str]:
    """Why a person should look at an answer; nothing if none needs to."""
    reward = ranking.best.reward(ranking.aggregate)
    share = ranking.votes[0].share if ranking.votes else 0.0
    return [
        *([f"the reward is {reward:.2f}"] if reward < LEAST_REWARD else []),
        *([f"the answer has {share:.0%} of the votes"] if share < LEAST_SHARE else []),
        *(["no document was read"] if not ranking.documents_used else []),
    ]


def ask_clinician(answer: str, reasons: list[str]) -> str:
    """Somebody at the keyboard."""
    print(f"Doubtful ({'; '.join(reasons)}):\n{answer}")
    try:
        return input("Your answer in its place, or nothing to leave it: ")
    except EOFError:
        return ""


@contextmanager
def language_model(url: str | None, model: str) -> Iterator[LLM]:
    """The model of a server, or without one the small policy model on this machine."""
    if url is None:
        with ask_locally() as llm:
            yield llm
    else:
        key = os.environ.get("OPENAI_API_KEY", "none")
        yield OpenAILike(api_base=url, model=model, api_key=key, temperature=1.0, is_chat_model=True)


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
        desk = Desk(llm, options.documents, prm, ask_clinician)
        for question in options.ask or QUESTIONS:
            answer, cautions = desk.ask(question)
            print(f"\n{question}\n{answer}")
            for caution in cautions:
                print(f"Caution: {caution}")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


if __name__ == "__main__":
    main()
