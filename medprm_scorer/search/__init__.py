"""Search over steps: the reward model chooses while the answer is being written.

>>> from medprm_scorer.search import beam_search, dvts, early_rejection
"""

from typing import TYPE_CHECKING

from medprm_scorer.lazy_imports import lazy

if TYPE_CHECKING:
    from medprm_scorer.search.beams import Beam, Dvts, abeam_search, advts, beam_search, dvts
    from medprm_scorer.search.limits import Limits
    from medprm_scorer.search.local_policy import LocalPolicy
    from medprm_scorer.search.options import SearchOptions
    from medprm_scorer.search.policy import AsyncPolicy, Continuation, GrowingChain, Policy
    from medprm_scorer.search.rejection import EarlyRejection, aearly_rejection, early_rejection
    from medprm_scorer.search.server_policy import ServerPolicy
    from medprm_scorer.search.tree import Branch, SearchRanking, SearchTree

__all__ = [
    "AsyncPolicy",
    "Beam",
    "Branch",
    "Continuation",
    "Dvts",
    "EarlyRejection",
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
        "medprm_scorer.search.beams": "Beam Dvts abeam_search advts beam_search dvts",
        "medprm_scorer.search.options": "SearchOptions",
        "medprm_scorer.search.limits": "Limits",
        "medprm_scorer.search.local_policy": "LocalPolicy",
        "medprm_scorer.search.policy": "AsyncPolicy Continuation GrowingChain Policy",
        "medprm_scorer.search.rejection": "EarlyRejection aearly_rejection early_rejection",
        "medprm_scorer.search.server_policy": "ServerPolicy",
        "medprm_scorer.search.tree": "Branch SearchRanking SearchTree",
    },
)
