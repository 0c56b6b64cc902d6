"""A model and its tokenizer from a hub id or a folder: only safetensors, no code from there, and no missing weights.

It also holds the quantization of weights as they are loaded, and the fingerprint that identifies them.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from medprm_scorer.errors import InputError, ModelError

DEMO_MODEL = Path(str(files("medprm_scorer") / "data" / "demo_model"))
_MOST_LAYERS = 1000  # the largest Llama has 126
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_HUB_FILES = ["*.json", "model*.safetensors", "tokenizer*", "*.jinja"]
QUANTIZATIONS = ("int8", "int4")


def load(
    name: str | Path,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    quantization: Any = None,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        name: A folder, or a Hugging Face hub id such as `dmis-lab/llama-3.1-medprm-reward-v1.0`.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes a GPU if there is one.
        dtype: `float32`, `bfloat16` or `float16`; None takes float32 on a CPU, bfloat16 on a GPU, and float16 on one
            that has no bfloat16.
        revision: Branch, tag or commit on the hub.
        quantization: As for `quantization_config`.

    Returns:
        The model in evaluation mode on its device, and its tokenizer.

    Raises:
        InputError: The device, dtype or quantization is unknown.
        ModelError: There is no such model, it cannot be read, or some of its weights are missing or not in safetensors.
    """
    target = choose_device(device)
    chosen = choose_dtype(dtype, target)
    quantized = quantization_config(quantization, chosen)
    if not isinstance(name, str | Path):
        raise InputError(f"the model must be a folder or a hub id, not {type(name).__name__}")
    local = os.path.isdir(name)
    if not local and not (isinstance(name, str) and _HUB_ID.fullmatch(name)):
        raise ModelError(f"there is no model folder {str(name)!r}, and it is not a hub id of the form owner/name")
    if local and not (Path(name) / "config.json").is_file():
        raise ModelError(f"the folder {str(name)!r} holds no model: it has no config.json")
    load_kwargs: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "sdpa", "output_loading_info": True}
    if quantized is not None:
        load_kwargs |= {"quantization_config": quantized, "device_map": {"": target}}
    offline = {"trust_remote_code": False, "local_files_only": True}
    try:
        # always from a folder: for a hub id without safetensors, transformers may ask a service to convert it
        folder = name if local else snapshot_download(str(name), revision=revision, allow_patterns=_HUB_FILES)
        layers = getattr(AutoConfig.from_pretrained(folder, **offline), "num_hidden_layers", 0)
        if layers > _MOST_LAYERS:  # making them would take forever, before a missing weight is noticed
            raise ValueError(f"its config.json names {layers} layers, and more than {_MOST_LAYERS} are refused")
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **offline)
        model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=chosen, **load_kwargs, **offline)
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"the hub cannot be reached for {str(name)!r}, and this machine has no copy of it: check the connection "
            "and HF_HUB_OFFLINE, or give a folder"
        ) from error
    except Exception as error:
        raise ModelError(f"the model {str(name)!r} cannot be loaded: {_first_line(error)}") from error
    tied = {"lm_head.weight"} if getattr(model.config, "tie_word_embeddings", False) else set()
    unexpected = set(report["unexpected_keys"]) - tied
    unexpected = {key for key in unexpected if not key.endswith("rotary_emb.inv_freq")}
    if unexpected:  # weights that do not fit its config: another architecture, or fewer layers
        raise ModelError(
            f"the model {str(name)!r} has {len(unexpected)} unexpected weights, the first being {min(unexpected)}"
        )
    missing = sorted(report["missing_keys"]) + sorted(str(entry) for entry in report["mismatched_keys"])
    if missing:  # transformers would fill these with random numbers
        raise ModelError(f"the model {str(name)!r} lacks {len(missing)} of its weights, the first being {missing[0]}")
    if getattr(model, "hf_quantizer", None) is None:  # quantized weights are already on the device
        model = model.to(target)
    return model.eval(), tokenizer


def choose_device(device: str | torch.device | None) -> torch.device:
    """The requested device, if it exists; for None, a GPU if there is one, otherwise the CPU.

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
    """The requested dtype; for None, float32 on a CPU, and on a GPU bfloat16, the dtype of the released weights.

    NVIDIA GPUs before compute capability 8.0 have no bfloat16, and use float16. Rewards are always read in float32.

    Raises:
        InputError: The dtype is not one of float32, bfloat16 and float16.
    """
    if dtype is None:
        if device.type == "cpu":
            return torch.float32
        return torch.float16 if device.type == "cuda" and not _has_bfloat16(device) else torch.bfloat16
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in _DTYPES.values():
        raise InputError(f"unknown dtype {str(dtype)!r}: choose one of {', '.join(_DTYPES)}")
    return chosen


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device supports bfloat16 natively; AMD devices, which use the same name, do."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)


def quantization_config(quantization: Any, dtype: torch.dtype) -> Any:
    """The configuration that transformers' `from_pretrained` takes.

    The weights of the linear layers are quantized as they are loaded: `int8` to 8 bits with a scale for each row, by
    torchao; `int4` to 4-bit NormalFloat with quantized scales (QLoRA, arXiv 2305.14314), by bitsandbytes. Activations
    stay in `dtype`, token by token, so a candidate's rewards still do not depend on the others (with LLM.int8 they
    would, since it treats everything in one pass by its outliers). The embeddings and the language-model head, from
    which rewards are read, are not quantized.

    Args:
        quantization: `int8`, `int4`, a transformers quantization configuration, or None.
        dtype: The dtype of the computation.

    Returns:
        The configuration; None for None.

    Raises:
        InputError: `quantization` is none of these.
        ModelError: The package that it needs is not installed.

    Example:
        >>> quantization_config(None, torch.bfloat16) is None
        True
    """
    if quantization is None:
        return None
    from transformers.utils.quantization_config import QuantizationConfigMixin

    if isinstance(quantization, QuantizationConfigMixin):
        return quantization
    if not isinstance(quantization, str) or quantization not in QUANTIZATIONS:
        raise InputError(
            f"unknown quantization {str(quantization)[:40]!r}: choose {' or '.join(QUANTIZATIONS)}, or pass one of "
            "transformers' quantization configurations"
        )
    needs = ("torchao" if quantization == "int8" else "bitsandbytes", "accelerate")
    if not all(find_spec(name) for name in needs):
        raise ModelError(f'{quantization} needs {" and ".join(needs)}: pip install "medprm[quantized]"')
    if quantization == "int8":
        return _int8()
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _int8() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(set_inductor_config=False))  # True affects the whole process


def fingerprint(model: Any) -> str:
    """A hash of the names, the shapes and 64 spread-out numbers of every weight: any training changes some of them.

    Args:
        model: A model; copies of it in float32, bfloat16 and float16 have the same fingerprint, quantized ones a
            different one.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        for part in _parts(weight.detach()):
            flat = part.flatten()  # (numbers,)
            places = torch.linspace(0, len(flat) - 1, min(64, len(flat)), dtype=torch.float64, device="cpu").long()
            # rounded to bfloat16, so that float32 and bfloat16 copies of the released weights count as one model
            sampled = flat[places.to(flat.device)].to(torch.bfloat16).float().cpu().tolist()
            digest.update(f"{name} {tuple(part.shape)} {sampled}".encode())
    return digest.hexdigest()[:16]


def _parts(weight: Any) -> Iterator[Tensor]:
    """The plain tensors that make up a weight: several (numbers and scales) if it is quantized."""
    if not hasattr(weight, "__tensor_flatten__"):  # PyTorch's protocol for tensors made of other tensors
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield from _parts(getattr(weight, name))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
