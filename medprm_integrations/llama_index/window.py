"""Calls a language model with documents that may exceed its context window.

It works like LlamaIndex's own synthesizers: if all documents fit, they go into one prompt. Otherwise they are packed
into as few prompts as possible (`PromptHelper.repack`), and each sample is refined from one to the next.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.prompt_utils import get_biggest_prompt
from pydantic import BaseModel

from medprm_integrations.llama_index.prompts import REFINE, TEMPLATE, prompt_values
from medprm_integrations.llama_index.responses import total_usage
from medprm_integrations.llama_index.sampler import Response, asking
from medprm_integrations.llama_index.several import in_one_call
from medprm_integrations.llama_index.unstreamed_llm import response_text
from medprm_scorer.errors import InputError
from medprm_scorer.text.prompts import document_block


class PartsBefore:
    """Earlier versions of a sample, before it was refined, so that their tokens are also counted."""

    def __init__(self) -> None:
        self._parts: dict[int, list[Response]] = {}

    def keep(self, sample: Response, parts: list[Response]) -> None:
        """Record the earlier version of a sample; the sample must live as long as this object."""
        self._parts[id(sample)] = parts

    def usage(self, samples: Iterable[Response]) -> dict[str, int] | None:
        """`total_usage`, including the earlier versions."""
        return total_usage(part for one in samples for part in (*self._parts.get(id(one), ()), one))


@dataclass(frozen=True, repr=False)
class Asking:
    """How samples are requested.

    Args:
        one: Gets one sample.
        several: Gets so many in one call; None if that is not possible.
    """

    one: Callable[[], Any]
    several: Callable[[int], Any] | None = None


def asking_within_window(
    llm: LLM,
    templates: Mapping[str, BasePromptTemplate],
    question: str,
    documents: Sequence[str],
    output_cls: type[BaseModel] | None = None,
    *,
    is_async: bool,
    more: dict[str, Any] | None = None,
    helper: PromptHelper | None = None,
    before: PartsBefore | None = None,
) -> Asking:
    """How to request samples: several in one call if the documents fit in one prompt and no schema is requested.

    Args:
        llm: The model.
        templates: The prompts, `text_qa_template` and `refine_template`.
        question: The question.
        documents: The documents' texts.
        output_cls: Request an answer of this class.
        is_async: Whether calls are awaited.
        more: Values for the user's own templates.
        helper: Counts tokens; None makes one from the model's metadata.
        before: Records the earlier versions of samples.

    Raises:
        InputError: The context window has no room for any document; nothing was requested.
    """
    values = prompt_values(question, documents, more)
    fixed = {name: value for name, value in values.items() if name not in ("context_str", "documents")}
    parts = _packed(llm, templates, fixed, documents, helper)
    if len(parts) == 1:
        ask_one = asking(llm, templates[TEMPLATE], values, output_cls, is_async=is_async)
        return Asking(ask_one, in_one_call(ask_one) if output_cls is None else None)

    def ask(part: str, so_far: Response | None) -> Any:
        known = {**fixed, "context_str": part, "context_msg": part, "documents": f"{part}\n\n"}
        if so_far is not None:
            known["existing_answer"] = _text(so_far)
        template = templates[TEMPLATE if so_far is None else REFINE]
        return asking(llm, template, known, output_cls, is_async=is_async)()

    def last(answers: list[Response]) -> Response:
        *parts, sample = answers
        if before is not None:
            before.keep(sample, parts)
        return sample

    def refined() -> Response:
        answers: list[Response] = []
        for part in parts:
            answers.append(ask(part, answers[-1] if answers else None))
        return last(answers)

    async def arefined() -> Response:
        answers: list[Response] = []
        for part in parts:
            answers.append(await ask(part, answers[-1] if answers else None))
        return last(answers)

    return Asking(arefined if is_async else refined)


def _packed(
    llm: LLM,
    templates: Mapping[str, BasePromptTemplate],
    values: Mapping[str, Any],
    documents: Sequence[str],
    helper: PromptHelper | None,
) -> list[str]:
    """The numbered documents in as few texts as the context window allows."""
    block = document_block(documents)
    if not block:
        return [""]
    helper = helper or PromptHelper.from_llm_metadata(llm.metadata)
    # with a placeholder for the answer to refine, as long as an answer can be
    filled = [templates[name].partial_format(**values) for name in (TEMPLATE, REFINE)]
    options: dict[str, Any] = {"llm": llm} if "llm" in inspect.signature(helper.repack).parameters else {}
    try:
        parts = helper.repack(filled[0], [block], **options)
        if len(parts) > 1:
            room = helper.num_output if helper.num_output > 0 else 0
            parts = helper.repack(get_biggest_prompt(filled), [block], padding=room, **options)
    except ValueError:
        raise InputError(
            "the question and the prompt leave no room for documents in the llm's context window: set its "
            "context_window to the model's real value, or lower its max_tokens"
        ) from None
    return parts


def _text(response: Response) -> str:
    if isinstance(response, ChatResponse | CompletionResponse):
        return response_text(response)
    return response.model_dump_json()
