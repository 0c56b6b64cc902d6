"""Equal answers and unread answers by real LangChain models, in a ranking."""

import asyncio

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from medprm_integrations.langchain import EmbeddingAnswerGroups, LLMAnswerGroups, LLMAnswerReader
from medprm_integrations.shared.equal_answers import AnswerModelFailedWarning
from medprm_scorer import InputError, MedPRM

CHAINS = [
    "Step 1: ST elevation.\nStep 2: Final Diagnosis: STEMI",
    "Step 1: ST elevation.\nStep 2: Final Diagnosis: ST-elevation myocardial infarction",
    "Step 1: Sharp pain.\nStep 2: Final Diagnosis: Acute pericarditis",
]


class ToolModel(BaseChatModel):
    """Answers with one tool call, as models that give structured output do."""

    arguments: dict
    _calls: int = PrivateAttr(default=0)

    @property
    def _llm_type(self):
        return "tool"

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self._calls += 1
        name = kwargs["tools"][0].__name__
        call = {"name": name, "args": self.arguments, "id": "1", "type": "tool_call"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content="", tool_calls=[call]))])


def test_groups_by_a_chat_model_join_votes_with_one_call(demo):
    llm = ToolModel(arguments={"groups": [[1, 2], [3]]})
    ranking = demo.rank("Which diagnosis?", CHAINS, strategy="majority_vote", group=LLMAnswerGroups(llm))
    assert [(vote.answer, vote.count) for vote in ranking.votes] == [("STEMI", 2), ("Acute pericarditis", 1)]
    assert llm._calls == 1


def test_the_same_in_async(demo):
    llm = ToolModel(arguments={"groups": [[1, 2], [3]]})
    ranking = asyncio.run(demo.arank("Which?", CHAINS, strategy="majority_vote", group=LLMAnswerGroups(llm)))
    assert ranking.votes[0].count == 2


def test_a_model_without_structured_output_leaves_exact_wording(demo):
    class Plain(ToolModel):
        def bind_tools(self, tools, **kwargs):
            raise NotImplementedError

    with pytest.warns(AnswerModelFailedWarning, match="NotImplementedError"):
        ranking = demo.rank("Which diagnosis?", CHAINS, group=LLMAnswerGroups(Plain(arguments={})))
    assert len(ranking.votes) == 3


def test_groups_by_embeddings(demo):
    class Alike(Embeddings):
        def embed_documents(self, texts):
            return [[0.0, 1.0] if "peri" in text else [1.0, 0.0] for text in texts]

        def embed_query(self, text):
            raise NotImplementedError

    ranking = demo.rank("Which diagnosis?", CHAINS, strategy="majority_vote", group=EmbeddingAnswerGroups(Alike()))
    assert [vote.count for vote in ranking.votes] == [2, 1]
    far_apart = EmbeddingAnswerGroups(DeterministicFakeEmbedding(size=64), threshold=0.99)
    assert len(demo.rank("Which diagnosis?", CHAINS, group=far_apart).votes) == 3
    with pytest.raises(InputError, match="threshold"):
        EmbeddingAnswerGroups(Alike(), threshold=90)


def test_the_reader_asks_for_unread_chains_only():
    llm = ToolModel(arguments={"answer": "B", "declined": False})
    reading = MedPRM.from_pretrained(answer=LLMAnswerReader(llm))
    question = "Which drug?\n\n(A) Aspirin\n(B) Heparin"
    ranking = reading.rank(
        question, ["Step 1: Bleeds.\nStep 2: The answer is (A)", "Step 1: Clots.\nStep 2: So it goes."]
    )
    assert sorted(vote.answer for vote in ranking.votes) == ["A", "B"]
    assert llm._calls == 1
