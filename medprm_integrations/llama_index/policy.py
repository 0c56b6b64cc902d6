"""LlamaIndex language models as policies of a search: they continue the beginning of an answer."""

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.llms import LLM
from typing_extensions import override

from medprm_integrations.llama_index.responses import total_usage
from medprm_integrations.llama_index.unstreamed_llm import achat_of, acomplete_of, language_model, response_text
from medprm_integrations.shared.prefill import PrefillPolicy, Reply, Request

_STOP = {"llama_index.llms.anthropic": "stop_sequences"}
"""Names of the argument for stop sequences, if it is not `stop`."""


class LLMPolicy(PrefillPolicy[LLM]):
    """Continues chains with a LlamaIndex language model. Safe to use from many threads and tasks.

    A text model gets the prompt and the beginning of the answer as one text. A chat model gets the beginning as a last
    assistant message: `OpenAI` and `OpenAILike` with vLLM's parameters (`continue_final_message`, without a generation
    prompt), others unchanged, and their provider must continue it. Before the first chain, a trial checks whether it
    does.

    Args:
        llm: The language model, with a temperature above 0.
        max_step_tokens: A step that has not ended after so many tokens is cut off, if the model takes `max_tokens`.
        concurrency: Most simultaneous calls.
        check: False skips the trial.

    Raises:
        InputError: It is not a language model, or one that already has stop sequences.
    """

    @override
    def take(self, llm: LLM) -> tuple[LLM, Mapping[str, Any]]:
        llm = language_model(llm)
        own: Mapping[str, Any] = getattr(llm, "additional_kwargs", None) or {}
        if own.get("extra_body"):  # it would replace that of a call
            others = {name: value for name, value in own.items() if name != "extra_body"}
            llm = llm.model_copy(update={"additional_kwargs": others})
        self._llm = llm
        modules = [cls.__module__ for cls in type(llm).__mro__]
        self._is_openai = any(name.startswith("llama_index.llms.openai") for name in modules)
        self._stop = next((name for start, name in _STOP.items() for one in modules if one.startswith(start)), "stop")
        return llm, own

    def ask(self, messages: Any, request: Request) -> Reply:
        """One call."""
        asked, options = self._asked(messages, request), self._options(request)
        if isinstance(asked, str):
            return self._reply(self._llm.complete(asked, formatted=True, **options), request)
        return self._reply(self._llm.chat(asked, **options), request)

    async def aask(self, messages: Any, request: Request) -> Reply:
        """`ask`, awaited."""
        asked, options = self._asked(messages, request), self._options(request)
        if isinstance(asked, str):
            return self._reply(await acomplete_of(self._llm)(asked, formatted=True, **options), request)
        return self._reply(await achat_of(self._llm)(asked, **options), request)

    def _asked(self, messages: Any, request: Request) -> str | list[ChatMessage]:
        if isinstance(messages, str):
            return f"{messages}{request.begun}"
        listed = [one if isinstance(one, ChatMessage) else ChatMessage(**one) for one in messages]
        if not self._llm.metadata.is_chat_model:
            return f"{self._llm.messages_to_prompt(listed)}{request.begun}"  # type: ignore[misc]  # set by LlamaIndex
        return [*listed, ChatMessage(request.begun, role=MessageRole.ASSISTANT)] if request.begun else listed

    def _options(self, request: Request) -> dict[str, Any]:
        options: dict[str, Any] = {self._stop: list(request.stops)} if request.stops else {}
        wanted: dict[str, Any] = {"max_tokens": request.max_tokens}
        if request.seed is None:
            wanted["temperature"] = 0.0
        options |= {name: value for name, value in wanted.items() if name in self._fields}
        if self._is_openai:
            more: dict[str, Any] = {"include_stop_str_in_output": True}
            if request.begun and self._llm.metadata.is_chat_model:
                more |= {"continue_final_message": True, "add_generation_prompt": False}
            options |= {"seed": request.seed or 0, "extra_body": {**self._extra, **more}}
        return options

    def _reply(self, response: ChatResponse | CompletionResponse, request: Request) -> Reply:
        if request.seed is not None:
            self.replies.append(response)
        message = response.message.additional_kwargs if isinstance(response, ChatResponse) else None
        used = total_usage([response])
        said = [one for one in (response.raw, response.additional_kwargs, message) if one is not None]
        return Reply(response_text(response), said, used["output_tokens"] if used else None)
