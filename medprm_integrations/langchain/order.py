"""Whether samples come from the model that the middleware asked, or from another middleware that stands behind it."""

import warnings
from threading import Lock
from typing import Any, TypeVar

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import BaseLanguageModel

from medprm_integrations.shared.user_warnings import first_time
from medprm_scorer.sampling.drawing import Drawing

Model = TypeVar("Model")


class MiddlewareOrderWarning(UserWarning):
    """A middleware behind `MedPRMMiddleware` changes the model, or answers in its place."""


class SeenModel(BaseCallbackHandler):
    """Counts the answers of one model."""

    run_inline = True

    def __init__(self) -> None:
        self.answers: int | None = None
        self._lock = Lock()  # samples may be threads

    def watched(self, llm: Model) -> Model:
        """A copy of a language model whose answers are counted; what is no plain model is left as it is."""
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
    """Warn, once for each source, when there are more samples than the model that was asked has given.

    Args:
        seen: The model that was asked.
        drawing: The samples.
        source: The middleware.
    """
    if seen.answers is None or seen.answers >= len(drawing.all_values) or not first_time(source, "order"):
        return
    warnings.warn(
        "a middleware behind MedPRMMiddleware changes the model or answers in its place, so that losing samples may be "
        "streamed to the user: put MedPRMMiddleware last, middleware=[…, MedPRMMiddleware(…)]",
        MiddlewareOrderWarning,
        stacklevel=2,
    )
