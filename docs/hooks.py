"""Pages and pictures of the site that lie elsewhere in the repository, each at its own path.

The site's root is `docs`, so a link from a page to one of them has one `../` less there than in the repository.
"""

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


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001
    """Shorten a page's links to them."""
    name = page.file.src_uri
    if name in ELSEWHERE:
        return markdown
    here = "../" * name.count("/")
    for other in ELSEWHERE:
        markdown = markdown.replace(f"](../{here}{other}", f"]({here}{other}")
    return markdown
