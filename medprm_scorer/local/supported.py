"""Which models the engine in this process can run, judged by their configuration and weights."""

from collections.abc import Sequence
from typing import Any

from medprm_scorer.errors import ModelError


def check_supported(model: Any) -> None:
    """Refuse a model that cannot be run, or would give different rewards, when candidates share a prefix.

    Args:
        model: A transformers causal language model.

    Raises:
        ModelError: Its attention or positions depend on more than a token's path and position, or its layers are on
            several devices.
    """
    _check_attention(model.config)
    _check_devices(model)


def _check_attention(config: Any) -> None:
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ()
    if getattr(config, "sliding_window", None) or any(kind != "full_attention" for kind in kinds):
        raise ModelError("the model does not use full attention in every layer, which the shared prefix needs")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):
        raise ModelError(f"the model's positions ({rope['rope_type']}) change with the length of the text")


def _check_devices(model: Any) -> None:
    """Refuse layers on several devices, or partly on none, as `device_map="auto"` makes them."""
    devices = sorted({str(weight.device) for weight in model.parameters()})
    if len(devices) > 1:
        raise ModelError(
            f"the model's weights are on several devices ({', '.join(devices)}), which is not supported: load it onto "
            "one, without device_map, with quantization if it is too large"
        )
