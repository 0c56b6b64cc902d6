"""Whether samples come from the model that the middleware called, or from another middleware after it."""

import warnings
from threading import Lock
from typing import Any, TypeVar

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import BaseLanguageModel

from medprm_integrations.shared.user_warnings import first_time
from medprm_scorer.sampling.drawing import Drawing

Model = TypeVar("Model")


class MiddlewareOrderWarning(UserWarning):
    """A middleware after `MedPRMMiddleware` changes the model, or answers instead of it."""


class SeenModel(BaseCallbackHandler):
    """Counts the answers of one model."""

    run_inline = True

    def __init__(self) -> None:
        self.answers: int | None = None
        self._lock = Lock()  # samples may run in threads

    def watched(self, llm: Model) -> Model:
        """A copy of a language model whose answers are counted; anything that is not a plain model stays unchanged."""
        if not isinstance(llm, BaseLanguageModel):
            return llm
        self.answers = 0
        callbacks = llm.callbacks
        if isinstance(callbacks, BaseCallbackManager):
            callbacks = callbacks.copy()
            callbacks.add_handler(self, inherit=False)
        else:
            callbacks = [*(callbacks or []), self]
        return llm.model_copy(update={"callbacks": callbacks})

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        """One answer more."""
        with self._lock:
            self.answers = (self.answers or 0) + 1


def warn_of_order(seen: SeenModel, drawing: Drawing[Any], source: object) -> None:
    """Warn, once for each source, if there are more samples than answers of the model that was called.

    Args:
        seen: The model that was called.
        drawing: The samples.
        source: The middleware.
    """
    if seen.answers is None or seen.answers >= len(drawing.all_values) or not first_time(source, "order"):
        return
    warnings.warn(
        "a middleware after MedPRMMiddleware changes the model or answers instead of it, so losing samples may be "
        "streamed to the user: put MedPRMMiddleware last, middleware=[…, MedPRMMiddleware(…)]",
        MiddlewareOrderWarning,
        stacklevel=2,
    )
