"""Shared parts of the LangChain examples: a language model on a real server, a retriever, and patients to ask about.

`ask_locally` serves the small policy model of the formulary, so that everything runs offline. For another provider,
put your own chat model in place of `llm` (such as `init_chat_model("openai:gpt-5", temperature=1.0)`); nothing else
changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, SecretStr

from examples.formulary.hospital import Hospital
from examples.formulary.sample import POLICY
from examples.serving import serve

try:
    from langchain_openai import ChatOpenAI

    from examples.formulary.search_tool import FormularySearch
except ModuleNotFoundError as error:
    raise SystemExit(f"the examples need {error.name}: pip install '.[examples]'") from None


def chat_model(url: str, folder: Path = POLICY) -> ChatOpenAI:
    """The model on such a server."""
    return ChatOpenAI(  # its field has another name than the keyword that OpenAI-compatible servers know
        base_url=url,
        api_key=SecretStr("none"),
        model=str(folder),
        temperature=1.0,
        max_tokens=160,  # type: ignore[call-arg]
    )


@contextmanager
def ask_locally(folder: Path = POLICY) -> Iterator[ChatOpenAI]:
    """The policy model on an OpenAI-compatible server on this machine, as a LangChain chat model."""
    with serve(folder) as url:
        yield chat_model(url, folder)


class FormularyRetriever(BaseRetriever):
    """A hospital's formulary as a LangChain retriever."""

    search: FormularySearch
    model_config = ConfigDict(arbitrary_types_allowed=True)

    @classmethod
    def of(cls, hospital: Hospital) -> "FormularyRetriever":
        """The retriever over all documents of one hospital."""
        return cls(search=FormularySearch(hospital))

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
    ) -> list[Document]:
        return [Document(text) for text in self.search.find(query)]
