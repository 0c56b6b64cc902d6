"""How a search is shown: a page with its ranking and its tree, and the tree in a terminal while it grows."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from medprm_scorer.results.facts import is_good
from medprm_scorer.results.page import ranking_values, render_page
from medprm_scorer.search.tree import Branch, SearchTree, costs
from medprm_scorer.text.sanitize import one_line

if TYPE_CHECKING:
    from medprm_scorer.search.tree import SearchRanking

_STYLES = {"finished": "bold dodger_blue1", "dropped": "dim", "cut off": "dark_orange3", "growing": "bold"}


def to_html(ranking: "SearchRanking", documents: Sequence[str] = ()) -> str:
    """The ranking, with the tree below it, as one self-contained page.

    Raises:
        InputError: As in `Ranking.to_html`.
    """
    tree = ranking.tree
    values = {**ranking_values(ranking, documents), "tree": tree, "rows": in_order(tree), "search_costs": costs(tree)}
    return render_page("Med-PRM search", "search/search.html.j2", **values)


def in_order(tree: SearchTree) -> list[tuple[int, Branch]]:
    """The branches with their depths, from 0; each comes before those that continue it."""
    below: dict[int | None, list[Branch]] = defaultdict(list)
    for branch in tree.branches:
        below[branch.parent].append(branch)
    found: list[tuple[int, Branch]] = []
    todo = [(0, branch) for branch in reversed(below[None])]
    while todo:
        level, branch = todo.pop()
        found.append((level, branch))
        todo += [(level + 1, one) for one in reversed(below[branch.index])]
    return found


def to_rich(tree: SearchTree, *, ascii_only: bool = False) -> Tree:
    """The tree, for a rich console.

    Args:
        tree: The tree, finished or not.
        ascii_only: Show marks in ASCII.
    """
    root = Tree(Text(costs(tree)), guide_style="dim")
    nodes: dict[int | None, Tree] = {None: root}
    for _, branch in in_order(tree):
        nodes[branch.index] = nodes[branch.parent].add(_line(branch, ascii_only))
    return root


def _line(branch: Branch, ascii_only: bool) -> Text:
    line = Text(style=_STYLES.get(branch.fate, ""), no_wrap=True, overflow="ellipsis" if not ascii_only else "crop")
    marks = " ".join(f"{'+' if is_good(reward) else '-'} {reward:.3f}" for reward in branch.rewards)
    line.append(f"[{branch.index}] {marks}  " if marks else f"[{branch.index}] ")
    if branch.fate not in ("extended", "growing"):
        line.append(f"{branch.fate}{f' ({branch.why})' if branch.why else ''}: ")
    line.append(" ".join(one_line(step) for step in branch.steps))
    return line
