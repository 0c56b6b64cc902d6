"""Nodes: which are chains of thought and which are documents, and copies that may be changed.

Evidence is what no language model wrote: not a chain, a draft, or an answer to a sub-question.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode
from typing_extensions import override

from medprm_integrations.shared import evidence
from medprm_integrations.shared.explaining import support_of
from medprm_scorer.errors import InputError

Node = TypeVar("Node", bound=BaseNode)

CHAIN = "medprm_chain"
"""The metadata key of a node that holds a chain of thought; flat, so that vector stores keep it."""

READ = "medprm_read"
"""The metadata key that says whether the reward model read a node."""

SUPPORT = "medprm_support"
"""The metadata key for a node's largest effect on a step of the answer, with `explain=True`.

The value is in log-odds (ln(p / (1 - p)) of the step's reward p): above 0 the node supports the step, below 0 it
contradicts it, and within 1 of 0 it has no effect; None if the reward model did not read it.
"""

DRAFT = "Draft answer of a language model, not a source:\n"
"""The first line of a sampled chain among documents, so that it is not cited."""

IsEvidence = Callable[[NodeWithScore], bool]
"""Whether answers are checked against a node; `is_evidence` is the default."""

_SUB_ANSWER = re.compile(r"\s?Sub question: .*\nResponse: |\nQuestion: .*\nAnswer: ")
"""The form in which `SubQuestionQueryEngine` and `MultiStepQueryEngine` pass sub-answers to a synthesizer."""


def chain_node(text: str) -> TextNode:
    """A node that holds a candidate answer, to be judged against the nodes that hold documents.

    Args:
        text: The whole chain of thought.

    Returns:
        A node; its metadata mark it as a chain, and the mark stays out of prompts and embeddings.

    Raises:
        InputError: `text` is not a text.

    Example:
        >>> node = chain_node("Step 1: Give 5 mg. The answer is (A)")
        >>> is_chain(node), node.get_content(metadata_mode=MetadataMode.LLM)
        (True, 'Step 1: Give 5 mg. The answer is (A)')
    """
    if not isinstance(text, str):
        raise InputError(f"a chain must be a text, not {type(text).__name__}")
    return noted(TextNode(text=text), {CHAIN: True})


def is_chain(node: BaseNode | NodeWithScore) -> bool:
    """Whether a node was made with `chain_node`."""
    return bool(node.metadata.get(CHAIN))


class DraftNode(TextNode):
    r"""A chain placed before documents: language models read it, but it has no content that could be cited.

    Engines number content without metadata as sources, and `get_formatted_sources` shows it: for a draft it is blank,
    and a blank text has no chunks. Synthesizers read content with metadata, which is the `text`: the chain, after a
    line that says that it is not a source.

    Example:
        >>> from llama_index.core.node_parser import SentenceSplitter
        >>> node = draft_node("Step 1: Give 5 mg.")
        >>> SentenceSplitter().split_text(node.get_content()), node.get_content(metadata_mode=MetadataMode.LLM)
        ([], 'Draft answer of a language model, not a source:\nStep 1: Give 5 mg.')
    """

    @override
    def get_content(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> str:
        """The chain for callers that also read metadata; otherwise blank."""
        return " " if metadata_mode == MetadataMode.NONE else super().get_content(metadata_mode)

    # as above; the oldest supported versions of LlamaIndex have no blocks
    def get_content_blocks(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> list[Any]:
        """`get_content` as blocks: none, or the chain."""
        return [] if metadata_mode == MetadataMode.NONE else super().get_content_blocks(metadata_mode)


def draft_node(text: str) -> DraftNode:
    """A chain placed before documents."""
    return noted(DraftNode(text=DRAFT + text), {CHAIN: True})


def chain_text(node: BaseNode | NodeWithScore) -> str:
    r"""The chain of a node that holds one, without the line that marks a draft.

    Example:
        >>> chain_text(draft_node("Step 1: Give 5 mg."))
        'Step 1: Give 5 mg.'
    """
    inner = node.node if isinstance(node, NodeWithScore) else node
    text = inner.text if isinstance(inner, DraftNode) else inner.get_content(metadata_mode=MetadataMode.NONE)
    return text.removeprefix(DRAFT)


def is_sub_answer(text: str) -> bool:
    r"""Whether a text is a language model's answer to a sub-question, as LlamaIndex's engines pass it on.

    Example:
        >>> is_sub_answer("Sub question: Which dose?\nResponse: 5 mg")
        True
    """
    return _SUB_ANSWER.match(text) is not None


def is_evidence(node: NodeWithScore) -> bool:
    """Whether answers are checked against a node, by default: unless a language model wrote it.

    That is a chain, a draft, or a sub-answer of an engine, which has neither a score nor metadata.

    Example:
        >>> is_evidence(NodeWithScore(node=TextNode(text="Label: give 5 mg."))), is_evidence(
        ...     NodeWithScore(node=draft_node("Give 5 mg."))
        ... )
        (True, False)
    """
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return not is_chain(node) and not (is_sub_answer(text) and node.score is None and not node.metadata)


def evidence_among(
    nodes: Sequence[NodeWithScore], behind: Sequence[NodeWithScore] | None = None, rule: IsEvidence | None = None
) -> list[NodeWithScore]:
    """The nodes against which answers are checked.

    Args:
        nodes: The nodes.
        behind: The sources from which an engine wrote some of the nodes: they count if some of the nodes do not.
        rule: Decides which nodes count; None for `is_evidence`.
    """
    rule = rule or is_evidence
    found = [node for node in nodes if rule(node)]
    written = any(is_sub_answer(node.get_content(metadata_mode=MetadataMode.NONE)) for node in nodes)
    return [*found, *(node for node in behind or () if written and rule(node))]


def marked_as_read(
    nodes: Sequence[NodeWithScore],
    documents: Sequence[NodeWithScore],
    read: Iterable[int],
    note: Mapping[str, Any] | None = None,
) -> list[NodeWithScore]:
    """Copies of nodes whose metadata say whether the reward model read them, and how they affect the answer.

    Args:
        nodes: The nodes.
        documents: Those of them that were evidence.
        read: Indices of the documents that were read.
        note: The metadata of the answer, if it may hold an explanation.
    """
    were_read = {id(documents[place]) for place in read if place < len(documents)}  # plain texts have no nodes
    support = support_of(note or {}, documents)
    marks = [{READ: id(node) in were_read} | ({SUPPORT: support.get(id(node))} if support else {}) for node in nodes]
    return [NodeWithScore(node=noted(n.node, mark), score=n.score) for n, mark in zip(nodes, marks, strict=True)]


def noted(node: Node, notes: dict[str, Any]) -> Node:
    """A copy of a node with more metadata, which language models and embeddings do not see.

    Args:
        node: The node, which stays unchanged.
        notes: What to add.
    """
    update = {
        "metadata": {**node.metadata, **notes},
        "excluded_llm_metadata_keys": _with(node.excluded_llm_metadata_keys, notes),
        "excluded_embed_metadata_keys": _with(node.excluded_embed_metadata_keys, notes),
    }
    return node.model_copy(update=update)


def with_scores(nodes: Iterable[BaseNode | NodeWithScore]) -> list[NodeWithScore]:
    """The nodes, each as a `NodeWithScore`.

    Raises:
        InputError: They are not a list, or one of them is not a node.
    """
    if isinstance(cast("object", nodes), str | BaseNode | NodeWithScore):
        raise InputError("nodes must be a list of nodes")
    wrapped = []
    for place, node in enumerate(nodes):
        if isinstance(node, BaseNode):
            node = NodeWithScore(node=node)
        if not isinstance(node, NodeWithScore):
            raise InputError(f"node {place} must be a NodeWithScore, not {type(node).__name__}")
        wrapped.append(node)
    return wrapped


def texts(nodes: Sequence[NodeWithScore], mode: MetadataMode) -> list[str]:
    """The contents of nodes, in their order, with the metadata that the mode shows."""
    return [node.node.get_content(metadata_mode=mode) for node in nodes]


def evidence_texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    """The texts against which answers are checked, as language models read them; "" for a node with only metadata.

    Example:
        >>> evidence_texts([NodeWithScore(node=TextNode(text="", metadata={"file": "scan.png"}))])
        ['']
    """
    return [
        text if node.get_content(metadata_mode=MetadataMode.NONE).strip() else ""
        for node, text in zip(nodes, texts(nodes, MetadataMode.LLM), strict=True)
    ]


def document_texts(documents: object) -> list[str]:
    """The texts of a list of nodes and texts, in their order; none for None.

    Raises:
        InputError: It is something else.
    """

    def content(one: object) -> object:
        return one.get_content(metadata_mode=MetadataMode.LLM) if isinstance(one, BaseNode | NodeWithScore) else one

    return evidence.document_texts(documents, content, "node")


def _with(keys: Sequence[str], more: Iterable[str]) -> list[str]:
    return [*keys, *(key for key in more if key not in keys)]
