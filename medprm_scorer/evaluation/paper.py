"""The paper's table on the released test set: seven benchmarks, their macro average, and the published figures.

Sources: arXiv 2506.11474 (accuracies with the policy Llama-3.1-8B-Instruct, 64 candidates; only the MedQA row and the
averages are known), and counts of majority vote's right answers that an independent run on the unmodified file
`2_test_dataset.json` of `dmis-lab/llama-3.1-medprm-reward-test-set` published. The average leaves PubMedQA out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from medprm_scorer.evaluation.choices import AuthorsSelection
from medprm_scorer.evaluation.results import Paper, PaperRow

_MMLU = ("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of the paper, and its part of the released test set.

    Args:
        name: Its name in the paper.
        sources: Its values of `data_source`.
        questions: Number of its questions.
        majority_right: How many of them majority vote answers correctly.
    """

    name: str
    sources: tuple[str, ...]
    questions: int
    majority_right: int


BENCHMARKS = (
    Benchmark("MedQA-4", ("med_qa_4op",), 1273, 957),
    Benchmark("MedQA-5", ("med_qa",), 1273, 900),
    Benchmark("MedMCQA", ("medmc_qa",), 500, 317),
    Benchmark("MMLU-Med", tuple(f"mmlu_{name}" for name in (*_MMLU, "professional_medicine")), 1089, 889),
    Benchmark("DDXPlus", ("ddxplus",), 500, 376),
    Benchmark("NEJM", ("nejm",), 120, 62),
    Benchmark("OSCE", ("osce",), 214, 160),
)
"""The seven that the paper averages."""

APART = Benchmark("PubMedQA", ("pubmed_qa",), 500, 293)
"""In the released file, but not in the paper's average."""

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "MedQA-4": MappingProxyType(
            {"single": 0.7093, "majority_vote": 0.7486, "best_of_n": 0.7698, "weighted_vote": 0.7824}
        ),
        "average": MappingProxyType(
            {"single": 0.6476, "majority_vote": 0.7003, "best_of_n": 0.7239, "weighted_vote": 0.7267}
        ),
    }
)
"""The known accuracies from the paper, by benchmark and choice; `average` is over the seven."""


@dataclass
class AuthorsTally:
    """Counts of one data source by the authors' own selection."""

    questions: int = 0
    single: float = 0.0
    majority: int = 0
    best: int = 0
    weighted: int = 0

    def add(self, scores: Sequence[bool], chosen: AuthorsSelection) -> None:
        """Count one question."""
        self.questions += 1
        self.single += sum(scores) / len(scores)
        self.majority += chosen.majority_right
        self.best += bool(chosen.best_right)
        self.weighted += bool(chosen.weighted_right)

    def merge(self, other: "AuthorsTally") -> None:
        """Add what another source's tally holds."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def paper_table(tallies: Mapping[str, AuthorsTally], with_rewards: bool) -> Paper:
    """The paper's table from the counts of each data source.

    Args:
        tallies: By `data_source`.
        with_rewards: Whether the choices by rewards were counted.

    Example:
        >>> osce = AuthorsTally(questions=2, single=1.0, majority=1)
        >>> table = paper_table({"osce": osce}, with_rewards=False)
        >>> table.average, table.averaged, table.rows[-2].difference
        ({'single': 0.5, 'majority_vote': 0.5}, 1, -159)
    """
    rows = [_row(benchmark, tallies, with_rewards) for benchmark in (*BENCHMARKS, APART)]
    averaged = [row for row in rows[:-1] if row.questions]
    average: dict[str, float] = {}
    for choice in PUBLISHED["average"]:
        values = [getattr(row, choice) for row in averaged]
        if values and None not in values:
            average[choice] = sum(values) / len(values)
    known = {source for benchmark in (*BENCHMARKS, APART) for source in benchmark.sources}
    return Paper(
        rows=rows,
        average=average,
        averaged=len(averaged),
        published=dict(PUBLISHED["average"]),
        majority_right=sum(row.majority_right for row in rows),
        questions=sum(row.questions for row in rows),
        released_right=sum(row.released_right for row in rows),
        released_questions=sum(row.released_questions for row in rows),
        others=[source for source in tallies if source not in known],
    )


def _row(benchmark: Benchmark, tallies: Mapping[str, AuthorsTally], with_rewards: bool) -> PaperRow:
    pooled = AuthorsTally()
    for source in benchmark.sources:
        if source in tallies:
            pooled.merge(tallies[source])
    questions = pooled.questions or 1
    return PaperRow(
        benchmark=benchmark.name,
        questions=pooled.questions,
        single=pooled.single / questions,
        majority_vote=pooled.majority / questions,
        best_of_n=pooled.best / questions if with_rewards else None,
        weighted_vote=pooled.weighted / questions if with_rewards else None,
        majority_right=pooled.majority,
        released_questions=benchmark.questions,
        released_right=benchmark.majority_right,
        published=dict(PUBLISHED.get(benchmark.name, {})),
    )
