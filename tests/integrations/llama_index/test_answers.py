"""Equal answers and unread answers by real LlamaIndex models, in a ranking."""

import asyncio

import pytest
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import PrivateAttr

from medprm_integrations.llama_index import (
    EmbeddingAnswerGroups,
    LLMAnswerGroups,
    LLMAnswerReader,
    MedPRMSynthesizer,
    policy_template,
)
from medprm_integrations.shared.equal_answers import AnswerModelFailedWarning

CHAINS = [
    "Step 1: ST elevation.\nStep 2: Final Diagnosis: STEMI",
    "Step 1: ST elevation.\nStep 2: Final Diagnosis: ST-elevation myocardial infarction",
    "Step 1: Sharp pain.\nStep 2: Final Diagnosis: Acute pericarditis",
]


class JsonLLM(CustomLLM):
    """Completes any prompt with one text, which LlamaIndex parses as structured output."""

    reply: str
    _calls: int = PrivateAttr(default=0)

    @property
    def metadata(self):
        return LLMMetadata()

    def complete(self, prompt, formatted=False, **kwargs):
        self._calls += 1
        return CompletionResponse(text=self.reply)

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError


def test_groups_by_an_llm_join_votes_with_one_call(demo):
    llm = JsonLLM(reply='{"groups": [[1, 2], [3]]}')
    ranking = demo.rank("Which {diagnosis}?", CHAINS, strategy="majority_vote", group=LLMAnswerGroups(llm))
    assert [(vote.answer, vote.count) for vote in ranking.votes] == [("STEMI", 2), ("Acute pericarditis", 1)]
    assert llm._calls == 1


def test_the_same_in_async(demo):
    llm = JsonLLM(reply='{"groups": [[1, 2], [3]]}')
    ranking = asyncio.run(demo.arank("Which?", CHAINS, strategy="majority_vote", group=LLMAnswerGroups(llm)))
    assert ranking.votes[0].count == 2


def test_nonsense_leaves_exact_wording(demo):
    with pytest.warns(AnswerModelFailedWarning):
        ranking = demo.rank("Which diagnosis?", CHAINS, group=LLMAnswerGroups(JsonLLM(reply="I think so.")))
    assert len(ranking.votes) == 3


def test_groups_by_embeddings(demo):
    """The mock gives every text the same embedding, so all answers without numbers are one."""
    group = EmbeddingAnswerGroups(MockEmbedding(embed_dim=4))
    ranking = demo.rank("Which diagnosis?", CHAINS, strategy="majority_vote", group=group)
    assert [vote.count for vote in ranking.votes] == [3]


def test_the_reader_asks_for_unread_chains_only(demo):
    llm = JsonLLM(reply='{"answer": "B", "declined": false}')
    question = "Which drug?\n\n(A) Aspirin\n(B) Heparin"
    chains = ["Step 1: Bleeds.\nStep 2: The answer is (A)", "Step 1: Clots.\nStep 2: So it goes."]
    ranking = demo.rank(question, chains, answer=LLMAnswerReader(llm))
    assert sorted(vote.answer for vote in ranking.votes) == ["A", "B"]
    assert llm._calls == 1


def test_the_default_prompt_asks_for_what_the_question_has(demo):
    """A letter where there are options, a short answer where there are none; a kind of one's own comes first."""
    asked, nodes = [], [NodeWithScore(node=TextNode(text="CT before MRI."))]

    class Listening(JsonLLM):
        def complete(self, prompt, formatted=False, **kwargs):
            asked.append(prompt)
            return CompletionResponse(text="Step 1: So.\nFinal answer: CT")

    synthesizer = MedPRMSynthesizer(prm=demo, llm=Listening(reply=""), n=1)
    synthesizer.synthesize("Which test? (A) CT (B) MRI", nodes)
    synthesizer.synthesize("Which test comes first?", nodes)
    with_kind = MedPRMSynthesizer(prm=demo, llm=Listening(reply=""), n=1, text_qa_template=policy_template("open"))
    with_kind.synthesize("Which test comes first?", nodes)
    assert ["option letter" in prompt for prompt in asked] == [True, False, False]
    assert ["Final answer:" in prompt for prompt in asked] == [False, True, False]
