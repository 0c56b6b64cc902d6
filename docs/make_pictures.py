"""Draw the pictures of the README and the documentation, light and dark: `make pictures`, which installs Playwright.

The ranking is of the quick start's request, the explanation of a shipped request's best wrong answer, both by the demo
model; the curve is of the experiment's stored figures. All are drawn in a Chromium of the system.
"""

import json
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from docs.readme_figures import EXPERIMENT
from medprm_scorer import MedPRM
from medprm_scorer.evaluation.plots import scaling_svg
from medprm_scorer.evaluation.results import Evaluation
from medprm_scorer.local.loading import DEMO_MODEL
from tests.support.documents import blocks_of

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
WIDTH, SCALE = 860, 1.5


def pages() -> dict[str, str]:
    """The pages to draw, by the names of their pictures."""
    prm = MedPRM.from_pretrained()
    blocks = blocks_of((DOCS / "quick-start.md").read_text(encoding="utf-8"))
    request = json.loads(next(block.text for block in blocks if block.title == "request.json"))
    ranking = prm.rank(request["question"], request["candidates"], request["documents"])
    shipped = json.loads((DEMO_MODEL.parent / "formulary_1.json").read_text(encoding="utf-8"))
    others = prm.rank(shipped["question"], shipped["candidates"], shipped["documents"])
    found = prm.explain(others, documents=shipped["documents"], runner_up=True, sentences=True).runner_up
    assert found is not None, "all candidates give the same answer"
    return {"ranking": ranking.to_html(request["documents"]), "explanation": found.to_html(), "curve": curve()}


def curve() -> str:
    """Right answers by number of samples, over all questions of the experiment."""
    stored = json.loads(EXPERIMENT.read_text(encoding="utf-8"))["documents"]
    drawn = scaling_svg(Evaluation.model_validate(stored).model_copy(update={"sources": []}))
    style = ":root { color-scheme: light dark } body { margin: 0 } svg { width: 100%; height: auto }"
    return f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><style>{style}</style>{drawn}</html>'


def shoot(page: Page, name: str, path: Path) -> None:
    """Take the picture of a page: of an explanation, the steps and the documents; of others, all."""
    if name == "ranking":
        page.locator("details").last.evaluate("one => one.open = true")  # a losing answer, too
    if name == "explanation":
        top, bottom = page.locator("h2").first.bounding_box(), page.locator("details").last.bounding_box()
        assert top is not None, "it is hidden"
        assert bottom is not None, "it is hidden"
        height = bottom["y"] + bottom["height"] - top["y"] + 6  # the note below begins after that
        page.screenshot(path=path, full_page=True, clip={"x": 0, "y": top["y"], "width": WIDTH, "height": height})
    else:
        page.screenshot(path=path, full_page=True)


def main() -> None:
    """Draw them all."""
    PICTURES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, html in pages().items():
            file = Path(folder) / f"{name}.html"
            file.write_text(html, encoding="utf-8")
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": WIDTH, "height": 400}, device_scale_factor=SCALE, color_scheme=scheme
                )
                page = context.new_page()
                page.goto(file.as_uri())
                shoot(page, name, PICTURES / f"{name}-{scheme}.png")
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
