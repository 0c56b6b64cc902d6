"""Tokens: prompts as token ids in which the position of every step tag is known by construction.

Untrusted text is never tokenized together with special tokens. Each stretch of text between two of our own special
tokens goes through a private copy of the tokenizer that has no added tokens, and the special ids are inserted in
between. On benign text the ids equal those of the official method (render the chat template, tokenize the whole text);
on hostile text no special id can appear except ours. Tags are not found by searching: `" ки"` also occurs inside
ordinary Russian words.
"""

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from medprm_scorer.errors import InputError, ModelError
from medprm_scorer.text.chat_template import apply_chat_template
from medprm_scorer.text.prompts import (
    DOCUMENT_TOKEN_BUDGET,
    NEGATIVE_LABEL,
    POSITIVE_LABEL,
    STEP_TAG,
    system_prompt,
    user_prefix,
)
from medprm_scorer.text.sanitize import valid_unicode

_WITHOUT_DOCUMENTS = ("no_documents", "outcome")  # these prompts say that there are no documents
_USER_PLACE = "MEDPRMUSERCONTENT"  # placeholder for the user content while the chat template is rendered
_RANDOM = ("dropout", "alpha", "nbest_size")  # settings of a tokenizer's model that make tokenization random
_SETTINGS = (
    *_RANDOM,
    *("ignore_merges", "byte_fallback", "fuse_unk", "unk_token"),
    *("continuing_subword_prefix", "end_of_word_suffix", "max_input_chars_per_word"),
)


@dataclass(frozen=True)
class EncodedPrefix:
    """What all candidates of one question share: system prompt, documents and question.

    Args:
        ids: Token ids, from the first begin-of-text to the colon of "Explanation:".
        documents_used: Number of documents, counted from the first, that fitted in the budget.
    """

    ids: tuple[int, ...]
    documents_used: int

    def __repr__(self) -> str:  # ids are text in another alphabet
        return f"EncodedPrefix({len(self.ids)} tokens)"


@dataclass(frozen=True)
class EncodedChain:
    """One candidate after the prefix.

    Args:
        ids: Token ids from the space before the first word to the last step tag, included.
        tags: Indices in `ids` of the step tags, ascending; the last is `len(ids) - 1`.
    """

    ids: tuple[int, ...]
    tags: tuple[int, ...]

    def __repr__(self) -> str:
        return f"EncodedChain({len(self.ids)} tokens, {len(self.tags)} steps)"


@dataclass(frozen=True)
class EncodedPrompt:
    """The input of an engine for one question: the prefix once, and its chains."""

    prefix: tuple[int, ...]
    chains: tuple[EncodedChain, ...]

    @property
    def tokens(self) -> int:
        """Tokens for an engine to run: the prefix once and every chain."""
        return len(self.prefix) + sum(len(chain.ids) for chain in self.chains)

    @property
    def unique_tokens(self) -> int:
        """Tokens if identical chains are run once."""
        return len(self.prefix) + sum(len(chain.ids) for chain in set(self.chains))

    def __repr__(self) -> str:
        return f"EncodedPrompt({len(self.prefix)} tokens, {len(self.chains)} chains)"


class PromptEncoder:
    """Turns questions, documents and steps into token ids.

    Safe to use from many threads at once: it never changes after construction.

    Args:
        tokenizer: A fast transformers tokenizer with a chat template and the step tag as an added token.
        system: Name of the system prompt: `rag` (as the released model was trained, with documents or without), `auto`
            (`rag` with documents, `no_documents` without), `no_documents`, `outcome` or `card`.

    Raises:
        ModelError: The tokenizer is not a fast one, has no chat template, lacks the tag or the labels as single tokens,
            merges text across the boundaries of prompt parts, or tokenizes at random. The methods raise it if such a
            setting of the tokenizer is changed later.
    """

    def __init__(self, tokenizer: Any, system: str = "rag") -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelError("the tokenizer must be a fast one (a tokenizer.json that the tokenizers library reads)")
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError("the tokenizer has no chat template, so the prompt cannot be written as trained")
        system_prompt(system, has_documents=True)  # refuses an unknown name before any work
        self.system = system
        self._plain = _without_added_tokens(backend)
        self._settings = _model_settings(self._plain)
        random = [name for name in _RANDOM if self._settings[name]]
        if random:
            raise ModelError(
                f"the tokenizer's {random[0]} is on, so a text gets other tokens each time: load it without, or set "
                f"tokenizer.backend_tokenizer.model.{random[0]} = None"
            )
        self._special_ids: dict[str, int] = {str(token): id_ for id_, token in tokenizer.added_tokens_decoder.items()}
        self.tag_id = self._tag_id()
        self.positive_id = self._label_id(tokenizer, POSITIVE_LABEL)
        self.negative_id = self._label_id(tokenizer, NEGATIVE_LABEL)
        with _patterns_that_end():
            added = list(tokenizer("x", add_special_tokens=True)["input_ids"])
            bare = list(tokenizer("x", add_special_tokens=False)["input_ids"])
        start = next((i for i in range(len(added)) if added[i : i + len(bare)] == bare), 0)
        self._before, after = added[:start], added[start + len(bare) :]
        self._heads: dict[str, list[int | str]] = {}
        tail: list[int | str] = []
        for has_documents in (True, False):
            text = system_prompt(system, has_documents)
            self._heads[text], tail = self._render(tokenizer, text)
        self.tail_ids = (*self._encode_parts(tail), *after)
        self._check_against_text_route(tokenizer)

    def prefix(self, question: str, documents: Sequence[str] = ()) -> EncodedPrefix:
        """Encode the part that all candidates of a question share.

        Args:
            question: The question, including its answer options.
            documents: Documents in order of relevance. Whole documents are taken while their tokens, plus one each, fit
                in 3,072 (the authors' 4,096 minus 1,024 reserved); the first that does not fit ends the list. None are
                taken with the system prompts `no_documents` and `outcome`, which were trained without documents.
        """
        used = self._within_budget(documents) if self.system not in _WITHOUT_DOCUMENTS else []
        head = self._heads[system_prompt(self.system, has_documents=bool(used))]
        return EncodedPrefix(tuple(self._before + self._encode_parts([*head, user_prefix(question, used)])), len(used))

    def chain(self, steps: Sequence[str], front: str = "") -> EncodedChain:
        """Encode one candidate's steps, each followed by the step tag.

        Args:
            steps: Stripped texts of the steps; at least one.
            front: Text before the first step; it has no tag.
        """
        if not steps:
            raise InputError("a chain without steps cannot be encoded")
        ids: list[int] = []
        tags: list[int] = []
        for number, step in enumerate(steps):
            lead = f" {front}" if front and number == 0 else ""
            ids += self._encode_text(f"{lead} {step}")
            tags.append(len(ids))
            ids.append(self.tag_id)
        return EncodedChain(tuple(ids), tuple(tags))

    def tagged_chain(self, pieces: Sequence[str]) -> EncodedChain:
        """Encode a solution that already has step tags: it follows `Explanation: ` unchanged.

        Args:
            pieces: The text before each tag, as from `medprm_scorer.text.tagged.tagged_pieces`; at least one.

        Raises:
            InputError: There are none.
        """
        if not pieces:
            raise InputError("a chain without steps cannot be encoded")
        ids: list[int] = []
        tags: list[int] = []
        for piece in (f" {pieces[0]}", *pieces[1:]):
            ids += self._encode_text(piece)
            tags.append(len(ids))
            ids.append(self.tag_id)
        return EncodedChain(tuple(ids), tuple(tags))

    @property
    def largest_id(self) -> int:
        """The largest token id that a prompt can hold; a model needs an embedding for it."""
        return max(self._plain.get_vocab_size() - 1, *self._special_ids.values())

    def count(self, text: str) -> int:
        """Number of tokens of an untrusted text, without special tokens."""
        return len(self._encode_text(text))

    def _within_budget(self, documents: Sequence[str]) -> list[str]:
        used: list[str] = []
        left = DOCUMENT_TOKEN_BUDGET
        for document in documents:
            left -= self.count(document) + 1
            if left < 0:
                break
            used.append(document)
        return used

    def _encode_text(self, text: str) -> list[int]:
        with _patterns_that_end():
            ids = self._plain.encode(valid_unicode(text), add_special_tokens=False).ids
        if _model_settings(self._plain) != self._settings:  # its vocabulary is shared with the caller's tokenizer
            raise ModelError("a setting of the tokenizer's model was changed: make a new MedPRM with the changed one")
        return list(ids)

    def _encode_parts(self, parts: Sequence[int | str]) -> list[int]:
        """Special ids unchanged; adjacent texts are joined first, since the tokenizer sees them as one stretch."""
        ids: list[int] = []
        text = ""
        for part in parts:
            if isinstance(part, str):
                text += part
                continue
            ids += self._encode_text(text) if text else []
            ids.append(part)
            text = ""
        return ids + (self._encode_text(text) if text else [])

    def _render(self, tokenizer: Any, system: str) -> tuple[list[int | str], list[int | str]]:
        """The chat template around the user content, as parts: text, and ids of the special tokens it writes."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": _USER_PLACE}]
        text = _written(tokenizer, messages)
        if text.count(_USER_PLACE) != 1:
            raise ModelError("the tokenizer's chat template does not write the user message exactly once")
        head, tail = text.split(_USER_PLACE)
        return self._split_at_special(head), self._split_at_special(tail)

    def _split_at_special(self, text: str) -> list[int | str]:
        names = sorted(self._special_ids, key=len, reverse=True)
        pieces = re.split(f"({'|'.join(map(re.escape, names))})", text)
        return [self._special_ids.get(piece, piece) for piece in pieces if piece]

    def _tag_id(self) -> int:
        id_ = self._special_ids.get(STEP_TAG)
        if id_ is None:
            raise ModelError(
                f"the tokenizer lacks the step tag {STEP_TAG!r} as an added token: this is not a Med-PRM reward model"
            )
        if id_ in self._encode_text(STEP_TAG):
            raise ModelError(f"ordinary text can make the step tag {STEP_TAG!r} (id {id_}), so rewards could be forged")
        return id_

    def _label_id(self, tokenizer: Any, label: str) -> int:
        ids = self._encode_text(label)
        if len(ids) != 1:
            raise ModelError(f"the label {label!r} is {len(ids)} tokens in this tokenizer instead of one")
        if str(tokenizer.decode(ids)).strip() != label.strip():
            raise ModelError(f"the label {label!r} is an unknown token in this tokenizer")
        return ids[0]

    def _check_against_text_route(self, tokenizer: Any) -> None:
        """Compare the assembled ids with the official method on one benign prompt, before any reward is returned."""
        documents = ["Label: 5 mg per kg.", "(2) Limit 300 mg"]
        steps = ["Step 1: Read 5 mg.", "Step 2: Thus 10 mg."]
        for front in ("", "1. So:", "(So)"):
            used = documents if self.system not in _WITHOUT_DOCUMENTS else []
            spoken = [*([front] if front else []), *(step + STEP_TAG for step in steps)]
            messages = [
                {"role": "system", "content": system_prompt(self.system, has_documents=bool(used))},
                {"role": "user", "content": user_prefix("Which dose?\n\n(A) 10 mg", used) + " " + " ".join(spoken)},
            ]
            with _patterns_that_end():
                official = list(tokenizer(_written(tokenizer, messages), add_special_tokens=True)["input_ids"])
            prefix = self.prefix("Which dose?\n\n(A) 10 mg", documents)
            if official != [*prefix.ids, *self.chain(steps, front).ids, *self.tail_ids]:
                raise ModelError("this tokenizer merges text across prompt parts, so its prompts cannot be made exact")


def _written(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The chat template with messages of our own."""
    return str(apply_chat_template(tokenizer, messages, quote=True, tokenize=False, add_generation_prompt=True))


@contextmanager
def _patterns_that_end() -> Iterator[None]:
    """Refuse a tokenizer whose regular expressions backtrack: the tokenizers library gives up and panics.

    Raises:
        ModelError: They do, on the text that is tokenized inside.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of the tokenizers library, which no module offers
            raise ModelError("the tokenizer's patterns fail on a text: it is not a Llama tokenizer") from None
        raise


def _without_added_tokens(backend: Tokenizer) -> Tokenizer:
    """A tokenizer with the same model and rules, but without added tokens, truncation or padding.

    The `split_special_tokens` switch of transformers would change a tokenizer that other threads may be using, and
    would leave added tokens active that are not marked special.
    """
    plain = Tokenizer(backend.model)  # shared: a copy of a large vocabulary takes seconds
    if backend.normalizer is not None:
        plain.normalizer = copy.deepcopy(backend.normalizer)
    if backend.pre_tokenizer is not None:
        plain.pre_tokenizer = copy.deepcopy(backend.pre_tokenizer)
    return plain


def _model_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """The settings that change the tokens of a text, besides the vocabulary."""
    model = tokenizer.model
    return {name: getattr(model, name, None) for name in _SETTINGS}


def load_tokenizer(name: str | Path, revision: str | None = None, *, named_by_server: bool = False) -> Any:
    """The fast tokenizer of a folder or hub id; torch is not loaded, and no code from the folder is run.

    Args:
        name: A folder, or a Hugging Face hub id such as `dmis-lab/llama-3.1-medprm-reward-v1.0`.
        revision: Branch, tag or commit on the hub.
        named_by_server: Whether the name is that from which a server loaded its model, which may be a folder there.

    Raises:
        ModelError: There is none, or it cannot be read.
        InputError: The name is empty.
    """
    from transformers import AutoTokenizer

    if not str(name):
        raise InputError("the tokenizer's name is empty: give a folder or a hub id")
    local = os.path.isdir(name)  # unlike Path.is_dir, False for a name that is too long for a path
    try:
        return AutoTokenizer.from_pretrained(
            name, use_fast=True, revision=revision, trust_remote_code=False, local_files_only=local
        )
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if named_by_server:
            raise ModelError(
                f"the server loaded its model from {str(name)!r}, where no tokenizer can be loaded here: pass "
                f"tokenizer= (--tokenizer), a folder or hub id with the same tokenizer: {lines[0]}"
            ) from error
        raise ModelError(
            f"the tokenizer {str(name)!r} cannot be loaded; pass the folder or hub id of the served model: {lines[0]}"
        ) from error
