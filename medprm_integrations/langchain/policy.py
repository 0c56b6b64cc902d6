"""LangChain chat models as policies of a search: the last message is the assistant's, and the model continues it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import Self, override

from medprm_integrations.langchain.convert import messages_in
from medprm_integrations.langchain.messages import as_message
from medprm_integrations.langchain.sampler import sampler, sampling_config
from medprm_integrations.langchain.wrapped_models import bound_arguments, chat_model_in
from medprm_integrations.shared.prefill import PrefillPolicy, Reply, Request
from medprm_scorer.errors import InputError


class ChatModelPolicy(PrefillPolicy[Runnable[Any, Any]]):
    """Continues chains with a LangChain chat model, by assistant prefill. Safe to use from many threads and tasks.

    A model with `extra_body`, such as `ChatOpenAI`, gets vLLM's parameters (`continue_final_message`, without a
    generation prompt). Others get the beginning of the answer as a last assistant message, which their provider must
    continue. Before the first chain, a trial checks whether it does.

    Args:
        llm: The chat model, possibly with bindings, with a temperature above 0.
        max_step_tokens: A step that has not ended after so many tokens is cut off, if the model takes `max_tokens`.
        concurrency: Most simultaneous calls.
        check: False skips the trial.

    Raises:
        InputError: It is not a chat model, or one that already has stop sequences.
    """

    @override
    def take(self, llm: Runnable[Any, Any]) -> tuple[BaseChatModel, Mapping[str, Any]]:
        try:
            model = chat_model_in(llm)
        except ValueError as error:
            raise InputError(str(error)) from None
        self._llm, self._config = sampler(llm), sampling_config({})
        self._arguments: Mapping[str, Any] = {}
        bound = bound_arguments(llm)
        return model, {**bound, "extra_body": bound.get("extra_body") or getattr(model, "extra_body", None)}

    def in_run(
        self,
        messages: Callable[[str, Sequence[str]], Any],
        config: RunnableConfig,
        arguments: Mapping[str, Any],
    ) -> Self:
        """The same policy for one question.

        Args:
            messages: As in `asking`.
            config: The run that its calls belong to.
            arguments: Further arguments of each call.

        Raises:
            InputError: `stop` is among the arguments.
        """
        if "stop" in arguments:
            raise InputError("a search stops the llm after each step: call it without stop")
        other = self.asking(messages)
        other._config, other._arguments = sampling_config(config), arguments
        return other

    def ask(self, messages: Any, request: Request) -> Reply:
        """One call."""
        message = self._llm.invoke(_begun(messages, request), self._config, **self._options(request))
        return self._reply(message, request)

    async def aask(self, messages: Any, request: Request) -> Reply:
        """`ask`, awaited."""
        message = await self._llm.ainvoke(_begun(messages, request), self._config, **self._options(request))
        return self._reply(message, request)

    def _options(self, request: Request) -> dict[str, Any]:
        options: dict[str, Any] = dict(self._arguments)
        if request.stops:
            options["stop"] = list(request.stops)
        wanted: dict[str, Any] = {"max_tokens": request.max_tokens, "seed": request.seed}
        if request.seed is None:
            wanted |= {"temperature": 0.0, "seed": 0}
        options |= {name: value for name, value in wanted.items() if name in self._fields}
        if "extra_body" in self._fields:
            more = {"include_stop_str_in_output": True}
            if request.begun:
                more |= {"continue_final_message": True, "add_generation_prompt": False}
            options["extra_body"] = {**self._extra, **options.get("extra_body", {}), **more}
        return options

    def _reply(self, output: object, request: Request) -> Reply:
        message = as_message(output)
        if request.seed is not None:
            self.replies.append(message)
        used = message.usage_metadata
        return Reply(str(message.text), [message.response_metadata], used["output_tokens"] if used else None)


def _begun(messages: Any, request: Request) -> list[BaseMessage]:
    if isinstance(messages, PromptValue):
        messages = messages.to_messages()
    listed = messages_in(list(messages) if isinstance(messages, Iterable) else [messages])
    return [*listed, AIMessage(request.begun)] if request.begun else listed
