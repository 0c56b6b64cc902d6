"""Common mistakes in the arguments of the classes, reported before anything is paid for."""

from collections.abc import Iterable
from typing import Any

from llama_index.core.llms import LLM

from medprm_integrations.shared.settings import OF_THE_MODEL, SamplingSettings
from medprm_scorer.errors import InputError


def refuse_settings_of_others(names: Iterable[str], llm: LLM) -> None:
    """Refuse settings that belong to the language model, or to LlamaIndex's own synthesizers.

    Args:
        names: Names of the settings that were given.
        llm: The language model.

    Raises:
        InputError: There is one; the message says where it belongs.
    """
    for name in names:
        if name in SamplingSettings.model_fields:
            continue
        if name == "response_mode":
            raise InputError("unknown setting 'response_mode': MedPRMSynthesizer is itself a way to answer")
        if name in OF_THE_MODEL or name in type(llm).model_fields:
            raise InputError(f"unknown setting {name!r}: set it on llm")


def check_function(name: str, function: object) -> None:
    """Refuse a value that is neither a function nor None.

    Raises:
        InputError: It is something else.
    """
    if function is not None and not callable(function):
        raise InputError(f"{name} must be a function, not {type(function).__name__}")


def check_can_be_made(cls: type, given: dict[str, Any]) -> None:
    """Say what `from_dict` needs besides its data.

    Raises:
        InputError: The reward model is missing.
    """
    if "prm" not in given:
        raise InputError(
            f"models and functions are not part of the data: {cls.__name__}.from_dict(data, prm=…, llm=…), and the "
            "functions that you had set"
        )
