"""A model and its tokenizer from a hub id or a folder: safetensors only, no code from it, no weight missing."""

import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from medprm_scorer.errors import InputError, ModelError
from medprm_scorer.local.quantization import quantization_config

DEMO_MODEL = Path(str(files("medprm_scorer") / "demo_model"))
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load(
    name: str | Path,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    quantization: Any = None,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        name: A folder, or an id on the Hugging Face hub such as `dmis-lab/llama-3.1-medprm-reward-v1.0`.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes a GPU where there is one.
        dtype: `float32`, `bfloat16` or `float16`; None takes bfloat16 on a GPU, float32 on a CPU.
        revision: Branch, tag or commit on the hub.
        quantization: As for `medprm_scorer.local.quantization.quantization_config`.

    Returns:
        The model in evaluation mode on its device, and its tokenizer.

    Raises:
        InputError: The device, dtype or quantization is unknown.
        ModelError: There is no such model, it cannot be read, or its weights are not all there as safetensors.
    """
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    smaller = quantization_config(quantization, kind)
    if not isinstance(name, str | Path):
        raise InputError(f"the model must be a folder or a hub id, not {type(name).__name__}")
    local = bool(str(name)) and Path(name).is_dir()
    if not local and not (isinstance(name, str) and _HUB_ID.fullmatch(name)):
        raise ModelError(f"there is no model folder {str(name)!r}, and it is not a hub id of the form owner/name")
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False, "local_files_only": local}
    if local and not (Path(name) / "config.json").is_file():
        raise ModelError(f"the folder {str(name)!r} holds no model: it has no config.json")
    how: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "sdpa", "output_loading_info": True}
    if smaller is not None:
        how |= {"quantization_config": smaller, "device_map": {"": target}}
    # else transformers, finding no safetensors, would ask a service on the hub to convert what is there
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, **where)
        model, report = AutoModelForCausalLM.from_pretrained(name, dtype=kind, **how, **where)
    except Exception as error:
        raise ModelError(f"the model {str(name)!r} cannot be loaded: {_first_line(error)}") from error
    tied = {"lm_head.weight"} if getattr(model.config, "tie_word_embeddings", False) else set()
    spare = sorted(key for key in set(report["unexpected_keys"]) - tied if not key.endswith("rotary_emb.inv_freq"))
    if spare:  # weights that its config has no place for: another architecture, or fewer layers
        raise ModelError(f"the model {str(name)!r} has {len(spare)} weights too many, the first being {spare[0]}")
    lost = sorted(report["missing_keys"]) + sorted(str(entry) for entry in report["mismatched_keys"])
    if lost:  # transformers would fill these with random numbers and go on
        raise ModelError(f"the model {str(name)!r} lacks {len(lost)} of its weights, the first being {lost[0]}")
    if getattr(model, "hf_quantizer", None) is None:  # such weights are put in place as they are loaded
        model = model.to(target)
    return model.eval(), tokenizer


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, if it is there; for None a GPU if there is one, else the CPU.

    Raises:
        InputError: The name is unknown or the machine has no such device.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
        if chosen.type == "meta":
            raise NotImplementedError
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        kinds = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        there = " or ".join(kind for kind, found in kinds.items() if found)
        raise InputError(f"there is no device {str(device)!r} on this machine: choose {there}") from None
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype asked for; for None, float32 on a CPU and bfloat16, the released weights' own, on a GPU.

    Raises:
        InputError: The dtype is not one of float32, bfloat16 and float16.
    """
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in _DTYPES.values():
        raise InputError(f"unknown dtype {str(dtype)!r}: choose one of {', '.join(_DTYPES)}")
    return chosen


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
