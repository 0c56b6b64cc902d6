"""The winning answer: the unchanged sample, with its ranking in the metadata and nothing added to its text."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.schema import BaseNode, NodeWithScore
from pydantic import BaseModel

from medprm_integrations.llama_index.nodes import chain_text
from medprm_integrations.shared.ranking_metadata import KEY, RankingMetadata, read_ranking
from medprm_scorer.results.models import Ranking

Answer = TypeVar("Answer", ChatResponse, CompletionResponse)

_COUNTS = {
    "input_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("completion_tokens", "output_tokens"),
    "total_tokens": ("total_tokens",),
}
"""Our names of token counts, and those under which responses have them."""


TEXT_ONLY = (
    "its engine kept only the text of the answer, or nothing was retrieved, or the answer was not chosen; pass "
    "on_ranking= to the MedPRMLLM, MedPRMSynthesizer or MedPRMRerank in it"
)
"""Why an engine's response may have no ranking."""


def ranking_of(answer: object) -> Ranking:
    """The ranking by which an answer was chosen.

    The ranking is in `additional_kwargs["medprm"]` of a `MedPRMLLM`'s response, or in `metadata["medprm"]` of a
    synthesizer's response or of a node, together with what `RankingMetadata` describes, such as `cautions`. What the
    ranking lacks depends on `keep`: by default the texts of the losing chains, with `figures` also the question and the
    answers. These are "", while a ranking passed to `on_ranking` has them. The winner's text is the answer's current
    text; "" for an object of `output_cls`, and for a stream that was not read to its end.

    Args:
        answer: The response of a query engine with `MedPRMSynthesizer` or `MedPRMRerank`; a response of a `MedPRMLLM`
            itself, or the answer of an agent with one; the first node from `MedPRMRerank`; or the answer of a chat
            engine that uses such a query engine (`CondenseQuestionChatEngine`). Other chat engines, query engines with
            other synthesizers, a `RouterQueryEngine` that combines several answers and a `MultiStepQueryEngine` keep
            only an answer's text: use `on_ranking=` there.

    Raises:
        InputError: There is no ranking: the answer was not chosen (for example because it calls tools), or the ranking
            was not kept.
    """
    nodes = getattr(answer, "source_nodes", None)
    asked = [getattr(source, "raw_output", None) for source in getattr(answer, "sources", None) or ()]
    for holder in (answer, *asked, *(nodes or ())):
        found = _kept(holder)
        if found is not None:
            text = _text_of(answer if holder in asked else holder)
            return read_ranking(found, type(holder).__name__, text=text)
    kind = type(answer).__name__
    return read_ranking(None, kind) if nodes is None else read_ranking(None, kind, TEXT_ONLY)


def _kept(holder: object) -> object:
    """The value at the place where rankings are kept; None if there is none."""
    for place in ("metadata", "additional_kwargs", "raw"):
        found = getattr(holder, place, None)
        if isinstance(found, Mapping) and KEY in found:
            return found[KEY]
    return None


def _text_of(holder: Any) -> str:
    """The text of an object with a ranking: a node, an engine's or a model's response, or an agent's output."""
    if isinstance(holder, BaseNode | NodeWithScore):
        return chain_text(holder)
    inner = getattr(holder, "message", None) or getattr(holder, "response", None)
    outer = (getattr(holder, name, None) for name in ("text", "response_txt"))
    return next((found for found in (inner, getattr(inner, "content", None), *outer) if isinstance(found, str)), "")


def total_usage(samples: Iterable[object]) -> dict[str, int] | None:
    """The tokens of all samples together; None if none of them reports any.

    Example:
        >>> used = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        >>> total_usage([CompletionResponse(text="", additional_kwargs=used)] * 2)
        {'input_tokens': 4, 'output_tokens': 6, 'total_tokens': 10}
    """
    total: dict[str, int] | None = None
    for sample in samples:
        used = _usage(sample)
        if used is not None:
            total = {name: (total or {}).get(name, 0) + used[name] for name in _COUNTS}
    return total


def without_counts(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The additional arguments of a response without its token counts."""
    counts = {name for names in _COUNTS.values() for name in names}
    return {name: value for name, value in extra.items() if name not in counts}


def with_ranking(answer: Answer, note: RankingMetadata) -> Answer:
    """A copy of the winning response with its ranking, in `additional_kwargs` and in `raw`.

    It is in the response's arguments, never in the message's own, which go into the next prompt. Agents pass on only
    `raw`, so the ranking is also there. If the response counts tokens, they become those of all samples.
    """
    extra: dict[str, Any] = {**answer.additional_kwargs, KEY: note}
    for ours, theirs in _COUNTS.items():
        if note["usage"] and theirs[0] in extra:
            extra[theirs[0]] = note["usage"][ours]
    return answer.model_copy(update={"additional_kwargs": extra, "raw": _raw(answer.raw, note)})


def said_instead(answer: Answer, text: str, note: RankingMetadata) -> Answer:
    """A response with another text and only the token counts: `raw` may repeat the text that was not trusted."""
    counts = {
        name: answer.additional_kwargs[name]
        for names in _COUNTS.values()
        for name in names
        if name in answer.additional_kwargs
    }
    blank: Any = (
        ChatResponse(message=ChatMessage(content=text, role=answer.message.role), additional_kwargs=counts)
        if isinstance(answer, ChatResponse)
        else CompletionResponse(text=text, additional_kwargs=counts)
    )
    return with_ranking(cast("Answer", blank), note)


def sharing(memo: dict[int, Any] | None, *objects: object) -> dict[int, Any]:
    """The memo for `deepcopy` with which these objects are shared and not copied.

    Args:
        memo: The argument of `__deepcopy__`.
        objects: The objects.

    Example:
        >>> from copy import deepcopy
        >>> shared, other = [1], [2]
        >>> again = deepcopy([shared, other], sharing(None, shared))
        >>> again[0] is shared, again[1] is other
        (True, False)
    """
    memo = {} if memo is None else memo
    memo.update({id(one): one for one in objects})
    return memo


def _raw(raw: object, note: RankingMetadata) -> object:
    if isinstance(raw, BaseModel):
        raw = raw.model_dump()
    if raw is None or isinstance(raw, Mapping):
        return {**(raw or {}), KEY: note}
    return raw


def _usage(sample: object) -> dict[str, int] | None:
    """Token counts under our names, from any place where a response may have them."""
    raw = getattr(sample, "raw", None)
    usage = raw.get("usage") if isinstance(raw, Mapping) else getattr(raw, "usage", None)
    for place in (getattr(sample, "additional_kwargs", None), usage):
        if isinstance(place, BaseModel):
            place = place.model_dump()
        if not isinstance(place, Mapping):
            continue
        found = {
            ours: next((int(place[name]) for name in theirs if isinstance(place.get(name), int)), None)
            for ours, theirs in _COUNTS.items()
        }
        known = {ours: count or 0 for ours, count in found.items()}
        if found["input_tokens"] is not None or found["output_tokens"] is not None:
            known["total_tokens"] = known["total_tokens"] or known["input_tokens"] + known["output_tokens"]
            return known
    return None
