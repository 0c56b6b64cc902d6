"""The plain twin of `simulate`: sample by sample, by `should_stop` and `select` themselves; short, and slow."""

from collections.abc import Sequence

from medprm_scorer.evaluation.choices import Candidates, answer_keys, winners
from medprm_scorer.sampling.stopping import Rule, should_stop


def simulate_plain(
    question: Candidates, orders: Sequence[Sequence[int]], rules: Sequence[Rule]
) -> tuple[list[int], list[int], list[int]]:
    """Sums over the orders of one question: votes that are right by n; by rule votes that are right, and samples."""
    keys, right_keys = answer_keys(question.answers, question.right)

    def vote(drawn: Sequence[int]) -> bool:
        some = sorted(drawn)
        judged = tuple(bool(question.right[i]) or keys[i] in right_keys for i in some)
        answers, rewards = tuple(question.answers[i] for i in some), tuple(question.rewards[i] for i in some)
        return winners(Candidates(answers, judged, rewards)).weighted_right

    def stop(order: Sequence[int], rule: Rule) -> int:
        for count in range(1, len(order)):
            if should_stop([(keys[i], question.rewards[i]) for i in order[:count]], rule):
                return count
        return len(order)

    fixed = [sum(vote(order[:count]) for order in orders) for count in range(1, len(orders[0]) + 1)]
    drawn = [[stop(order, rule) for order in orders] for rule in rules]
    right = [sum(vote(order[:count]) for order, count in zip(orders, counts, strict=True)) for counts in drawn]
    return fixed, right, [sum(counts) for counts in drawn]
