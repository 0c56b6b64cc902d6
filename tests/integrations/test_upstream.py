"""The private names of LangChain and LlamaIndex that this package builds on; a failure says which version changed one.

Each framework's are used in one module only, `unstreamed_model` and `unstreamed_llm`; what else begins with an
underscore in these packages are the methods that the frameworks ask their subclasses to write.
"""

import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import llama_index.core.llms
import pytest
from langchain_core.language_models import BaseChatModel
from llama_index.core.llms.function_calling import FunctionCallingLLM

import medprm_integrations

LANGCHAIN = {"_should_stream": {"async_api", "run_manager"}, "_identifying_params": set(), "_get_ls_params": {"stop"}}
LLAMA_INDEX = {
    "_get_messages": {"prompt"},
    "_get_prompt": {"prompt"},
    "_prepare_chat_with_tools_compat": {"tools", "user_msg", "chat_history"},
    "_validate_chat_with_tools_response": {"response", "tools"},
}


def check(cls, names, package):
    for name, parameters in names.items():
        found = inspect.getattr_static(cls, name, None)
        where = f"{package} {version(package)} changed {cls.__name__}.{name}"
        assert found is not None, where
        if inspect.isfunction(found):
            assert parameters <= set(inspect.signature(found).parameters), where


def test_langchains_private_names_are_as_they_were():
    check(BaseChatModel, LANGCHAIN, "langchain-core")


def test_llama_indexs_private_names_are_as_they_were():
    check(FunctionCallingLLM, LLAMA_INDEX, "llama-index-core")
    assert issubclass(FunctionCallingLLM, llama_index.core.llms.LLM)


@pytest.mark.parametrize(
    ("folder", "names", "only"),
    [
        ("langchain", {"_should_stream"}, "unstreamed_model.py"),
        ("llama_index", set(LLAMA_INDEX), "unstreamed_llm.py"),
    ],
)
def test_they_are_used_in_one_module(folder, names, only):
    for path in (Path(medprm_integrations.__file__).parent / folder).glob("*.py"):
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert path.name == only or not used & names, path.name
        private = [
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and "._" in node.module
        ]
        assert private == [], path.name
