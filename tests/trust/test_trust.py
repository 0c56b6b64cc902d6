"""Trust files: what they say of rankings, where they are refused, and that hostile ones do no harm."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer import Floors, InputError, MedPRM, Ranking, Trust
from medprm_scorer.results.facts import NO_GOOD_CHAIN, cautions
from medprm_scorer.trust.calibration import calibrate_rankings
from medprm_scorer.trust.doubt import decide
from medprm_scorer.trust.features import NAMES, features
from medprm_scorer.trust.floors import WITHOUT_DOCUMENTS
from tests.support.cheap_engine import CheapEngine, requests
from tests.support.example_rankings import make_chain, make_ranking
from tests.support.judged_rankings import made_up

SETTINGS = {"model": "cheap", "system": "auto", "steps": "auto"}


@pytest.fixture(scope="module")
def trust() -> Trust:
    found = Trust.fit(made_up(600, 0), risk=0.05, delta=0.1, settings=SETTINGS)
    assert found.threshold is not None
    return found


def test_a_calibration_comes_back_from_its_file_and_judges_the_same(trust, tmp_path):
    trust.save(tmp_path / "trust.json")
    back = Trust.load(tmp_path / "trust.json")
    assert back == trust
    for ranking, _ in made_up(50, 1):
        assert back.judge(ranking) == trust.judge(ranking)


def test_a_file_holds_no_text_of_a_question(trust):
    assert "amniotic" not in trust.model_dump_json()


def test_what_is_trusted_is_what_reaches_the_threshold(trust):
    for ranking, _ in made_up(100, 2):
        judged = trust.judge(ranking)
        assert judged.trusted == (judged.confidence >= trust.threshold)
        assert judged.trusted == (judged.cautions == ranking.cautions)
        assert Ranking.model_validate_json(judged.model_dump_json()) == judged


def test_a_surer_ranking_has_more_confidence(trust):
    sure = make_ranking([make_chain(index, [0.99], "A") for index in range(5)])
    torn = make_ranking([make_chain(index, [0.3], answer) for index, answer in enumerate("AABBC")])
    assert trust.confidence(sure) > 0.9 > trust.confidence(torn)


def test_a_ranking_without_an_answer_is_not_trusted(trust):
    judged = trust.judge(make_ranking([make_chain(index, [0.99]) for index in range(5)]))
    assert (judged.trusted, judged.confidence) == (False, None)
    assert judged.cautions[-1] == "Not trusted: there is no answer to trust."


@pytest.mark.parametrize("count", [1, 4, 6])
def test_another_number_of_candidates_is_never_trusted(trust, count):
    judged = trust.judge(make_ranking([make_chain(index, [0.99], "A") for index in range(count)]))
    assert (judged.trusted, judged.confidence) == (False, None)
    assert f"it has {count} candidates, but the calibration had 5" in judged.cautions[-1]


def test_without_documents_that_the_calibration_had_nothing_is_trusted(trust):
    judged = trust.judge(make_ranking([make_chain(index, [0.99], "A") for index in range(5)], documents_used=0))
    assert (judged.trusted, judged.confidence) == (False, None)


@pytest.mark.parametrize(
    ("differs", "named"),
    [
        ({"model": "another"}, "model fingerprint cheap then and another now"),
        ({"system": "rag"}, "system prompt auto then and rag now"),
        ({"strategy": "best_of_n"}, "strategy weighted_vote then and best_of_n now"),
        ({"aggregate": "mean"}, "aggregate min then and mean now"),
        ({"stop": "agree=3"}, "stopping rule none then and agree=3 now"),
    ],
)
def test_it_is_refused_where_something_differs(trust, differs, named):
    now = {**SETTINGS, **differs}
    how = {key: now.pop(key) for key in ("strategy", "aggregate", "stop") if key in now}
    with pytest.raises(InputError, match=named):
        trust.check(now, **how)


def test_it_fits_where_nothing_differs(trust):
    trust.check({**SETTINGS, "dtype": "float32"}, "weighted_vote", "min", "none")


def test_every_way_of_ranking_judges_the_same(demo, trust):
    prm = MedPRM(CheapEngine(), demo.encoder)
    asked = [one for one in requests(12, candidates=5) if one["candidates"] != [" "]]
    alone = [prm.rank(one["question"], one["candidates"], one["documents"], trust=trust) for one in asked]
    own = MedPRM(CheapEngine(), demo.encoder, trust=trust)
    for many in (prm.rank_batch(asked, trust=trust), list(prm.rank_many(asked, trust=trust)), own.rank_batch(asked)):
        assert [(r.confidence, r.trusted, r.cautions) for r in many] == [
            (r.confidence, r.trusted, r.cautions) for r in alone
        ]
    assert {ranking.trusted for ranking in alone} <= {True, False}
    assert {ranking.trusted for ranking in prm.rank_batch(asked)} == {None}


def test_another_model_is_refused_before_anything_is_scored(demo, trust):
    with pytest.raises(InputError, match="model fingerprint"):
        MedPRM(
            CheapEngine(),
            demo.encoder,
            trust=trust.model_copy(
                update={"fitted_on": trust.fitted_on.model_copy(update={"settings": {"model": "x"}})}
            ),
        )
    engine = CheapEngine()
    with pytest.raises(InputError, match="strategy"):
        MedPRM(engine, demo.encoder).rank("Which?", ["Step 1: (A)"], strategy="best_of_n", trust=trust)
    assert engine.calls == []


def test_a_calibration_for_samples_that_stop_says_so_where_it_is_unknown_how_they_were_drawn(trust):
    fitted_on = trust.fitted_on.model_copy(update={"stop": "confident=0.9"})
    stopping = trust.model_copy(update={"fitted_on": fitted_on})
    ranking = make_ranking([make_chain(index, [0.99], "A") for index in range(5)])
    assert "the stopping rule confident=0.9:" in stopping.judge(ranking).cautions[-1]
    for other in ("none", "agree=3", None):
        assert "the stopping rule confident=0.9:" in stopping.for_samples(other).judge(ranking).cautions[-1]
    assert stopping.for_samples("confident=0.9").judge(ranking) == trust.judge(ranking)
    assert trust.for_samples("confident=0.9") == trust


def test_an_answer_is_not_called_trusted_and_unreliable_at_once(trust):
    low = make_ranking([make_chain(index, [0.4], "A") for index in range(5)])
    low = low.model_copy(update={"cautions": cautions(low, "weighted_vote")})
    assert low.cautions[-1] == "Every chain has a step below 0.5: do not rely on this answer."
    trusted = trust.model_copy(update={"threshold": 0.0}).judge(low)
    assert trusted.cautions == [*low.cautions[:-1], "Every chain has a step below 0.5."]
    doubted = trust.model_copy(update={"threshold": 1.0}).judge(low)
    assert doubted.cautions[:-1] == low.cautions
    assert doubted.cautions[-1].startswith("Not trusted")


def test_a_calibration_that_does_not_know_its_model_says_so(trust):
    unknown = trust.model_copy(update={"fitted_on": trust.fitted_on.model_copy(update={"settings": {}})})
    ranking = make_ranking([make_chain(index, [0.99], "A") for index in range(5)])
    assert any("does not say which model" in caution for caution in unknown.judge(ranking).cautions)
    assert not any("which model" in caution for caution in trust.judge(ranking).cautions)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": math.nan},
        {"threshold": 2},
        {"risk": 0},
        {"intercept": math.inf},
        {"weights": {"share": {"mean": 0, "scale": 0, "weight": 1}}},
        {"weights": {"Mrs Example": {"mean": 0, "scale": 1, "weight": 1}}},
        {"format": "another"},
        {"patient": "Mrs Example"},
    ],
)
def test_a_bad_file_is_refused_without_its_texts(trust, change, tmp_path):
    path = tmp_path / "trust.json"
    path.write_text(json.dumps({**trust.model_dump(), **change}))
    with pytest.raises(InputError, match=r"not a trust file: make one with medprm calibrate") as error:
        Trust.load(path)
    assert "Mrs" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[", b"[" * 100_000, b"\xff\xfe", b"null", b" " * 2_000_000, b"9" * 9_999])
def test_what_is_no_trust_file_is_refused(content, tmp_path):
    path = tmp_path / "trust.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a trust file"):
        Trust.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*missing\.json: No such file"):
        MedPRM.from_pretrained("no-such-model", trust=tmp_path / "missing.json")


def test_too_few_questions_are_refused():
    with pytest.raises(InputError, match="at least 67 questions with known answers"):
        Trust.fit(made_up(66, 3), risk=0.05, delta=0.1)
    Trust.fit(made_up(67, 3), risk=0.05, delta=0.1)


@pytest.mark.parametrize("value", [0, 1, -1, math.nan, "0.1", True, None])
@pytest.mark.parametrize("name", ["risk", "delta"])
def test_risk_and_delta_are_probabilities(name, value):
    with pytest.raises(InputError, match=f"{name} must be a number above 0 and below 1"):
        Trust.fit(made_up(3, 0), **{"risk": 0.1, "delta": 0.1, name: value})


@pytest.mark.parametrize("record", [None, {}, "x", (None, True), (make_ranking([make_chain(0, [0.5], "A")]), "yes")])
def test_records_are_rankings_with_judgements(record):
    with pytest.raises(InputError, match="records must be pairs"):
        Trust.fit([record], risk=0.1, delta=0.1)


def test_mixed_strategies_are_refused():
    mixed = [*made_up(60, 0), (make_ranking([make_chain(0, [0.5], "A")], "majority_vote"), True)]
    with pytest.raises(InputError, match="several strategies"):
        Trust.fit(mixed, risk=0.1, delta=0.1)


def test_rewards_that_mean_nothing_earn_no_trust():
    """The majority is right in two of three questions, and nothing tells which."""
    questions = made_up(600, 4, noise=1.0)
    found = calibrate_rankings(questions, risk=0.02, delta=0.1)
    assert found.coverage < 0.05


def test_calibration_brings_probabilities_nearer_to_what_is_right():
    found = calibrate_rankings(made_up(1500, 5, noise=0.4), risk=0.05, delta=0.1)
    assert found.after.brier < found.before.brier
    assert found.after.ece < 0.06


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 1), min_size=0, max_size=3),
            st.sampled_from(["A", "B", "C", None]),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ).filter(lambda chains: any(rewards for rewards, *_ in chains)),
    st.sampled_from(["weighted_vote", "best_of_n", "majority_vote"]),
)
def test_the_numbers_of_any_ranking_are_finite(chains, strategy):
    made = []
    for index, (rewards, answer, declined, truncated) in enumerate(chains):
        chain = make_chain(index, rewards, None if declined else answer, None if rewards else "it is blank")
        made.append(chain.model_copy(update={"declined": declined, "truncated": truncated}))
    ranking = make_ranking(made, strategy)
    found = features(ranking)
    assert (found is None) == (ranking.answer is None)
    if found is not None:
        assert tuple(found) == NAMES
        assert all(math.isfinite(number) for number in found.values())
        assert all(0 <= found[name] <= 1 for name in ("share", "count_share", "silent", "declined", "lost"))


@pytest.mark.parametrize(
    ("floors", "trusted"),
    [
        ({"min_reward": 0.9}, True),
        ({"min_reward": 0.91}, False),
        ({"min_share": 0.75}, True),
        ({"min_share": 0.76}, False),
        ({"min_votes": 2}, True),
        ({"min_votes": 3}, False),
        ({"min_reward": 0.5, "min_votes": 3}, False),
        ({"min_documents": 1}, True),
        ({"min_documents": 2}, False),
    ],
)
def test_floors(floors, trusted):
    chains = [make_chain(0, [0.9], "A"), make_chain(1, [0.6], "A"), make_chain(2, [0.5], "B")]
    judged = Floors(**floors).judge(make_ranking(chains))
    assert (judged.trusted, judged.confidence) == (trusted, None)
    assert any("uncalibrated" in caution for caution in judged.cautions) != trusted


def test_trust_without_any_document_is_never_silent():
    ranking = make_ranking([make_chain(0, [0.9], "A")]).model_copy(update={"documents_used": 0})
    judged = Floors(min_reward=0.5).judge(ranking)
    assert (judged.trusted, judged.cautions[-1]) == (True, WITHOUT_DOCUMENTS)
    assert WITHOUT_DOCUMENTS not in Floors(min_documents=1).judge(ranking).cautions


def test_floors_trust_no_answer_that_could_not_be_read():
    ranking = make_ranking([make_chain(0, [0.9], None)])
    judged = Floors(min_reward=0.5).judge(ranking.model_copy(update={"question": "Which?\n(A) 5 mg\n(B) 9 mg"}))
    assert (judged.trusted, judged.answer) == (False, None)
    open_question = ranking.model_copy(update={"question": "How is it dosed?"})
    assert Floors(min_reward=0.5).judge(open_question).trusted is True
    assert Floors(min_reward=0.5).judge(open_question.model_copy(update={"options_given": True})).trusted is False


def test_floors_know_of_options_beside_the_question():
    prm = MedPRM.from_pretrained()
    floors = Floors(min_reward=0)
    asked = {"question": "Which dose?", "candidates": ["Step 1: The patient is four."], "trust": floors}
    assert prm.rank(**asked).trusted is True
    assert prm.rank(**asked, options=["5 mg", "9 mg"]).trusted is False


def test_floors_do_not_trust_what_a_caution_advises_against():
    chains = [make_chain(0, [0.9, 0.4], "A"), make_chain(1, [0.3], "A")]
    ranking = make_ranking(chains)
    ranking = ranking.model_copy(update={"cautions": cautions(ranking, "weighted_vote")})
    assert any(one.startswith(NO_GOOD_CHAIN) for one in ranking.cautions)
    assert Floors(min_votes=2).judge(ranking).trusted is False
    assert Floors(min_votes=2, min_reward=0.3).judge(ranking).trusted is True


def test_a_chain_that_declines_reaches_no_floor():
    chain = make_chain(0, [0.99]).model_copy(update={"declined": True})
    assert Floors(min_reward=0.1).judge(make_ranking([chain])).trusted is False


@pytest.mark.parametrize(
    "floors",
    [
        {},
        {"min_reward": math.nan},
        {"min_reward": "x"},
        {"min_share": 2},
        {"min_votes": 0},
        {"min_votes": 1.5},
        {"min_documents": 0},
    ],
)
def test_bad_floors_are_refused(floors):
    with pytest.raises(InputError):
        Floors(**floors)


@pytest.mark.parametrize("name", ["answer", "abstain", "raise", "interrupt"])
def test_only_doubt_changes_what_is_done(name):
    ranking = make_ranking([make_chain(0, [0.5], "A")])
    for trusted, action in ((None, "answer"), (True, "answer"), (False, name)):
        assert decide(ranking.model_copy(update={"trusted": trusted}), name) == action


def test_a_function_is_called_in_doubt():
    ranking = make_ranking([make_chain(0, [0.5], "A")])
    assert decide(ranking, print) == "answer"
    assert decide(ranking.model_copy(update={"trusted": False}), print) == "call"


@pytest.mark.parametrize("name", ["Answer", None, 3, ""])
def test_an_unknown_way_with_doubt_is_refused(name):
    with pytest.raises(InputError, match="on_doubt"):
        decide(make_ranking([make_chain(0, [0.5], "A")]), name)
