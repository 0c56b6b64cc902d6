"""Weights in 8 or 4 bits, by transformers' own quantization, for devices that are too small for 16."""

from importlib.util import find_spec
from typing import Any

import torch

from medprm_scorer.errors import InputError, ModelError

QUANTIZATIONS = ("int8", "int4")


def quantization_config(quantization: Any, dtype: torch.dtype) -> Any:
    """The configuration that transformers' `from_pretrained` takes.

    Weights of the linear layers are made smaller as they are loaded: `int8` to 8 bits with a scale for each row, by
    torchao; `int4` to 4-bit NormalFloat with scales that are quantized too (QLoRA, arXiv 2305.14314), by bitsandbytes.
    What is computed stays in `dtype`, token by token, so that a candidate's rewards still do not depend on the others
    beside it (they would by LLM.int8, which treats all that runs together by its outliers). The embeddings and the
    language-model head, which rewards are read from, stay as they are.

    Args:
        quantization: `int8`, `int4`, a transformers quantization configuration, or None.
        dtype: What is computed in.

    Returns:
        The configuration; None for None.

    Raises:
        InputError: It is neither.
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

    return TorchAoConfig(Int8WeightOnlyConfig())
