"""A runnable whose `batch` handles all inputs together, so that the reward model is called once.

Only this module uses the methods by which LangChain lets a custom runnable take part in callbacks.
"""

from abc import abstractmethod
from typing import Any, cast

from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.utils import Input, Output
from typing_extensions import override

from medprm_integrations.shared.best_of_n import only


class PackedRunnable(RunnableSerializable[Input, Output]):
    """For runnables that handle one input as a batch of one.

    A subclass implements the handling of many (`_run`, `_arun`): the result of each, or an error instead.
    """

    @abstractmethod
    def _run(self, values: list[Input], config: list[RunnableConfig], **kwargs: Any) -> list[Exception | Output]:
        """The results of many inputs."""

    @abstractmethod
    async def _arun(self, values: list[Input], config: list[RunnableConfig], **kwargs: Any) -> list[Exception | Output]:
        """The results of many inputs."""

    @override
    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """The result of one input, as described in the class.

        Raises:
            InputError: Something in the input is missing or of the wrong kind.
            ScoringError: No candidate could be scored.
            Exception: Every sample failed: the first one's error.
        """
        return self._call_with_config(cast("Any", self._run_one), input, config, **kwargs)

    @override
    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """`invoke`, without blocking the event loop."""
        return await self._acall_with_config(cast("Any", self._arun_one), input, config, **kwargs)

    @override
    def batch(self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any) -> list[Output]:
        """The results of many inputs, with one call of the reward model; a failed one does not affect the others."""
        return self._batch_with_config(
            cast("Any", self._run), inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    @override
    async def abatch(
        self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[Output]:
        """`batch`, without blocking the event loop."""
        return await self._abatch_with_config(
            cast("Any", self._arun), inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def _run_one(self, value: Input, config: RunnableConfig, **kwargs: Any) -> Output:
        return only(self._run([value], [config], **kwargs))

    async def _arun_one(self, value: Input, config: RunnableConfig, **kwargs: Any) -> Output:
        return only(await self._arun([value], [config], **kwargs))
