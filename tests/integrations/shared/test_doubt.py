"""What doubt makes of an answer, without a framework."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_integrations.shared.best_of_n import achoose, choose
from medprm_integrations.shared.doubt import settle
from medprm_integrations.shared.jobs import Job, new_drawing
from medprm_integrations.shared.ranking_metadata import ranking_metadata
from medprm_integrations.shared.search_settings import SearchingSettings
from medprm_integrations.shared.settings import ChoiceSettings, SamplingSettings
from medprm_scorer import DoubtfulAnswerError, Floors, Trust
from medprm_scorer.sampling.rules import Sample
from medprm_scorer.search import Beam
from medprm_scorer.trust.trust import FittedOn
from tests.support.reading import GOOD, QUESTION, reading_prm

RANKING = reading_prm().rank(QUESTION, [GOOD])


def trust(**fitted: object) -> Trust:
    made = FittedOn(
        **{"strategy": "weighted_vote", "aggregate": "min", "fewest": 1, "most": 9, "documents": "some", **fitted}
    )
    numbers = {"risk": 0.05, "delta": 0.1, "threshold": 0.9, "intercept": 0.0, "weights": {}}
    return Trust(**numbers, fitted_on=made, fitted=1, calibrated=1, answered=1, errors=0)


@given(
    st.sampled_from([True, False, None]),
    st.sampled_from(["answer", "abstain", "raise", "interrupt", lambda _: "other", lambda _: None]),
    st.booleans(),
)
def test_only_doubt_changes_an_answer_and_a_schema_never_becomes_a_sentence(trusted, on_doubt, structured):
    ranking = RANKING.model_copy(update={"trusted": trusted})
    note = ranking_metadata(ranking, keep="none")
    settings = SimpleNamespace(on_doubt=on_doubt, doubt_answer="sentence")
    try:
        said = settle(settings, ranking, note, structured=structured)
    except DoubtfulAnswerError:
        assert trusted is False
        assert structured or on_doubt == "raise"
        assert "doubt" not in note
        return
    assert ("doubt" in note) == (trusted is False)
    assert said is None or (trusted is False and not structured)
    assert ("answer_waiting" in note) == (note.get("doubt") == "interrupt")


def test_a_calibration_for_another_way_of_sampling_is_refused():
    SamplingSettings(prm=reading_prm(), trust=trust())
    SamplingSettings(prm=reading_prm(), trust=trust(stop="agree=3"), stop="agree")
    for settings in ({"stop": "agree"}, {"aggregate": "last"}, {"strategy": "best_of_n"}):
        with pytest.raises(ValueError, match="this calibration does not fit"):
            SamplingSettings(prm=reading_prm(), trust=trust(), **settings)
    with pytest.raises(ValueError, match="stopping rule agree=3 then and none now"):
        SamplingSettings(prm=reading_prm(), trust=trust(stop="agree=3"))
    with pytest.raises(ValueError, match="stopping rule none then and search now"):
        SearchingSettings(prm=reading_prm(), trust=trust(), search=Beam())


def test_a_stopping_rule_is_doubted_only_where_the_samples_are_not_drawn_here():
    stopping = SamplingSettings(prm=reading_prm(), trust=trust(stop="agree=3"), stop="agree")
    given = ChoiceSettings(prm=reading_prm(), trust=trust(stop="agree=3"))
    for settings, warned in ((stopping, False), (given, True)):
        ranking = settings.prm.rank(QUESTION, [GOOD], **settings.choice)
        assert any("the stopping rule agree=3:" in caution for caution in ranking.cautions) == warned


def test_a_path_is_read_once(tmp_path: Path):
    path = tmp_path / "trust.json"
    trust().save(path)
    settings = SamplingSettings(prm=reading_prm(), trust=path, on_doubt="abstain")
    path.unlink()
    settings.check()
    assert settings.judge == trust()
    with pytest.raises(ValueError, match="cannot read"):
        SamplingSettings(prm=reading_prm(), trust=str(path))


def test_settings_hide_what_was_given():
    settings = SamplingSettings(prm=reading_prm(), trust=Floors(min_votes=2), doubt_answer="Call Dr. Roe.")
    assert "Roe" not in repr(settings)
    assert "trust" not in settings.model_dump()


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("floors", "drawn"),
    [(None, 3), (Floors(min_reward=0.5), 3), (Floors(min_reward=0.95), 9), (Floors(min_votes=6), 9)],
)
def test_confident_sampling_draws_all_before_it_doubts(floors, drawn, awaited):
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        return GOOD + " " * len(asked)

    async def ask_awaited() -> str:
        return ask()

    settings = SamplingSettings(prm=reading_prm(), n=9, stop="confident=0.7", max_concurrency=1, trust=floors)
    job = Job(
        question=QUESTION,
        drawing=new_drawing(settings, Sample),
        ask=ask_awaited if awaited else ask,
        source=settings,
        usage=lambda _: None,
    )
    choice = asyncio.run(achoose(settings, job)) if awaited else choose(settings, job)
    assert choice.ranking is not None
    assert (len(asked), len(choice.ranking.chains)) == (drawn, drawn)
    assert choice.ranking.trusted is (None if floors is None else floors.min_reward != 0.95)
