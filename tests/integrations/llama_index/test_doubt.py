"""Answers that are not trusted: what LlamaIndex's classes give in their place, and a workflow that asks a person."""

import asyncio
import json

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.workflow import (
    Context,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)
from pydantic import BaseModel

from medprm_integrations.llama_index import (
    MedPRMEvaluator,
    MedPRMLLM,
    MedPRMRerank,
    MedPRMSynthesizer,
    chain_node,
    ranking_of,
)
from medprm_scorer import DoubtfulAnswerError, Floors
from tests.support.llama_index_scripts import BAD, GOOD, QUESTION, WORSE, ScriptedLLM, document, reading_prm

SENTENCE = "Please ask the ward's pharmacist."
HIGH, LOW = Floors(min_reward=0.95), Floors(min_reward=0.1)
NEVER = ("Guess", "label says", "Step 1")

ways = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


@ways
@pytest.mark.parametrize("streaming", [False, True])
def test_nothing_retrieved_is_a_doubt(awaited, streaming):
    def found(**settings):
        settings = settings_of({"trust": HIGH, "streaming": streaming, **settings})
        synthesizer = MedPRMSynthesizer(**settings)
        return asyncio.run(synthesizer.asynthesize(QUESTION, [])) if awaited else synthesizer.synthesize(QUESTION, [])

    assert str(found(on_doubt="abstain", doubt_answer=SENTENCE)) == SENTENCE
    assert str(found()) == "Empty Response"
    with pytest.raises(DoubtfulAnswerError, match="nothing was retrieved"):
        found(on_doubt="raise")


def test_an_evaluator_refuses_votes_that_one_answer_cannot_have():
    with pytest.raises(ValueError, match="min_votes must be at most 1"):
        MedPRMEvaluator(prm=reading_prm(), trust=Floors(min_votes=2))


def settings_of(settings):
    return {"prm": reading_prm(), "llm": ScriptedLLM(answers=[BAD, GOOD, WORSE]), "n": 3, **settings}


def by_chat(awaited, **settings):
    llm, messages = MedPRMLLM(**settings_of(settings)), [ChatMessage(content=QUESTION)]
    response = asyncio.run(llm.achat(messages)) if awaited else llm.chat(messages)
    return str(response.message.content), response


def by_completion(awaited, **settings):
    llm = MedPRMLLM(**settings_of({**settings, "llm": ScriptedLLM(answers=[BAD, GOOD, WORSE], is_chat=False)}))
    response = asyncio.run(llm.acomplete(QUESTION)) if awaited else llm.complete(QUESTION)
    return response.text, response


def by_synthesizer(awaited, **settings):
    synthesizer, nodes = MedPRMSynthesizer(**settings_of(settings)), [document("Label: 5 mg.")]
    if awaited:
        response = asyncio.run(synthesizer.asynthesize(QUESTION, nodes))
    else:
        response = synthesizer.synthesize(QUESTION, nodes)
    return str(response), response


def by_rerank(awaited, **settings):
    rerank, nodes = MedPRMRerank(**settings_of(settings)), [document("Label: 5 mg.")]
    return reranked(rerank, nodes, awaited)


def by_rerank_of_chains(awaited, **settings):
    rerank = MedPRMRerank(**{**settings_of(settings), "llm": None, "top_n": 3})
    return reranked(rerank, [chain_node(text) for text in (BAD, GOOD, WORSE)], awaited)


def reranked(rerank, nodes, awaited):
    if awaited:
        found = asyncio.run(rerank.apostprocess_nodes(nodes, query_str=QUESTION))
    else:
        found = rerank.postprocess_nodes(nodes, query_str=QUESTION)
    return found[0].text.removeprefix("Draft answer of a language model, not a source:\n"), found[0]


def dumped(answer):
    return repr(answer.model_dump() if isinstance(answer, BaseModel) else vars(answer))


everywhere = pytest.mark.parametrize("answer", [by_chat, by_completion, by_synthesizer, by_rerank, by_rerank_of_chains])


@ways
@everywhere
def test_it_is_given_with_a_caution_by_default(answer, awaited):
    text, response = answer(awaited, trust=HIGH)
    ranking = ranking_of(response)
    assert (text, ranking.best.text, ranking.trusted) == (GOOD, GOOD, False)
    assert any("Not trusted" in caution for caution in ranking.cautions)


@ways
@everywhere
@pytest.mark.parametrize("on_doubt", ["abstain", lambda _: SENTENCE])
def test_another_text_leaves_no_text_of_a_chain(answer, awaited, on_doubt):
    text, response = answer(awaited, trust=HIGH, on_doubt=on_doubt, doubt_answer=SENTENCE)
    assert text == SENTENCE
    assert not any(text in dumped(response) for text in NEVER)
    ranking = ranking_of(response)
    assert (ranking.trusted, ranking.answer, len(ranking.chains), ranking.best.text) == (False, "A", 3, "")


@ways
@everywhere
@pytest.mark.parametrize("on_doubt", ["abstain", "raise", lambda _: SENTENCE])
def test_what_is_trusted_is_untouched(answer, awaited, on_doubt):
    text, response = answer(awaited, trust=LOW, on_doubt=on_doubt)
    assert (text, ranking_of(response).trusted) == (GOOD, True)


@ways
@everywhere
def test_an_error_has_figures_only_and_the_ranking(answer, awaited):
    with pytest.raises(DoubtfulAnswerError) as found:
        answer(awaited, trust=HIGH, on_doubt="raise")
    assert found.value.ranking.best.text == GOOD
    assert not any(text in f"{found.value} {found.value!r}" for text in NEVER)


@everywhere
def test_a_function_may_leave_the_answer(answer):
    seen = []
    assert answer(False, trust=HIGH, on_doubt=seen.append)[0] == GOOD
    assert [ranking.trusted for ranking in seen] == [False]


@everywhere
def test_interrupts_are_refused_with_the_way(answer):
    with pytest.raises(ValueError, match="InputRequiredEvent"):
        answer(False, trust=HIGH, on_doubt="interrupt")
    with pytest.raises(ValueError, match="on_doubt needs trust="):
        answer(False, on_doubt="abstain")


def test_no_chain_that_lost_comes_back_either():
    nodes = [chain_node(text) for text in (BAD, GOOD, WORSE)]
    rerank = MedPRMRerank(prm=reading_prm(), top_n=3, trust=HIGH, on_doubt="abstain")
    assert len(rerank.postprocess_nodes(nodes, query_str=QUESTION)) == 1


@ways
def test_documents_stay_behind_the_sentence(awaited):
    rerank = MedPRMRerank(**settings_of({"trust": HIGH, "on_doubt": "abstain"}))
    nodes = [document("Label: 5 mg.")]
    if awaited:
        found = asyncio.run(rerank.apostprocess_nodes(nodes, query_str=QUESTION))
    else:
        found = rerank.postprocess_nodes(nodes, query_str=QUESTION)
    assert [node.get_content() for node in found[1:]] == ["Label: 5 mg."]


@ways
def test_a_stream_has_the_sentence_alone(awaited):
    settings = settings_of({"trust": HIGH, "on_doubt": "abstain", "doubt_answer": SENTENCE})
    synthesizer, nodes = MedPRMSynthesizer(streaming=True, **settings), [document("Label: 5 mg.")]

    async def pieces():
        return [piece async for piece in (await synthesizer.asynthesize(QUESTION, nodes)).response_gen]

    found = asyncio.run(pieces()) if awaited else list(synthesizer.synthesize(QUESTION, nodes).response_gen)
    assert found == [SENTENCE]


class Answer(BaseModel):
    """An answer."""

    answer: str


@ways
def test_an_object_ends_in_the_error(awaited):
    llm = ScriptedLLM(answers=['{"answer": "Guess [0.2]."}'], tools=False)
    settings = {"prm": reading_prm(), "llm": llm, "n": 1, "trust": HIGH, "on_doubt": "abstain"}
    synthesizer, nodes = MedPRMSynthesizer(output_cls=Answer, **settings), [document("Label: 5 mg.")]

    def ask():
        return synthesizer.synthesize(QUESTION, nodes)

    def ask_awaited():
        return asyncio.run(synthesizer.asynthesize(QUESTION, nodes))

    with pytest.raises(DoubtfulAnswerError, match="schema"):
        (ask_awaited if awaited else ask)()


def test_an_evaluator_lets_nothing_pass_that_is_not_trusted():
    found = MedPRMEvaluator(prm=reading_prm(), trust=HIGH).evaluate(QUESTION, GOOD, ["Label: 5 mg."])
    assert not found.passing
    assert found.score == pytest.approx(0.9)
    assert found.feedback.startswith("The answer is not trusted. ")
    assert MedPRMEvaluator(prm=reading_prm(), trust=LOW).evaluate(QUESTION, GOOD, ["Label: 5 mg."]).passing


# --- a person is asked, in a workflow ---


class Careful(Workflow):
    """Answers, and asks a person where the answer is not trusted; sampling is a step of its own, and is done once."""

    def __init__(self, synthesizer):
        super().__init__(timeout=60)
        self._synthesizer = synthesizer

    @step
    async def answer(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent | StopEvent:
        response = await self._synthesizer.asynthesize(ev.question, [document("Label: 5 mg.")])
        if ranking_of(response).trusted is False:
            return InputRequiredEvent(prefix=str(response))  # type: ignore[call-arg]
        return StopEvent(result=str(response))

    @step
    async def reply(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.response)


@pytest.mark.parametrize(("trust", "result"), [(HIGH, "Give 4 mg."), (LOW, GOOD)])
def test_a_workflow_asks_a_person_and_samples_once(trust, result):
    settings = settings_of({"trust": trust})

    async def run():
        handler = Careful(MedPRMSynthesizer(**settings)).run(question=QUESTION)
        asked = []
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                asked.append(event.prefix)
                handler.ctx.send_event(HumanResponseEvent(response="Give 4 mg."))  # type: ignore[call-arg]
        return asked, await handler

    asked, found = asyncio.run(run())
    assert found == result
    assert asked == ([GOOD] if trust is HIGH else [])
    assert len(settings["llm"].asked) == 3


def test_a_workflow_goes_on_from_what_was_saved_without_sampling():
    settings = settings_of({"trust": HIGH})

    async def pause():
        handler = Careful(MedPRMSynthesizer(**settings)).run(question=QUESTION)
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                break
        saved = handler.ctx.to_dict()
        await handler.cancel_run()
        return saved

    async def resume(saved):
        never = ScriptedLLM(answers=[RuntimeError("sampled again")])
        workflow = Careful(MedPRMSynthesizer(prm=reading_prm(), llm=never, trust=HIGH))
        handler = workflow.run(ctx=Context.from_dict(workflow, saved))
        handler.ctx.send_event(HumanResponseEvent(response="Give 4 mg."))  # type: ignore[call-arg]
        return await handler, len(never.asked)

    saved = json.loads(json.dumps(asyncio.run(pause())))
    assert asyncio.run(resume(saved)) == ("Give 4 mg.", 0)
    assert len(settings["llm"].asked) == 3
