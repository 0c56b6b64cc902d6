"""Every sampler of both frameworks, asked one question through a real client of an HTTP server."""

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import QueryBundle
from llama_index.llms.openai_like import OpenAILike

from medprm_integrations.langchain import ChatMedPRM, MedPRMBestOfN, MedPRMMiddleware, ranking_of
from medprm_integrations.llama_index import MedPRMLLM, MedPRMRerank, MedPRMSynthesizer
from medprm_integrations.llama_index import ranking_of as ranking_of_node
from medprm_scorer import Ranking
from tests.support.llama_index_scripts import document
from tests.support.reading import QUESTION

LABEL = "Label: give 5 mg."


def langchain_llm(url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key="none", model="policy", temperature=1, max_retries=0, **options)


def llama_index_llm(url: str, **options: Any) -> OpenAILike:
    made = {"is_chat_model": True, **options}
    return OpenAILike(api_base=url, api_key="none", model="policy", temperature=1, max_retries=0, **made)


def best_of_n(url: str, *, is_async: bool, **settings: Any) -> Any:
    best = MedPRMBestOfN(llm=langchain_llm(url), **settings)
    given = {"question": QUESTION, "documents": [LABEL]}
    return asyncio.run(best.ainvoke(given)) if is_async else best.invoke(given)


def chat(url: str, *, is_async: bool, **settings: Any) -> Any:
    model = ChatMedPRM(llm=langchain_llm(url), **settings)
    return asyncio.run(model.ainvoke(QUESTION)) if is_async else model.invoke(QUESTION)


def middleware(url: str, *, is_async: bool, **settings: Any) -> Any:
    agent = create_agent(langchain_llm(url), [], middleware=[MedPRMMiddleware(**settings)])
    given = {"messages": [("human", QUESTION)]}
    return (asyncio.run(agent.ainvoke(given)) if is_async else agent.invoke(given))["messages"][-1]


def llm(url: str, *, is_async: bool, **settings: Any) -> Any:
    model = MedPRMLLM(llm=llama_index_llm(url), **settings)
    asked = [ChatMessage(QUESTION)]
    return asyncio.run(model.achat(asked)) if is_async else model.chat(asked)


def rerank(url: str, *, is_async: bool, **settings: Any) -> Any:
    ranker = MedPRMRerank(llm=llama_index_llm(url), **settings)
    nodes, query = [document(LABEL)], QueryBundle(QUESTION)
    found = asyncio.run(ranker.apostprocess_nodes(nodes, query)) if is_async else ranker.postprocess_nodes(nodes, query)
    return found[0]


def synthesizer(url: str, *, is_async: bool, **settings: Any) -> Any:
    made = MedPRMSynthesizer(llm=llama_index_llm(url), **settings)
    nodes = [document(LABEL)]
    return asyncio.run(made.asynthesize(QUESTION, nodes)) if is_async else made.synthesize(QUESTION, nodes)


WAYS: list[Callable[..., Any]] = [best_of_n, chat, middleware, llm, rerank, synthesizer]
"""Each takes the server's URL, whether to ask with `await`, and settings; it gives what holds the ranking."""


def ranked(way: Callable[..., Any]) -> Callable[..., Ranking]:
    """The same way, which gives the ranking itself."""
    return wraps(way)(lambda *args, **settings: ranking_in(way(*args, **settings)))


def ranking_in(answer: Any) -> Ranking:
    """The ranking of what a way gave."""
    return ranking_of(answer) if isinstance(answer, BaseMessage) else ranking_of_node(answer)


def usage_in(answer: Any) -> dict[str, int]:
    """The tokens that are counted of it."""
    holders = (getattr(answer, name, None) for name in ("response_metadata", "additional_kwargs", "metadata"))
    return next(holder["medprm"]["usage"] for holder in holders if holder and "medprm" in holder)
