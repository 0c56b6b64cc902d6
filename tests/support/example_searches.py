"""A search made by hand, so that its page can be tested without a model."""

from medprm_scorer.search.tree import Branch, SearchRanking, SearchTree
from tests.support.example_rankings import make_chain, make_ranking


def example_search(text: str = "Look for the cause of the polyhydramnios.", depth: int = 3) -> SearchRanking:
    """Two chains: one goes on to its end, of the other each step was tried twice, and one of the two dropped.

    Args:
        text: What each step says.
        depth: How many steps the chains have.
    """
    branches: list[Branch] = []
    for chain in range(2):
        parent = None
        for step in range(depth):
            fate = "finished" if step == depth - 1 else "extended"
            one = Branch(
                index=len(branches),
                parent=parent,
                round=step + 1,
                steps=[f"Step {step + 1}: {text}"],
                rewards=[0.95 - 0.9 * step / depth],
                tokens=9,
                fate=fate,
                why="" if fate == "extended" else "the policy ended it",
                candidate=chain if fate == "finished" else None,
            )
            branches.append(one)
            if chain:
                dropped = {"index": len(branches), "fate": "dropped", "why": "others were preferred", "candidate": None}
                branches.append(one.model_copy(update=dropped))
            parent = one.index
    ranking = make_ranking([make_chain(place, [0.9] * depth, "AC"[place], text=text) for place in range(2)])
    tree = SearchTree.model_validate(
        {"method": "beam search, width 2", "branches": branches, "generated_tokens": 99, "policy_calls": depth}
    )
    fields = {name: getattr(ranking, name) for name in type(ranking).model_fields}
    return SearchRanking(**fields, tree=tree)
