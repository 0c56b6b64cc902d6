"""Data flows one way: no module imports one of a layer above it, and the lower layers need no torch."""

import ast
from pathlib import Path

import pytest

import medprm_scorer

PACKAGE = Path(medprm_scorer.__file__).parent

LAYERS = [  # lowest first; modules on one line may not import each other
    ["errors", "text"],
    ["steps"],
    ["answers", "prompts", "aggregate", "sampling"],
    ["selection", "policy_prompts"],
    ["expectation", "resampling", "dataset", "appending"],
    ["journal", "progress"],
    ["checks", "report"],
    ["report_html"],
    ["encoding"],
    ["engine", "reward_head", "token_tree", "memory", "coalescing", "quantization"],
    ["background_loop", "vllm_client", "vllm_endpoints", "tokenizer_loading"],
    ["tree_attention", "plain_engine", "loading", "vllm_engine", "vllm_command"],
    ["model_pass", "kept_values"],
    ["engine_session"],
    ["transformers_engine"],
    ["results"],
    ["requests", "preparation"],
    ["session", "batches"],
    ["scorer"],
    ["judged", "request_lines", "result_file"],
    ["line_ranking"],
    ["scoring"],
    ["evaluation_results"],
    ["evaluation_table", "evaluation_report"],
    ["plots"],
    ["evaluation_html"],
    ["evaluation"],
    ["demo"],
    ["cli_common"],
    ["cli_options"],
    ["bench_setup", "bench_methods", "peak_memory", "bench_report"],
    ["bench"],
    ["cli_evaluate", "cli_score", "cli_vllm", "cli_bench"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
LIGHT = {"errors", "text", "steps", "answers", "prompts", "aggregate", "selection", "checks", "cli"}
LIGHT |= {"policy_prompts", "sampling", "appending", "journal", "dataset", "cli_common", "cli_evaluate", "cli_score"}
LIGHT |= {"request_lines", "result_file"}
LIGHT |= {"cli_vllm", "cli_bench", "cli_options"}
"""Modules that need nothing but the standard library (and typer, for the command line) when they are imported."""


def imports(path: Path, everywhere: bool) -> set[str]:
    """Modules named in import statements, those under TYPE_CHECKING left out; `everywhere`: inside functions too."""
    found: set[str] = set()
    stack: list[ast.AST] = [ast.parse(path.read_text())]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        stack += ast.iter_child_nodes(node)
    return found


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def test_every_module_has_its_layer():
    assert set(MODULES) == set(RANK)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_upward(module):
    for name in imports(PACKAGE / f"{module}.py", everywhere=True):
        if name.startswith("medprm_scorer."):
            imported = name.split(".")[1]
            if imported in RANK:
                assert RANK[imported] < RANK[module], f"{module} imports {imported}"
        assert not name.startswith("medprm_integrations"), f"{module} imports the integrations"


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_light_modules_import_nothing_heavy(module):
    roots = {name.split(".")[0] for name in imports(PACKAGE / f"{module}.py", everywhere=False)}
    assert not roots & {"torch", "transformers", "tokenizers", "pydantic", "rich", "numpy"}
