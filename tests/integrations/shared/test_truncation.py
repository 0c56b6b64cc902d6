"""What language models say of themselves when they were cut off."""

from types import SimpleNamespace

import pytest

from medprm_integrations.shared.truncation import is_cut_off


@pytest.mark.parametrize(
    "said",
    [
        {"finish_reason": "length"},  # OpenAI, Mistral, vLLM, TGI
        {"finish_reason": "MAX_TOKENS"},  # Google
        {"finish_reason": "FinishReason.MAX_TOKENS"},
        {"stop_reason": "max_tokens"},  # Anthropic
        {"stopReason": "max_tokens"},  # Bedrock
        {"done_reason": "length"},  # Ollama
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},  # OpenAI's responses
        {"choices": [{"finish_reason": "length"}, {"finish_reason": "stop"}]},
        SimpleNamespace(choices=[SimpleNamespace(finish_reason="length")]),
        {"message": SimpleNamespace(stop_reason="max_tokens")},
    ],
)
def test_cut_off(said):
    assert is_cut_off(said)


@pytest.mark.parametrize(
    "said",
    [
        None,
        "length",
        5,
        [],
        {},
        {"finish_reason": "stop"},
        {"stop_reason": "end_turn"},
        {"finish_reason": None, "length": 5},
        {"choices": []},
        {"choices": [{"finish_reason": "stop"}]},
        {"text": "length", "reason": "it is at full length"},
    ],
)
def test_finished(said):
    assert not is_cut_off(said)


def test_a_response_that_holds_itself_is_looked_at_only_so_deep():
    loop = {}
    loop["message"] = loop
    assert not is_cut_off(loop)
