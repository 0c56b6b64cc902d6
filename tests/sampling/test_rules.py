"""Which chains are kept."""

from medprm_scorer.sampling.rules import SamplingRules, keeps


def test_given_steps_count_as_they_are():
    assert keeps(("a", "b", "c"))
    assert not keeps(("a", "b"))
    assert keeps(("a",), SamplingRules(min_steps=1))
