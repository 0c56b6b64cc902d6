"""Whether a language model was cut off before it had finished, according to its response."""

from collections.abc import Mapping
from typing import Any

_PLACES = ("finish_reason", "stop_reason", "done_reason", "finishReason", "stopReason", "completion_reason", "reason")
_INSIDE = ("incomplete_details", "choices", "candidates", "generation_info", "message")
_DEEPEST = 4
_CUT_OFF = frozenset(
    {
        *("length", "max_tokens", "max_output_tokens", "max_tokens_reached", "max_length", "model_length"),
        *("model_context_window_exceeded", "token_limit", "error_toxic", "content_filter", "content_filtered"),
    }
)
"""OpenAI, Mistral, Ollama, TGI and vLLM say `length`, Anthropic and Bedrock `max_tokens`, Google `MAX_TOKENS`."""


def is_cut_off(said: object, depth: int = _DEEPEST) -> bool:
    """Whether the metadata of a response, in any provider's form, say that it was cut off.

    Args:
        said: A mapping, an object with attributes, or a list of these, of which the first counts.
        depth: How deep to look into it.

    Example:
        >>> is_cut_off({"finish_reason": "length"}), is_cut_off({"choices": [{"finish_reason": "stop"}]})
        (True, False)
    """
    if isinstance(said, list | tuple):
        said = said[0] if said else None
    if said is None or isinstance(said, str | bytes | int | float) or not depth:
        return False
    if any(str(_get(said, place)).rsplit(".", 1)[-1].lower() in _CUT_OFF for place in _PLACES):
        return True
    return any(is_cut_off(_get(said, place), depth - 1) for place in _INSIDE)


def _get(holder: Any, name: str) -> object:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
