"""Pages and pictures of the site that lie elsewhere in the repository, each at its own path."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = (
    "SECURITY.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "medprm_scorer/data/demo_model/README.md",
    "examples/formulary/policy_model/README.md",
    "examples/formulary/results/README.md",
    "examples/formulary/results/stopping.md",
    "examples/formulary/results/scaling.png",
    "examples/formulary/results/search.md",
    "examples/formulary/results/search.png",
)


def on_files(files: Files, config: Any) -> Files:
    """Add them to what MkDocs has found in `docs`."""
    for name in ELSEWHERE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files
