"""The pages in a real Chromium, wide and on a phone, light and dark; with MEDPRM_SCREENSHOTS=FOLDER they are kept to be
looked at. Needs Playwright (`pip install playwright`) and a Chromium of the system; `make test-browser` runs this."""

import os
import shutil
from pathlib import Path

import pytest

from medprm_scorer.evaluation.page import to_html as evaluation_page
from tests.support.evaluations import hostile_evaluation, traced_evaluation
from tests.support.example_explanations import example_explanation, make_explanation
from tests.support.example_rankings import example_ranking, make_chain, make_ranking
from tests.support.example_searches import example_search

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test-browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the PATH (Debian: apt install chromium)")

DOCUMENTS = ["Label: an amniotic fluid index above 24 cm is polyhydramnios.", "Guideline: look for duodenal atresia."]
SIZES = {"wide": (1280, 900), "phone": (390, 844)}
HOSTILE = (
    "<script>window.sprung = 1</script><img src=x onerror='window.sprung = 1'>"
    "<a href='javascript:window.sprung=1'>x</a></style></details><iframe src='https://example.org'></iframe>"
)


def pages() -> dict[str, str]:
    long = make_chain(1, (0.9, 0.1, 0.5), "B", text="a" * 300 + " ки " + "long words of advice " * 40)
    hostile = make_chain(0, (0.2, 0.8), HOSTILE, text=HOSTILE)
    many = make_chain(3, [0.01 * n for n in range(60)], "C")
    failed = make_chain(2, error=HOSTILE, text=HOSTILE)
    ranking = make_ranking([hostile, long, failed, many], question=HOSTILE + " which?")
    fragment = example_ranking()._repr_html_()
    notebook = f"<!DOCTYPE html><html><body><main style='margin: 1em'>{fragment}</main></body></html>"
    found = {
        "ranking": example_ranking().to_html(DOCUMENTS),
        "hostile": ranking.to_html([HOSTILE, HOSTILE * 9]),
        "notebook": notebook,
        "search": example_search().to_html(DOCUMENTS),
        "hostile_search": example_search(HOSTILE + "a" * 300, depth=40).to_html([HOSTILE, HOSTILE]),
        "explanation": example_explanation().to_html(),
        "hostile_explanation": make_explanation(
            [HOSTILE, HOSTILE * 9], (HOSTILE, "a" * 300 + " ки"), HOSTILE
        ).to_html(),
    }
    return found | {
        "evaluation": evaluation_page(traced_evaluation()),
        "hostile_evaluation": evaluation_page(hostile_evaluation()),
    }


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", pages())
def test_a_page_fits_runs_nothing_loads_nothing_and_can_be_read(browser, name, size, scheme, tmp_path):
    path = tmp_path / f"{name}.html"
    path.write_text(pages()[name], encoding="utf-8")
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(path.as_uri())
    for details in page.locator("details").all():
        details.evaluate("one => one.open = true")
    if folder := os.environ.get("MEDPRM_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}-{size}-{scheme}.png", full_page=True)
    assert asked == [path.as_uri()]
    assert not said
    assert page.evaluate("window.sprung") is None
    assert page.locator("script, img, iframe, link, object, a:not([href^='#'])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways for
    low = page.evaluate(CONTRAST)
    assert low >= 4.5, f"text with a contrast of {low:.2f}"
    context.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_weakest_step_and_its_sentences_are_seen_first_and_steps_lead_to_documents(browser, size, tmp_path):
    path = tmp_path / "explanation.html"
    path.write_text(example_explanation().to_html(), encoding="utf-8")
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(path.as_uri())
    weakest = page.locator(".weakest")
    box = weakest.bounding_box()
    assert box["y"] + box["height"] < height  # without scrolling
    assert "Duodenal atresia keeps the fetus from swallowing." in weakest.inner_text()
    # by the keyboard, from a step that is closed to a document that is closed, and back
    step = page.locator("li").first
    step.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    document = page.locator("#winner-document-1")
    sync_api.expect(page).to_have_url(f"{path.as_uri()}#winner-document-1")
    sync_api.expect(document).to_be_in_viewport()
    document.locator("a").first.focus()
    page.keyboard.press("Enter")
    sync_api.expect(page).to_have_url(f"{path.as_uri()}#winner-step-1")
    sync_api.expect(step).to_be_in_viewport()
    smallest = min(link.bounding_box()["height"] for link in page.locator("a:visible").all())
    assert smallest >= 24  # CSS pixels, the least for a finger: WCAG 2.2, 2.5.8
    page.close()


CONTRAST = """() => {
  // the lowest WCAG 2 contrast of any text with what is behind it
  const parse = colour => { const n = colour.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const dark = matchMedia('(prefers-color-scheme: dark)').matches
    && getComputedStyle(document.documentElement).colorScheme.includes('dark');
  const behind = element => { if (!element) return dark ? [18, 18, 18] : [255, 255, 255];
    const c = parse(getComputedStyle(element).backgroundColor);
    return c[3] === 0 ? behind(element.parentElement) : over(c, behind(element.parentElement)); };
  let lowest = 21;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || element.tagName === 'STYLE') continue;
    const colour = parse(getComputedStyle(element).color);
    for (let one = element; one; one = one.parentElement) colour[3] *= getComputedStyle(one).opacity;
    const back = behind(element), a = light(over(colour, back)), b = light(back);
    lowest = Math.min(lowest, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return lowest; }"""
