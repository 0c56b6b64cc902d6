"""How the samples become runs below the run of a chat model, which LangChain foresees for chains only."""

from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from medprm_integrations.langchain.sampler import sampling_config

NO_CALLBACKS: RunnableConfig = {"callbacks": []}
"""For what is not to be a run."""

BELOW = "_medprm_below"
"""The argument in which the configuration of the runs below travels from `stream` to `_stream`."""


def foreseen(config: RunnableConfig | None, manager: Any) -> tuple[RunnableConfig, RunnableConfig]:
    """The configuration of a run to come, its id decided here, and that of the runs below it.

    `BaseChatModel.stream` does not tell `_stream` its run, so the runs below are prepared before there is one.
    """
    own = ensure_config(config)
    own["run_id"] = own.get("run_id") or uuid4()
    configured = manager.configure(own.get("callbacks"))
    own["callbacks"] = configured
    children = configured.copy()
    children.parent_run_id = own["run_id"]
    return own, sampling_config({"callbacks": children, "tags": own["tags"], "metadata": own["metadata"]})


def below(run_manager: Any, manager: Any, kwargs: dict[str, Any]) -> RunnableConfig:
    """The configuration of the runs below this model's own; taken from the arguments where it was foreseen.

    The manager of a model's run cannot make one for runs below it, as that of a chain's run can.
    """
    foreseen: RunnableConfig | None = kwargs.pop(BELOW, None)
    if foreseen is not None or run_manager is None:
        return foreseen or sampling_config({})
    children = manager(
        handlers=list(run_manager.inheritable_handlers),
        inheritable_handlers=list(run_manager.inheritable_handlers),
        parent_run_id=run_manager.run_id,
        tags=list(run_manager.inheritable_tags),
        inheritable_tags=list(run_manager.inheritable_tags),
        metadata=dict(run_manager.inheritable_metadata),
        inheritable_metadata=dict(run_manager.inheritable_metadata),
    )
    return sampling_config({"callbacks": children})


def message_id(run_manager: Any) -> str | None:
    """The id that LangChain gives the message of a run."""
    return None if run_manager is None else f"lc_run--{run_manager.run_id}"
