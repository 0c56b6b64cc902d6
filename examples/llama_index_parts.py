"""Shared parts of the LlamaIndex examples: a language model on a real server, and a real retriever.

`ask_locally` serves the small policy model of the formulary, so that everything runs offline. For another provider,
put your own LLM in place of `llm` (such as `OpenAI(model="gpt-5", temperature=1.0)`); nothing else changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_index.core import Settings
from llama_index.core.llms import LLM
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from examples.formulary.hospital import Hospital
from examples.formulary.sample import POLICY
from examples.serving import serve

try:
    from llama_index.llms.openai_like import OpenAILike

    from examples.formulary.search_tool import FormularySearch as FormularySearch
except ModuleNotFoundError as error:
    raise SystemExit(f"the examples need {error.name}: pip install '.[examples]'") from None


def language_model(url: str, folder: Path = POLICY) -> LLM:
    """The model on an OpenAI-compatible server; also set as LlamaIndex's default, which some of its parts use."""
    Settings.llm = OpenAILike(
        api_base=url,
        api_key="none",
        model=str(folder),
        temperature=1.0,
        max_tokens=160,
        is_chat_model=True,
        is_function_calling_model=True,
    )
    return Settings.llm


@contextmanager
def ask_locally(folder: Path = POLICY) -> Iterator[LLM]:
    """The policy model on such a server on this machine."""
    with serve(folder) as url:
        yield language_model(url, folder)


class FormularyRetriever(BaseRetriever):
    """A hospital's formulary as a LlamaIndex retriever.

    Args:
        hospital: Whose documents.
    """

    def __init__(self, hospital: Hospital, **kwargs: Any) -> None:
        self._search = FormularySearch(hospital)
        super().__init__(**kwargs)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=text)) for text in self._search.find(query_bundle.query_str)]
