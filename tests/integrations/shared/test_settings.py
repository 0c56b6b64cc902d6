"""Settings: what is refused, and with which words."""

import copy
import pickle

import pytest
from pydantic import BaseModel, ValidationError

from medprm_integrations.shared.settings import (
    ConversationOptions,
    ConversationSettings,
    SamplingSettings,
    reward_model,
    tool_names,
)
from medprm_scorer import InputError, MedPRM, ModelError
from medprm_scorer.sampling.rules import SamplingRules


@pytest.mark.parametrize(
    "bad",
    [
        *({"n": 0}, {"n": 2.0}, {"n": True}, {"n": 1025}, {"strategy": "best"}, {"aggregate": "median"}, {"agree": 1}),
        *({"m": 1}, {"max_concurrency": 0}, {"rules": 3}, {"options": "A"}, {"answer": "A"}),
    ],
)
def test_settings_are_checked(demo, bad):
    with pytest.raises(ValidationError):
        SamplingSettings(prm=demo, **bad)


def test_an_unknown_strategy_lists_those_there_are(demo):
    with pytest.raises(ValidationError, match=r"best_of_n.*majority_vote"):
        SamplingSettings(prm=demo, strategy="best")


def test_the_papers_rules_can_be_asked_for(demo):
    assert SamplingSettings(prm=demo, rules=SamplingRules()).rules == SamplingRules(3, 9, 1.25)


class Model(BaseModel):
    top_a: float = 0.5


class Sampler(SamplingSettings):
    llm: Model | None = None


def test_a_setting_of_the_language_model_is_sent_to_it(demo):
    for name in ("temperature", "model", "top_a"):  # the last is this model's own
        with pytest.raises(ValidationError, match=f"unknown setting '{name}': set it on llm"):
            Sampler(prm=demo, llm=Model(), **{name: 1})
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            Sampler(prm=demo, **{name: 1})


def test_settings_as_arguments_are_those_of_the_objects():
    assert {"prm", *ConversationOptions.__annotations__} == set(ConversationSettings.model_fields)


def test_copies_share_the_reward_model_and_pickles_are_refused(demo):
    for holder in (demo, {"prm": demo}, SamplingSettings(prm=demo)):
        for again in (copy.copy(holder), copy.deepcopy(holder)):
            assert (again if holder is demo else dict(again)["prm"]) is demo
        with pytest.raises(ModelError, match="cannot be pickled"):
            pickle.dumps(holder)


def test_what_is_no_reward_model_is_refused(demo):
    assert reward_model(demo) is demo
    for bad, kind in (("model", "str"), (None, "NoneType"), (MedPRM, "type")):
        with pytest.raises(InputError) as caught:
            reward_model(bad)
        assert str(caught.value) == f"prm must be a MedPRM (MedPRM.from_pretrained(...)), not {kind}"


def test_tool_names_are_a_list():
    assert (tool_names(None), tool_names([]), tool_names({"a"})) == (None, (), ("a",))
    for bad in ("search_label", b"search", 5, [5], (name for name in "ab")):
        with pytest.raises(InputError, match="evidence_tools must be a list of tool names"):
            tool_names(bad)
