"""The winning answer: the sample as it was drawn, with its ranking beside it and nothing added to its text."""

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
    "its engine kept only the text of the answer, or the answer was not chosen; give on_ranking= to the MedPRMLLM, "
    "MedPRMSynthesizer or MedPRMRerank in it"
)
"""Why an engine's response may have no ranking."""


def ranking_of(answer: object) -> Ranking:
    """The ranking by which an answer was chosen.

    Where the ranking stands (`additional_kwargs["medprm"]` of a `MedPRMLLM`'s response, `metadata["medprm"]` of a
    synthesizer's response or of a node) there is also what `RankingMetadata` says, such as `cautions`. What the ranking
    does not have depends on `keep`: by default the texts of the losing chains, with `figures` also the question and the
    answers. They are "" then, and a ranking that `on_ranking` gets has them. The winner's text is that of the answer as
    it is now; "" for an object of `output_cls`, and for a stream that was not read to its end.

    Args:
        answer: The response of a query engine with `MedPRMSynthesizer` or `MedPRMRerank`; a response of a `MedPRMLLM`
            itself, or what an agent with one answered; the first node that `MedPRMRerank` gave; or what a chat engine
            answered that asks such a query engine (`CondenseQuestionChatEngine`). Other chat engines,
            query engines with other synthesizers, a `RouterQueryEngine` that combines several answers and a
            `MultiStepQueryEngine` keep only an answer's text: `on_ranking=` is the way to the ranking there.

    Raises:
        InputError: There is no ranking: the answer was not chosen, such as one that calls tools, or it was not kept.
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
    """What stands where rankings are kept; None if nothing does."""
    for place in ("metadata", "additional_kwargs", "raw"):
        found = getattr(holder, place, None)
        if isinstance(found, Mapping) and KEY in found:
            return found[KEY]
    return None


def _text_of(holder: Any) -> str:
    """The text of what holds a ranking: of a node, of an engine's or a model's response, or of an agent's output."""
    if isinstance(holder, BaseNode | NodeWithScore):
        return chain_text(holder)
    inner = getattr(holder, "message", None) or getattr(holder, "response", None)
    outer = (getattr(holder, name, None) for name in ("text", "response_txt"))
    return next((found for found in (inner, getattr(inner, "content", None), *outer) if isinstance(found, str)), "")


def total_usage(samples: Iterable[object]) -> dict[str, int] | None:
    """The tokens of all samples together; None if none of them says.

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
    """The additional arguments of a response without its counts of tokens."""
    counts = {name for names in _COUNTS.values() for name in names}
    return {name: value for name, value in extra.items() if name not in counts}


def with_ranking(answer: Answer, note: RankingMetadata) -> Answer:
    """A copy of the winning response with its ranking, in `additional_kwargs` and in `raw`.

    In the response's and never in the message's own arguments, which go into the next prompt. Agents hand on `raw`
    only, so the ranking stands there, too. Where the response counts tokens, they become those of all samples.
    """
    extra: dict[str, Any] = {**answer.additional_kwargs, KEY: note}
    for ours, theirs in _COUNTS.items():
        if note["usage"] and theirs[0] in extra:
            extra[theirs[0]] = note["usage"][ours]
    return answer.model_copy(update={"additional_kwargs": extra, "raw": _raw(answer.raw, note)})


def said_instead(answer: Answer, text: str, note: RankingMetadata) -> Answer:
    """A response with another text, with only the counts of tokens: `raw` may repeat what was not trusted."""
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
    """What to give to `deepcopy` so that these objects are shared and not copied.

    Args:
        memo: What `__deepcopy__` was given.
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
    """Token counts under our names, from wherever the response has them."""
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
