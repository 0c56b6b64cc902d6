"""What LlamaIndex users are refused and warned of, and where the ranking is when an engine has dropped it."""

import asyncio
import threading
import warnings

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.tools import FunctionTool
from pydantic import PrivateAttr, ValidationError

from medprm_integrations.llama_index import (
    DocumentsLeftOutWarning,
    MedPRMEvaluator,
    MedPRMLLM,
    MedPRMRerank,
    MedPRMSynthesizer,
    SamplesFailedWarning,
    UnknownToolWarning,
    chain_node,
    ranking_of,
)
from medprm_scorer import InputError, MedPRM
from tests.support.llama_index_scripts import (
    BAD,
    GOOD,
    QUESTION,
    SECRET,
    WORSE,
    Fixed,
    ScriptedLLM,
    call,
    document,
    reading_prm,
)

ASKED = [ChatMessage(QUESTION)]
LABEL = "Label: give 5 mg."
HUGE = "dose " * 5000
CLASSES = [MedPRMLLM, MedPRMRerank, MedPRMSynthesizer, MedPRMEvaluator]


@pytest.fixture
def prm():
    return reading_prm()


@pytest.fixture
def llm():
    return ScriptedLLM(answers=[BAD, GOOD, WORSE])


def search(query: str) -> str:
    """Search the labels."""
    return f"Label: {query} 5 mg."


TOOLS = [FunctionTool.from_defaults(search)]

# --- settings ---


@pytest.mark.parametrize("cls", [MedPRMLLM, MedPRMRerank])
def test_misspelt_settings_are_refused(prm, llm, cls):
    for name, message in (
        ("agregate", "Extra inputs are not permitted"),
        ("calback_manager", "Extra inputs are not permitted"),
        ("temperature", "unknown setting 'temperature': set it on llm"),
        ("delay", "unknown setting 'delay': set it on llm"),  # this llm's own
    ):
        with pytest.raises(ValidationError) as caught:
            cls(prm=prm, llm=llm, **{name: 1})
        assert name in str(caught.value)
        assert message in str(caught.value)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        MedPRMSynthesizer(prm=prm, llm=llm, agregate="min")  # type: ignore[call-arg]


def test_the_frameworks_own_settings_are_known(prm, llm):
    manager = CallbackManager()
    made = MedPRMLLM(prm=prm, llm=llm, callback_manager=manager, system_prompt="Be brief.")
    assert made.system_prompt == "Be brief."
    assert MedPRMRerank(prm=prm, callback_manager=manager).callback_manager is manager


@pytest.mark.parametrize("cls", CLASSES)
def test_a_wrong_reward_model_or_model_is_refused_at_once(prm, llm, cls):
    takes_llm = cls is not MedPRMEvaluator
    with pytest.raises(ValueError, match=r"prm must be a MedPRM \(MedPRM.from_pretrained\(...\)\), not str"):
        cls(prm="dmis-lab/llama-3.1-medprm-reward-v1.0", **({"llm": llm} if takes_llm else {}))
    if takes_llm:
        with pytest.raises(ValueError, match="llm must be a LlamaIndex LLM, not str"):
            cls(prm=prm, llm="gpt-5")


def test_thresholds_and_tools_of_the_wrong_kind(prm, llm):
    for bad, kind in (("0.5", "str"), (None, "NoneType"), (True, "bool")):
        with pytest.raises(InputError, match=f"the threshold must be a number from 0 to 1, not {kind}"):
            MedPRMEvaluator(prm=prm, threshold=bad)
    with pytest.raises(InputError, match="the threshold must be a number from 0 to 1"):
        MedPRMEvaluator(prm=prm, threshold=float("nan"))
    with pytest.raises(ValidationError, match="evidence_tools must be a list of tool names"):
        MedPRMLLM(prm=prm, llm=llm, evidence_tools="search")


def test_a_tool_that_is_not_there_is_told_of(prm):
    def made(*names):
        return MedPRMLLM(prm=prm, llm=ScriptedLLM(answers=[call()]), evidence_tools=names)

    with pytest.warns(UnknownToolWarning, match="no tool 'serch'; the tools are 'search'"):
        made("serch").chat_with_tools(TOOLS, QUESTION)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnknownToolWarning)
        made("search").chat_with_tools(TOOLS, QUESTION)


# --- samples that failed, and documents that nobody read ---


def ways_to_answer(prm, *answers):
    """The notes beside the rankings of each class that samples, with huge documents."""
    llm = ScriptedLLM(answers=answers or (GOOD, BAD))
    options = {"prm": prm, "llm": llm, "n": 2, "max_concurrency": 1, "replacements": 0}
    nodes = [document(HUGE), document(HUGE + "more")]
    talk = [*ASKED, *(ChatMessage(role="tool", content=node.text) for node in nodes)]
    return {
        "llm": lambda: MedPRMLLM(**options).chat(talk).raw["medprm"],
        "rerank": lambda: MedPRMRerank(**options).postprocess_nodes(nodes, query_str=QUESTION)[0].metadata["medprm"],
        "synthesizer": lambda: MedPRMSynthesizer(**options).synthesize(QUESTION, nodes).metadata["medprm"],
    }


ways = pytest.mark.parametrize("way", ["llm", "rerank", "synthesizer"])


@ways
def test_documents_of_which_none_was_read(prm, way):
    with pytest.warns(DocumentsLeftOutWarning, match="none of 2 documents was read: the first exceeds") as caught:
        note = ways_to_answer(prm)[way]()
    assert [one.category for one in caught].count(DocumentsLeftOutWarning) == 1
    assert (note["documents_given"], note["documents_used"], note["documents_left_out"]) == (2, 0, 2)


@ways
def test_some_failed_samples_are_told_of_without_their_texts(prm, way):
    with pytest.warns(SamplesFailedWarning, match=r"^1 of 2 samples failed \(RuntimeError\): choosing among 1$"):
        note = ways_to_answer(prm, RuntimeError(SECRET), GOOD)[way]()
    assert note["samples_failed"] == 1


def test_all_left_out_is_not_the_same_as_none_given(prm, llm):
    made = MedPRMLLM(prm=prm, llm=llm, n=3)
    with pytest.warns(DocumentsLeftOutWarning, match="the only document was not read: it exceeds"):
        left_out = ranking_of(made.chat([*ASKED, ChatMessage(role="tool", content=HUGE)]))
    assert (left_out.documents_given, left_out.documents_used) == (1, 0)
    none = ranking_of(made.chat(ASKED))
    assert (none.documents_given, none.documents_used) == (0, 0)
    assert "0 of 1 documents" in str(left_out)
    assert "0 of 1 documents" not in str(none)


def test_what_is_left_out_means_the_same_everywhere(prm, llm):
    """Given less used, whether the rest ended the list or never reached the reward model."""
    talk = [*ASKED, ChatMessage(role="tool", content=HUGE), ChatMessage(role="tool", content=LABEL)]
    synthesizer = MedPRMSynthesizer(prm=prm, llm=llm, n=3)
    for note in (
        MedPRMLLM(prm=prm, llm=llm, n=3).chat(talk).raw["medprm"],
        synthesizer.synthesize(QUESTION, [document(LABEL), document(HUGE)]).metadata["medprm"],
    ):
        assert (note["documents_given"], note["documents_used"], note["documents_left_out"]) == (2, 1, 1)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_judged_without_documents_is_said(prm, how):
    def feedback(*contexts):
        evaluator = MedPRMEvaluator(prm=prm)
        if how == "sync":
            return evaluator.evaluate(QUESTION, GOOD, contexts).feedback
        return asyncio.run(evaluator.aevaluate(QUESTION, GOOD, contexts)).feedback

    assert feedback().startswith("Judged without documents. Step 1 of 2 is the weakest, with a reward of 0.90: ")
    assert feedback(LABEL).startswith("Step 1 of 2")
    with pytest.warns(DocumentsLeftOutWarning, match="none of 2 documents was read"):
        assert feedback(HUGE, HUGE + "more").startswith("Judged without documents. ")
    with pytest.warns(DocumentsLeftOutWarning, match="1 of 2 documents were read"):
        assert feedback(HUGE, LABEL).startswith("Step 1 of 2")


def test_a_reward_model_that_takes_no_documents_judges_without_and_warns_of_nothing():
    prm = MedPRM.from_pretrained(system="no_documents")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = MedPRMEvaluator(prm=prm).evaluate(QUESTION, GOOD, [LABEL])
    assert result.feedback.startswith("Judged without documents. ")


# --- rankings that engines drop ---


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_chat_engine_drops_the_ranking_and_on_ranking_has_it(prm, llm, how):
    seen = []
    made = MedPRMLLM(prm=prm, llm=llm, n=3, max_concurrency=1, on_ranking=seen.append)
    chat = ContextChatEngine.from_defaults(retriever=Fixed([document(LABEL)]), llm=made)
    answer = chat.chat(QUESTION) if how == "sync" else asyncio.run(chat.achat(QUESTION))
    assert str(answer) == GOOD
    (ranking,) = seen
    assert (ranking.best.text, ranking.documents_used) == (GOOD, 1)
    with pytest.raises(InputError) as caught:
        ranking_of(answer)
    assert str(caught.value) == (
        "this AgentChatResponse holds no ranking: its engine kept only the text of the answer, or nothing was "
        "retrieved, or the answer was not chosen; pass on_ranking= to the MedPRMLLM, MedPRMSynthesizer or MedPRMRerank "
        "in it"
    )
    engine = RetrieverQueryEngine(Fixed([document(LABEL)]), get_response_synthesizer(llm=made))
    response = engine.query(QUESTION)
    assert len(seen) == 2
    with pytest.raises(InputError, match=r"this Response holds no ranking: .*on_ranking"):
        ranking_of(response)
    with pytest.raises(InputError, match="it was not chosen among samples"):
        ranking_of(ChatMessage(SECRET))


def test_on_ranking_is_not_called_for_a_turn_that_calls_tools_and_is_no_data(prm):
    seen = []
    made = MedPRMLLM(prm=prm, llm=ScriptedLLM(answers=[call()]), n=3, on_ranking=seen.append)
    made.chat(ASKED, tools=["search"])
    assert seen == []
    assert "on_ranking" not in made.to_dict()
    assert "on_ranking" not in repr(made)


def test_the_ranking_of_a_query_engines_response_is_with_its_nodes(prm, llm):
    rerank = MedPRMRerank(prm=prm, llm=llm, n=3, max_concurrency=1)
    answerer = ScriptedLLM(answers=["So (A)."])
    engine = RetrieverQueryEngine(
        Fixed([document(LABEL)]),
        response_synthesizer=get_response_synthesizer(llm=answerer),
        node_postprocessors=[rerank],
    )
    response = engine.query(QUESTION)
    assert ranking_of(response) == ranking_of(response.source_nodes[0])
    assert ranking_of(response).best.text == GOOD
    # the synthesizer's own ranking comes before that of a node
    given = [rerank.postprocess_nodes([chain_node(BAD)], query_str=QUESTION)[0], document(LABEL)]
    answered = MedPRMSynthesizer(prm=prm, llm=ScriptedLLM(answers=[GOOD]), n=1).synthesize(QUESTION, given)
    assert ranking_of(answered).best.text == GOOD


# --- a language model without async of its own ---


class Slow(CustomLLM):
    """Has `complete` only, as LlamaIndex's documentation shows for one's own model."""

    is_chat: bool = True
    _answers: list[str] = PrivateAttr(default_factory=lambda: [BAD, GOOD] * 99)
    _together: threading.Barrier = PrivateAttr(default_factory=lambda: threading.Barrier(8, timeout=60))

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=self.is_chat)

    def complete(self, prompt, formatted=False, **kwargs):
        self._together.wait()  # for the seven other samples
        return CompletionResponse(text=self._answers.pop())

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise AssertionError("samples are not streamed")


class OwnAsync(Slow):
    """Has async of its own, which is then what is asked."""

    async def achat(self, messages, **kwargs):
        raise KeyError("own")

    async def acomplete(self, prompt, formatted=False, **kwargs):
        raise KeyError("own")


@pytest.mark.parametrize("is_chat", [True, False])
def test_samples_of_a_model_without_async_are_drawn_at_the_same_time(prm, is_chat):
    nodes = [document(LABEL)]

    def tasks(llm):
        options = {"prm": prm, "llm": llm, "n": 8}
        made = MedPRMLLM(**options)
        return {
            "chat": lambda: made.achat(ASKED),
            "complete": lambda: made.acomplete(QUESTION),
            "rerank": lambda: MedPRMRerank(**options).apostprocess_nodes(nodes, query_str=QUESTION),
            "synthesizer": lambda: MedPRMSynthesizer(**options).asynthesize(QUESTION, nodes),
        }

    for task in tasks(Slow(is_chat=is_chat)).values():
        asyncio.run(task())
    for task in tasks(OwnAsync(is_chat=is_chat)).values():
        with pytest.raises(KeyError, match="own"):
            asyncio.run(task())
