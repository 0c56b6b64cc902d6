"""`MedPRM`: what goes in, what comes out, what is refused, and many callers at once."""

import asyncio
import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medprm_scorer import InputError, MedPRM, MedPRMError, ModelError, Ranking, RankRequest, ScoringError
from medprm_scorer.errors import NothingScoredError, QuestionTooLongError
from medprm_scorer.text.sanitize import valid_unicode
from medprm_scorer.text.steps import split_steps
from tests.support.hostile import texts
from tests.support.llama3 import random_llama, real_tokenizer
from tests.support.properties import examples

QUESTION = "Which dose?\n\n(A) 5 mg\n(B) 9 mg"
CHAINS = [
    "Step 1: Read the label.\nStep 2: So 5 mg. The answer is (A)",
    "Step 1: Read it.\nStep 2: So 9 mg.\nStep 3: The answer is (B)",
    "It is 5 mg. The answer is (A)",
    "Step 1: No idea.",
]
DOCUMENTS = ["The label says 5 mg.", "Another label."]


@pytest.fixture(scope="module")
def prm() -> MedPRM:
    return MedPRM.from_model(random_llama(max_position_embeddings=2048), real_tokenizer())


class FixedEngine:
    """Gives each chain the rewards that a test wants, by its place."""

    name, max_tokens, fingerprint = "fixed", 100_000, "fixed"

    def __init__(self, *rewards: list[float]) -> None:
        self.rewards = rewards

    def score(self, prompts):
        return [list(self.rewards)]


def fixed(*rewards: list[float]) -> MedPRM:
    from medprm_scorer.encoding import PromptEncoder

    return MedPRM(FixedEngine(*rewards), PromptEncoder(real_tokenizer()))


def test_score_keeps_the_order_and_the_steps(prm):
    chains = prm.score(QUESTION, CHAINS, DOCUMENTS)
    assert [chain.index for chain in chains] == [0, 1, 2, 3]
    assert [len(chain.steps) for chain in chains] == [2, 3, 1, 1]
    assert [chain.answer for chain in chains] == ["A", "B", "A", None]
    assert [step.text for step in chains[0].steps] == ["Step 1: Read the label.", "Step 2: So 5 mg. The answer is (A)"]
    assert [chain.text for chain in chains] == CHAINS
    assert all(0 <= reward <= 1 for chain in chains for reward in chain.step_rewards)
    assert chains[1].reward() == min(chains[1].step_rewards)
    assert chains[1].reward("last") == chains[1].step_rewards[-1]


def test_a_callers_own_steps_and_answers_win(prm):
    model = MedPRM.from_model(random_llama(), real_tokenizer(), answer=lambda text: text[-1])
    (chain,) = model.score(QUESTION, [["Step 1: a Step 2: b", "Step 9: c\nd"]])
    assert [step.text for step in chain.steps] == ["Step 1: a Step 2: b", "Step 9: c d"]
    assert chain.answer == "d"


def test_rank_votes_with_rewards():
    rank = fixed([0.9, 0.2], [0.6, 0.7, 0.8], [0.5], [0.99]).rank
    weighted = rank(QUESTION, CHAINS, DOCUMENTS)
    assert weighted.strategy == "weighted_vote"
    assert weighted.answer == "A"  # 0.2 + 0.5 against 0.6
    assert [chain.index for chain in weighted.chains] == [2, 3, 1, 0]
    assert weighted.best is weighted.chains[0]
    assert [(v.answer, v.count) for v in weighted.votes] == [("A", 2), ("B", 1)]
    assert weighted.votes[0].weight == pytest.approx(0.7)
    assert weighted.votes[0].share == pytest.approx(0.7 / 1.3)
    best = rank(QUESTION, CHAINS, DOCUMENTS, strategy="best_of_n")
    assert (best.best.index, best.answer) == (3, None)
    majority = rank(QUESTION, CHAINS, DOCUMENTS, strategy="majority_vote", aggregate="max")
    assert (majority.best.index, majority.answer) == (0, "A")


def test_without_any_answer_the_vote_falls_back_and_says_so():
    ranking = fixed([0.3], [0.6]).rank("Why?", ["Because.", "Since."])
    assert (ranking.strategy, ranking.answer, ranking.best.index, ranking.votes) == ("best_of_n", None, 1, [])


def test_a_candidate_that_cannot_be_scored_ends_nothing_and_never_wins(prm):
    long = "Step 1: " + "dose " * 3000
    ranking = prm.rank(QUESTION, ["", long, CHAINS[0], ["Step 1: x", "  "], [], "<think></think>"], DOCUMENTS)
    assert ranking.best.index == 2
    assert [chain.index for chain in ranking.chains] == [2, 0, 1, 3, 4, 5]
    errors = {chain.index: chain.error for chain in ranking.chains}
    assert errors[2] is None
    assert "blank" in errors[0]
    assert "too long" in errors[1]
    assert "2048" in errors[1]
    assert all(errors[index] for index in (3, 4, 5))
    assert ranking.chains[1].steps == []
    with pytest.raises(ScoringError, match="candidate 0"):
        ranking.chains[1].reward()


def test_when_none_can_be_scored_it_says_why_for_each(prm):
    with pytest.raises(ScoringError, match=r"candidate 0: .*blank.*candidate 1: .*too long"):
        prm.rank(QUESTION, [" ", "word " * 4000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((QUESTION, []), "no candidates"),
        ((QUESTION, "one text"), "list"),
        ((QUESTION, ["ok", 5]), "candidate 1"),
        ((QUESTION, ["ok", ["ok", None]]), "candidate 1"),
        ((QUESTION, None), "list"),
        (("  ", ["ok"]), "question"),
        ((None, ["ok"]), "question"),
        ((QUESTION, ["ok"], "one text"), "documents"),
        ((QUESTION, ["ok"], ["ok", 7]), "document 1"),
        (("word " * 3000, ["ok"]), "2048"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(prm, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        prm.rank(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_unknown_choices_are_listed(prm):
    with pytest.raises(InputError, match="weighted_vote"):
        prm.rank(QUESTION, CHAINS, strategy="best")
    with pytest.raises(InputError, match="geomean"):
        prm.rank(QUESTION, CHAINS, aggregate="median")
    with pytest.raises(InputError, match="weighted_vote"):
        prm.rank_many([], strategy="best")  # at once, not when the first ranking is asked for
    with pytest.raises(InputError, match="paragraphs"):
        MedPRM.from_model(random_llama(), real_tokenizer(), steps="verses")


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([[0.5, math.nan]], "NaN"),
        ([[0.5, 1.5]], "outside"),
        ([[0.5]], "1 rewards for a chain of 2"),
        ([[0.5, 0.5], [0.5, 0.5]], "2 chains for 1"),
    ],
)
def test_rewards_that_are_no_rewards_are_refused(rewards, message):
    with pytest.raises(ScoringError, match=message):
        fixed(*rewards).score(QUESTION, CHAINS[:1])


def test_a_model_with_nan_weights_is_refused():
    llama = random_llama()
    llama.model.norm.weight.data[3] = math.nan
    with pytest.raises(ScoringError, match="NaN"):
        MedPRM.from_model(llama, real_tokenizer()).score(QUESTION, CHAINS)


def test_counts(prm):
    ranking = prm.rank(QUESTION, [*CHAINS, CHAINS[0]], DOCUMENTS)
    encoder = prm.encoder
    prefix = len(encoder.prefix(QUESTION, DOCUMENTS).ids)
    sizes = [len(encoder.chain(s.steps, s.front).ids) for s in map(split_steps, [*CHAINS, CHAINS[0]])]
    assert ranking.unique_tokens == prefix + sum(sizes[:4])
    assert ranking.prompt_tokens == sum(prefix + size + len(encoder.tail_ids) for size in sizes)
    assert (ranking.documents_used, ranking.documents_given) == (2, 2)
    assert ranking.seconds > 0


def test_rank_many_keeps_order_and_packs_across_requests(prm):
    requests = [
        RankRequest(**made) if made["id"] % 2 else made
        for made in ({"question": f"Q{n}?", "candidates": CHAINS[: n % 3 + 1], "id": n} for n in range(9))
    ]
    engine = CountingEngine(prm.engine)
    rankings = list(MedPRM(engine, prm.encoder).rank_many(iter(requests)))
    assert [r.id for r in rankings] == list(range(9))
    assert [len(r.chains) for r in rankings] == [n % 3 + 1 for n in range(9)]
    assert engine.calls == [9]
    alone = [prm.score(f"Q{n}?", CHAINS[: n % 3 + 1]) for n in range(9)]
    by_index = [sorted(r.chains, key=lambda chain: chain.index) for r in rankings]
    assert_same([[c.step_rewards for c in r] for r in by_index], [[c.step_rewards for c in a] for a in alone])


def test_rank_many_reads_no_further_ahead_than_two_calls(prm):
    model = MedPRM.from_model(random_llama(), real_tokenizer(), max_batch_tokens=64)  # one request is enough for a call
    taken = []

    def requests():
        for number in range(9):
            taken.append(number)
            yield {"question": f"Q{number}?", "candidates": CHAINS[:2], "id": number}

    rankings = model.rank_many(requests())
    assert not taken
    for place, ranking in enumerate(rankings):
        assert ranking.id == place
        assert len(taken) <= place + 2
    rankings = model.rank_many(requests())
    next(rankings)
    del rankings  # a caller may have seen enough


def test_rank_many_hands_on_what_its_source_raises(prm):
    def requests():
        yield {"question": "Q?", "candidates": CHAINS[:1]}
        raise OSError("the disk is gone")

    rankings = prm.rank_many(requests())
    assert next(rankings).answer == "A"  # what came before is not lost
    with pytest.raises(OSError, match="disk"):
        next(rankings)


def test_rank_many_names_the_place_of_a_bad_request(prm):
    good = {"question": "Q?", "candidates": ["The answer is (A)"]}
    for bad in ({"question": "the patient's secret"}, {**good, "candidates": []}, 7, {**good, "documents": [1]}):
        rankings = prm.rank_many([good, bad])
        next(rankings)
        with pytest.raises(InputError, match="request 1") as caught:
            next(rankings)
        assert "secret" not in str(caught.value)


def test_results_survive_json(prm):
    ranking = prm.rank("Dose of \ud800 мг?", ["Step 1: \ud800 ки\x00 The answer is (A)", " "], ["\udc00"], id="x")
    again = Ranking.model_validate_json(ranking.model_dump_json())
    assert again == ranking
    assert again.chains[0].text == "Step 1: \ufffd ки\x00 The answer is (A)"


def test_no_text_in_reprs_logs_or_errors(prm, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "Jane Doe malaria"
    ranking = prm.rank(secret, [f"Step 1: {secret} The answer is (A)", " "], [secret])
    request = RankRequest(question=secret, candidates=[secret], documents=[secret])
    shown = f"{ranking!r} {ranking.chains!r} {ranking.votes!r} {ranking.best.steps!r} {request!r} {prm!r}"
    for call in (
        lambda: prm.rank(secret, [" "]),
        lambda: prm.score(secret * 3000, [secret]),
        lambda: prm.rank(secret, [1]),
    ):
        with pytest.raises(MedPRMError) as caught:
            call()
        error: BaseException | None = caught.value
        while error is not None:  # its causes, too, which a traceback shows
            shown += str(error)
            error = error.__cause__ or error.__context__
    assert "malaria" not in shown + caplog.text
    assert "malaria" in str(ranking)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=texts,
    chains=st.lists(st.one_of(texts, st.lists(texts, max_size=4)), max_size=4),
    docs=st.lists(texts, max_size=2),
)
def test_hostile_text_gives_the_right_number_of_steps_or_a_clear_error(prm, question, chains, docs):
    try:
        ranking = prm.rank(question, chains, docs)
    except MedPRMError:
        return
    Ranking.model_validate_json(ranking.model_dump_json())
    assert str(ranking)
    assert ranking.to_html().encode()
    for chain in ranking.chains:
        given_chain = chains[chain.index]
        if chain.error is None:
            clean = (
                valid_unicode(given_chain) if isinstance(given_chain, str) else [valid_unicode(s) for s in given_chain]
            )
            assert [step.text for step in chain.steps] == list(split_steps(clean).steps)
        else:
            assert chain.steps == []


def assert_same(some, others):
    """Stated tolerance: calls that are run together change the low bits of each other's sums, up to 1e-5 in float32."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        for rewards, expected in zip(one, other, strict=True):
            assert rewards == pytest.approx(expected, abs=1e-5)


def test_32_threads_give_the_numbers_of_one(prm):
    requests = [(f"Question {n}?", CHAINS[n % 4 :] + CHAINS[: n % 3], DOCUMENTS[: n % 3]) for n in range(32)]
    alone = [[c.step_rewards for c in prm.score(*request)] for request in requests]
    barrier = threading.Barrier(32)

    def work(request):
        barrier.wait()
        return [c.step_rewards for c in prm.score(*request)]

    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(work, requests))
    assert_same(together, alone)


def test_32_tasks_give_the_numbers_of_one(prm):
    requests = [(f"Question {n}?", CHAINS[n % 4 :] + CHAINS[: n % 3], DOCUMENTS[: n % 3]) for n in range(32)]
    alone = [[c.step_rewards for c in prm.score(*request)] for request in requests]

    async def all_at_once():
        return await asyncio.gather(*(prm.ascore(*request) for request in requests))

    assert_same([[c.step_rewards for c in chains] for chains in asyncio.run(all_at_once())], alone)


def test_arank_equals_rank_and_leaves_the_loop_free(prm):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        ranking = await prm.arank(QUESTION, CHAINS, DOCUMENTS, strategy="best_of_n", aggregate="mean", id=5)
        ticking.cancel()
        return ranking, ticks

    ranking, ticks = asyncio.run(main())
    expected = prm.rank(QUESTION, CHAINS, DOCUMENTS, strategy="best_of_n", aggregate="mean", id=5)
    assert ranking.model_dump(exclude={"seconds"}) == expected.model_dump(exclude={"seconds"})
    assert ticks > 10


def test_an_answer_function_that_fails_is_named_without_its_message():
    model = MedPRM.from_model(random_llama(), real_tokenizer(), answer=lambda text: 5)
    with pytest.raises(InputError, match="answer function must return"):
        model.score(QUESTION, CHAINS)
    model = MedPRM.from_model(random_llama(), real_tokenizer(), answer=lambda text: {}[text])
    with pytest.raises(InputError, match="candidate 0: KeyError") as caught:
        model.score(QUESTION, CHAINS)
    assert "label" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_answer_function_is_not_called_on_blank_candidates():
    model = MedPRM.from_model(random_llama(), real_tokenizer(), answer=lambda text: text[-1])
    assert [chain.answer for chain in model.score(QUESTION, ["", "ok"])] == [None, "k"]


def test_outcome_mode_judges_the_whole_and_no_documents():
    model = MedPRM.from_model(random_llama(), real_tokenizer(), system="outcome")
    ranking = model.rank(QUESTION, [["Step 1: a", "Step 2: b"], "Step 1: a\nStep 2: b"], DOCUMENTS)
    assert [[step.text for step in chain.steps] for chain in ranking.chains] == [["Step 1: a Step 2: b"]] * 2
    assert ranking.chains[0].step_rewards == ranking.chains[1].step_rewards
    assert (ranking.documents_used, ranking.documents_given) == (0, 2)


def test_a_model_too_small_for_its_tokenizer_is_refused():
    with pytest.raises(ModelError, match="vocabulary"):
        MedPRM.from_model(random_llama(vocab_size=128256), real_tokenizer())


@pytest.mark.parametrize("bad", [None, "one text", {"question": "Q?"}, 5])
def test_rank_many_wants_requests(prm, bad):
    with pytest.raises(InputError, match="requests"):
        prm.rank_many(bad)


def test_odd_options_are_refused(prm):
    with pytest.raises(InputError, match="id"):
        prm.rank(QUESTION, CHAINS, id=1.5)
    with pytest.raises(InputError, match="system prompt"):
        MedPRM.from_model(random_llama(), real_tokenizer(), system=[])
    with pytest.raises(ModelError, match="transformers model"):
        MedPRM.from_model(None, real_tokenizer())
    with pytest.raises(InputError, match="folder or a hub id"):
        MedPRM.from_pretrained(5)


class CountingEngine:
    """Hands the work on, and counts how it comes."""

    def __init__(self, engine):
        self._engine, self.calls = engine, []
        self.name, self.max_tokens = engine.name, engine.max_tokens

    def score(self, prompts):
        self.calls.append(len(prompts))
        return self._engine.score(prompts)

    async def ascore(self, prompts):
        return self.score(prompts)


def test_rank_batch_is_one_call_of_the_engine_and_gives_what_rank_gives(prm):
    engine = CountingEngine(prm.engine)
    model = MedPRM(engine, prm.encoder)
    requests = [
        {"question": f"Q{number}?", "candidates": CHAINS[: number + 1], "documents": DOCUMENTS, "id": number}
        for number in range(4)
    ]
    results = model.rank_batch((RankRequest(**one) if one["id"] % 2 else one for one in requests), aggregate="mean")
    assert engine.calls == [4]
    for one, result in zip(requests, results, strict=True):
        expected = prm.rank(one["question"], one["candidates"], one["documents"], aggregate="mean", id=one["id"])
        assert [chain.index for chain in result.chains] == [chain.index for chain in expected.chains]
        assert_same([[c.step_rewards for c in result.chains]], [[c.step_rewards for c in expected.chains]])
        assert result.votes[0].weight == pytest.approx(expected.votes[0].weight, abs=1e-4)
        rewards = {"seconds", "best", "chains", "votes"}
        assert result.model_dump(exclude=rewards) == expected.model_dump(exclude=rewards)
        assert result.seconds == results[0].seconds > 0
    assert asyncio.run(model.arank_batch(requests))[3].id == 3
    assert model.rank_batch([]) == []
    assert engine.calls == [4, 4]


def test_in_a_batch_errors_stand_in_their_place(prm):
    good = {"question": "Q?", "candidates": ["Step 1: Yes. The answer is (A)"]}
    bad = [{"question": "the patient's secret"}, {**good, "candidates": [" "]}, {**good, "question": "word " * 3000}, 7]
    results = prm.rank_batch([good, *bad, good])
    assert [isinstance(result, Ranking) for result in results] == [True, *[False] * 4, True]
    assert [type(result) for result in results[1:5]] == [
        InputError, NothingScoredError, QuestionTooLongError, InputError,
    ]  # fmt: skip
    assert "secret" not in "".join(map(str, results[1:5]))
    assert [isinstance(result, InputError) for result in prm.rank_batch(bad[:1])] == [True]


def test_in_a_batch_rewards_that_are_no_rewards_cost_one_request():
    class Engine:
        name, max_tokens = "fixed", 100_000

        def score(self, prompts):
            return [[[0.5]], [[math.nan]], [[0.7]]][: self.given]  # type: ignore[attr-defined]

    model = fixed()
    model.engine = Engine()
    request = {"question": "Q?", "candidates": ["Step 1: Yes."]}
    model.engine.given = 3  # type: ignore[attr-defined]
    results = model.rank_batch([request] * 3)
    assert [type(result) for result in results] == [Ranking, ScoringError, Ranking]
    model.engine.given = 2  # type: ignore[attr-defined]
    with pytest.raises(ScoringError, match="2 requests of 3"):
        model.rank_batch([request] * 3)


@pytest.mark.parametrize("bad", [None, "one text", {"question": "Q?"}, 5])
def test_rank_batch_wants_requests(prm, bad):
    with pytest.raises(InputError, match="requests"):
        prm.rank_batch(bad)
    with pytest.raises(InputError, match="weighted_vote"):
        prm.rank_batch([], strategy="best")


def test_answers_and_tokens_can_be_asked_for(prm):
    assert [prm.read_answer(text) for text in ("The answer is (b)", "Who knows.", " ")] == ["B", None, None]
    assert MedPRM.from_model(random_llama(), real_tokenizer(), answer=lambda text: text[-1]).read_answer("ok") == "k"
    with pytest.raises(InputError, match="must be text"):
        prm.read_answer(None)
    assert prm.count_tokens("") == 0
    assert prm.count_tokens("5 mg <|eot_id|>") > prm.count_tokens("5 mg") > 0
