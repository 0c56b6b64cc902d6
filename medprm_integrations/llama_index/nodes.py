"""Nodes: which are chains of thought and which are documents, and copies that may be changed."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode

from medprm_integrations.shared import evidence
from medprm_scorer.errors import InputError

Node = TypeVar("Node", bound=BaseNode)

CHAIN = "medprm_chain"
"""The metadata key of a node that holds a chain of thought; flat, so that vector stores keep it."""


def chain_node(text: str) -> TextNode:
    """A node that holds a candidate answer, to be judged against the nodes that hold documents.

    Args:
        text: The whole chain of thought.

    Returns:
        A node; the mark that it is a chain is in its metadata, and stays out of prompts and embeddings.

    Raises:
        InputError: The text is no text.

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


def noted(node: Node, notes: dict[str, Any]) -> Node:
    """A copy of a node with more metadata, which neither language models nor embeddings get to see.

    Args:
        node: Stays as it is.
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
        InputError: One of them is no node.
    """
    wrapped = []
    for place, node in enumerate(nodes):
        if isinstance(node, BaseNode):
            node = NodeWithScore(node=node)
        if not isinstance(node, NodeWithScore):
            raise InputError(f"node {place} must be a NodeWithScore, not {type(node).__name__}")
        wrapped.append(node)
    return wrapped


def copied(node: NodeWithScore) -> NodeWithScore:
    """The same node and score, in objects that may be changed."""
    return NodeWithScore(node=noted(node.node, {}), score=node.score)


def texts(nodes: Sequence[NodeWithScore], mode: MetadataMode) -> list[str]:
    """The contents of nodes, in their order, with the metadata that the mode shows."""
    return [node.node.get_content(metadata_mode=mode) for node in nodes]


def document_texts(documents: object) -> list[str]:
    """The texts of a list of nodes and texts, in their order; of None, none.

    Raises:
        InputError: It is something else.
    """

    def content(one: object) -> object:
        return one.get_content(metadata_mode=MetadataMode.LLM) if isinstance(one, BaseNode | NodeWithScore) else one

    return evidence.document_texts(documents, content, "node")


def _with(keys: Sequence[str], more: Iterable[str]) -> list[str]:
    return [*keys, *(key for key in more if key not in keys)]
