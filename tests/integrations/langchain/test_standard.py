"""LangChain's own standard tests for chat models, on `ChatMedPRM` over a scripted model.

The suite itself skips three tests that do not apply: settings from the environment (there are none), loading from
JSON (a reward model is not JSON), and recorded HTTP (there is none). What it would download is replaced by a few bytes.
"""

from types import SimpleNamespace

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from medprm_integrations.langchain import ChatMedPRM
from tests.support.langchain_scripts import ScriptedChat, obedient, reading_prm

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore:all .* samples are identical"),
    pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio'"),
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "none")
    monkeypatch.setattr(httpx, "get", lambda *args, **kwargs: SimpleNamespace(content=b"picture"))


class Wrapped:
    """The wrapper with a scripted model that calls tools and fills schemas."""

    @property
    def chat_model_class(self):
        return ChatMedPRM

    @property
    def chat_model_params(self):
        return {"llm": ScriptedChat(answers=[obedient]), "prm": reading_prm(), "n": 3}

    @property
    def has_tool_calling(self):
        return True

    @property
    def has_tool_choice(self):
        return True

    @property
    def has_structured_output(self):
        return True

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_pdf_inputs(self):
        return True

    @property
    def supports_audio_inputs(self):
        return True

    @property
    def supports_image_tool_message(self):
        return True

    @property
    def supports_pdf_tool_message(self):
        return True

    @property
    def model_override_value(self):
        return "another"

    @property
    def returns_usage_metadata(self):
        return True


class TestUnit(Wrapped, ChatModelUnitTests):
    pass


class TestIntegration(Wrapped, ChatModelIntegrationTests):
    pass
