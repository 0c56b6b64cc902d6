"""Search over steps: the reward model chooses while the answer is being written.

>>> from medprm_scorer.search import beam_search, dvts, early_rejection
"""

from typing import TYPE_CHECKING

from medprm_scorer.lazy_imports import lazy

if TYPE_CHECKING:
    from medprm_scorer.search.beams import abeam_search, advts, beam_search, dvts
    from medprm_scorer.search.drive import SearchOptions
    from medprm_scorer.search.growth import Limits
    from medprm_scorer.search.local_policy import LocalPolicy
    from medprm_scorer.search.policy import AsyncPolicy, Continuation, GrowingChain, Policy
    from medprm_scorer.search.rejection import aearly_rejection, early_rejection
    from medprm_scorer.search.server_policy import ServerPolicy
    from medprm_scorer.search.tree import Branch, SearchRanking, SearchTree

__all__ = [
    "AsyncPolicy",
    "Branch",
    "Continuation",
    "GrowingChain",
    "Limits",
    "LocalPolicy",
    "Policy",
    "SearchOptions",
    "SearchRanking",
    "SearchTree",
    "ServerPolicy",
    "abeam_search",
    "advts",
    "aearly_rejection",
    "beam_search",
    "dvts",
    "early_rejection",
]
__getattr__, __dir__ = lazy(
    __name__,
    {
        "medprm_scorer.search.beams": "abeam_search advts beam_search dvts",
        "medprm_scorer.search.drive": "SearchOptions",
        "medprm_scorer.search.growth": "Limits",
        "medprm_scorer.search.local_policy": "LocalPolicy",
        "medprm_scorer.search.policy": "AsyncPolicy Continuation GrowingChain Policy",
        "medprm_scorer.search.rejection": "aearly_rejection early_rejection",
        "medprm_scorer.search.server_policy": "ServerPolicy",
        "medprm_scorer.search.tree": "Branch SearchRanking SearchTree",
    },
)
