"""Input keys: what is refused, and with which words."""

import pytest

from medprm_integrations.langchain.input_keys import checked_keys
from medprm_scorer import InputError
from medprm_scorer.results.request_parsing import MEANT_DOCUMENTS


@pytest.mark.parametrize("key", MEANT_DOCUMENTS)
def test_documents_under_another_name_are_refused(key):
    needed = {"question": "Which dose?"}
    for documents in ({}, {"documents": None}):
        with pytest.raises(InputError, match=f"^unknown key '{key}': documents go under the key documents$"):
            checked_keys({**needed, key: ["Label"], **documents}, ["question"])
    given = {**needed, key: ["Label"], "documents": []}
    assert checked_keys(given, ["question"]) is given


def test_missing_keys_are_named_beside_those_that_are_there():
    assert checked_keys({"question": "?", "patient_id": 3}, ["question"])["patient_id"] == 3
    for given, message in (
        ({"query": "?"}, "the key 'question' is missing (there is 'query')"),
        ({"query": "?", "user": 1}, "the key 'question' is missing (there are 'query' and 'user')"),
        ({}, "the key 'question' is missing (the dict is empty)"),
        ({"Jane Doe has malaria": "?", 5: 5}, "the key 'question' is missing (there is none that is a name)"),
        (["?"], 'the input must be a dict: {"question": …, "documents": […]}'),
    ):
        with pytest.raises(InputError) as caught:
            checked_keys(given, ["question"])
        assert str(caught.value) == message
