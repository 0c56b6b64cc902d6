"""How a `Ranking` looks in a browser: `to_html` for a page of its own, `to_html_fragment` for a notebook's cell.

The page loads nothing and runs no script. Text takes its colour from the page or notebook around it, so light and dark
both work; rewards are drawn from orange (0) over grey to blue (1), which common colour blindness keeps apart, and every
reward stands there as a number too.
"""

from html import escape
from typing import TYPE_CHECKING

from medprm_scorer.results.facts import is_good, is_scored, weakest_step
from medprm_scorer.results.terminal import costs, majority_note, method
from medprm_scorer.text.sanitize import clean_text

if TYPE_CHECKING:
    from medprm_scorer.results.models import Ranking, ScoredChain

_ORANGE, _GREY, _BLUE = (200, 82, 0), (150, 150, 150), (18, 100, 180)

_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
@media (prefers-color-scheme: dark) { body { background: #15171a; color: #e8e8e8; } }
"""

# Every rule is scoped by the class, since a notebook puts this into a page that is not ours
STYLE = """
.medprm-report { line-height: 1.5; overflow-wrap: anywhere; }
.medprm-report h1 { font-size: 1.4em; margin: .5em 0; }
.medprm-report h2 { font-size: 1.1em; margin: 1.4em 0 .4em; }
.medprm-report p { margin: .4em 0; }
.medprm-report .pre { white-space: pre-wrap; }
.medprm-report .soft { opacity: .75; font-size: .9em; }
.medprm-report .caution { padding: .3em .6em; border-left: .4em solid rgb(200 82 0); background: rgb(200 82 0 / 13%); }
.medprm-report table { border-collapse: collapse; }
.medprm-report th, .medprm-report td { padding: .25em .9em .25em 0; text-align: left; vertical-align: top;
  background: none; border: 0; border-bottom: 1px solid rgb(128 128 128 / 35%); }
.medprm-report .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.medprm-report .won { font-weight: 600; }
.medprm-report details, .medprm-report .failed { margin: .5em 0; padding: .5em .7em; border-radius: .4em;
  border: 1px solid rgb(128 128 128 / 40%); }
.medprm-report summary { cursor: pointer; }
.medprm-report .strip { margin-left: .5em; }
.medprm-report .strip i { display: inline-block; width: .8em; height: .8em; margin-right: 2px; border-radius: 2px;
  background: rgb(var(--reward)); }
.medprm-report ol { list-style: none; margin: .6em 0 .2em; padding: 0; }
.medprm-report li { display: flex; gap: .7em; align-items: flex-start; margin: .3em 0; padding: .3em .6em;
  border-left: .4em solid rgb(var(--reward)); background: rgb(var(--reward) / 13%); }
.medprm-report li > div { min-width: 0; }
.medprm-report b.reward { flex: none; padding: 0 .45em; border-radius: .3em; background: rgb(var(--reward));
  color: var(--on); font-variant-numeric: tabular-nums; }
"""
"""Style of everything inside an element of the class `medprm-report`."""


def to_html(ranking: "Ranking") -> str:
    """The ranking as one page that stands alone: nothing to load, no script, all text escaped."""
    return page("Med-PRM ranking", to_html_fragment(ranking))


def page(title: str, body: str) -> str:
    """A page around some HTML, in the browser's choice of light or dark.

    Args:
        title: The window's title, HTML.
        body: What the page shows, HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def to_html_fragment(ranking: "Ranking") -> str:
    """The ranking as one `<div>` with its own scoped style, for a notebook."""
    answer = f"<bdi>{safe_text(ranking.answer)}</bdi>" if ranking.answer else "(none given)"
    reward = f"{ranking.best.reward(ranking.aggregate):.3f}"
    parts = [
        f'<div class="medprm-report"><style>{STYLE}</style>',
        f"<h1>Answer: {answer}</h1>",
        f"<p>Winner: candidate [{ranking.best.index}], reward {reward}, by {safe_text(method(ranking))}.</p>",
        *(f'<p class="caution"><b>Caution:</b> {safe_text(one)}</p>' for one in ranking.cautions),
        f"<p>{safe_text(majority_note(ranking))}</p>",
        f'<h2>Question</h2><p class="pre" dir="auto">{safe_text(ranking.question.strip())}</p>',
        _votes(ranking),
        "<h2>Chains, step by step</h2>",
        '<p class="soft">The number beside a step is its reward, P(+): orange is low, blue is high. '
        "Candidates are numbered from 0.</p>",
        *(_chain(chain, ranking) for chain in ranking.chains),
        f'<p class="soft">{safe_text(costs(ranking))}</p>',
        "</div>",
    ]
    return "\n".join(part for part in parts if part)


def _votes(ranking: "Ranking") -> str:
    if not ranking.votes:
        return ""
    rows = [
        f'<tr class="{"won" if vote.answer == ranking.answer else ""}">'
        f'<td dir="auto">{safe_text(vote.answer)}</td><td class="number">{vote.count}</td>'
        f'<td class="number">{vote.weight:.3f}</td><td class="number">{vote.share:.1%}</td></tr>'
        for vote in ranking.votes
    ]
    head = '<th>answer</th><th class="number">chains</th><th class="number">weight</th><th class="number">share</th>'
    return f"<h2>Votes</h2><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _chain(chain: "ScoredChain", ranking: "Ranking") -> str:
    """One chain: a line to unfold, with its steps as coloured cells, and under it the steps themselves."""
    if not is_scored(chain):
        return (
            f'<div class="failed">[{chain.index}] could not be scored: {safe_text(chain.error or "it has no steps")}'
            f'<p class="pre soft" dir="auto">{safe_text(chain.text.strip())}</p></div>'
        )
    won = chain.index == ranking.best.index
    reward = chain.reward(ranking.aggregate)
    answer = f"answer <bdi>{safe_text(chain.answer)}</bdi>" if chain.answer else "no answer"
    cells = "".join(f'<i style="{_colours(value)}" title="{value:.3f}"></i>' for value in chain.step_rewards)
    weakest = weakest_step(chain) if len(chain.steps) > 1 else 0
    steps = "".join(
        f'<li style="{_colours(step.reward)}"><b class="reward">{"+" if is_good(step.reward) else "-"} '
        f'{step.reward:.3f}</b><div dir="auto">{safe_text(step.text)}'
        f"{' <em>(weakest step)</em>' if number == weakest else ''}</div></li>"
        for number, step in enumerate(chain.steps, start=1)
    )
    return (
        f"<details{' open' if won else ''}><summary>[{chain.index}] "
        f"{'<b>winner</b>, ' if won else ''}reward <b>{reward:.3f}</b>, {answer}"
        f'<span class="strip">{cells}</span></summary><ol>{steps}</ol></details>'
    )


def _colours(reward: float) -> str:
    """The colour of a reward, and black or white for text on it, whichever reads better (WCAG 2 contrast)."""
    low, high, part = (_ORANGE, _GREY, reward * 2) if reward < 0.5 else (_GREY, _BLUE, reward * 2 - 1)
    red, green, blue = (round(start + (end - start) * part) for start, end in zip(low, high, strict=True))
    linear = [
        value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # contrast with black is (L + .05) / .05, with white 1.05 / (L + .05): equal at L = .179
    return f"--reward: {red} {green} {blue}; --on: {'#000' if luminance > 0.179 else '#fff'}"


def safe_text(text: str) -> str:
    """Text from outside as HTML: nothing in it is markup, and `clean_text` has been over it."""
    return escape(clean_text(text))
