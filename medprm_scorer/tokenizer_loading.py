"""A tokenizer alone, for models that run elsewhere: nothing of torch is loaded, no code from its folder is run."""

import os
from pathlib import Path
from typing import Any

from medprm_scorer.errors import InputError, ModelError


def load_tokenizer(name: str | Path, revision: str | None = None) -> Any:
    """The fast tokenizer of a folder or hub id.

    Args:
        name: A folder, or an id on the Hugging Face hub such as `dmis-lab/llama-3.1-medprm-reward-v1.0`.
        revision: Branch, tag or commit on the hub.

    Raises:
        ModelError: There is none, or it cannot be read.
        InputError: The name is empty.
    """
    from transformers import AutoTokenizer

    if not str(name):
        raise InputError("the tokenizer's name is empty: give a folder or a hub id")
    local = os.path.isdir(name)
    try:
        return AutoTokenizer.from_pretrained(
            name, use_fast=True, revision=revision, trust_remote_code=False, local_files_only=local
        )
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"the tokenizer {str(name)!r} cannot be loaded; pass the folder or hub id of the served model: {lines[0]}"
        ) from error
