"""Draw the pictures of the documentation, light and dark: `make pictures`, which installs Playwright.

They are of the quick start's request, ranked and explained by the demo model, in a Chromium of the system.
"""

import json
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from medprm_scorer import MedPRM
from tests.support.documents import blocks_of

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
WIDTH, SCALE = 860, 1.5


def pages() -> dict[str, str]:
    """The pages to draw, by the names of their pictures."""
    blocks = blocks_of((DOCS / "quick-start.md").read_text(encoding="utf-8"))
    request = json.loads(next(block.text for block in blocks if block.title == "request.json"))
    prm = MedPRM.from_pretrained()
    ranking = prm.rank(request["question"], request["candidates"], request["documents"])
    return {"ranking": ranking.to_html(request["documents"])}


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
                page.locator("details").last.evaluate("one => one.open = true")  # a losing answer, too
                page.screenshot(path=PICTURES / f"{name}-{scheme}.png", full_page=True)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
