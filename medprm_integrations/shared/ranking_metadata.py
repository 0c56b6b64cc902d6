"""The ranking by which an answer was chosen, in the form in which the answer's metadata carry it.

Metadata go into messages, checkpoints, indexes and traces, where a text would remain even if it is edited out of the
answer. So a setting decides what is kept of a ranking (`Keep`), and the winner's text is read back from the answer.
"""

from collections.abc import Mapping
from typing import Any, Literal

from medprm_scorer.errors import InputError
from medprm_scorer.results.models import Ranking, ScoredChain
from medprm_scorer.sampling.drawing import Drawing
from medprm_scorer.text.steps import SPLIT_RULES, split_steps

KEY = "medprm"
"""The key of the ranking in an answer's metadata."""

DOUBT = "doubt"
"""The key for what was done about an answer that is not trusted; present only then, whatever `keep` is.

`answer` (it was given), `abstain`, `call` (a function's text), `interrupt` (a person is being asked), `person` (the
text is a person's) or `approved` (a person approved it).
"""

EXPLANATION = "explanation"
"""The key for the documents that support the winner, in figures; present only with `explain=True`, for any `keep`."""

_REPLACED = ("abstain", "call", "interrupt", "person")

Keep = Literal["all", "winner", "figures", "none"]
"""Which part of a ranking goes into the metadata of an answer, from the most to the least.

- `all`      everything, with the texts and steps of all chains.
- `winner`   no text of a chain. Figures, cautions, the question, and the answers that got votes, if they are short.
- `figures`  no text of the request at all: rewards, counts, weights of votes, cautions.
- `none`     only the cautions, the tokens used, and what was done in doubt.

The part that `explain=True` adds is always there; with `figures` and `none` it has no document ids.
"""

LONGEST_ANSWER = 80
"""Most characters of an answer that `winner` keeps: a few words, never a whole chain of thought."""

_FLAGS = ("declined", "truncated", "split_by", "error")


class RankingMetadata(dict[str, Any]):
    """A ranking as plain data, since answers are written to JSON and checkpoints. Its `repr` shows no text.

    The keys are those of `Ranking`, such as `cautions`, as far as `keep` allows (`Keep`), and six more: `usage` (tokens
    of all samples together, `input_tokens`, `output_tokens` and `total_tokens`, or None; cancelled samples report
    none), `samples_failed` (their call raised an error), `samples_dropped` (they called a tool, broke the schema or the
    rules of sampling, or arrived after there were enough), `samples_cancelled` (they were still running when there were
    enough), `sampling_seconds` (from the first call to the last) and `documents_left_out` (how many available documents
    the reward model did not read: `documents_given` minus `documents_used`). If the answer is not trusted, `doubt` says
    what was done (`DOUBT`). `best` has only the winner's `index`; the winner is the first of the `chains`. Without
    texts, a chain has its `step_rewards`.

    With `explain=True`, `explanation` says which documents support the winner, from `MedPRM.explain`: the ids of the
    `supporting` documents (those that support one of its steps) and of the `contradicting` ones, together and for each
    of its `steps`; `support`, for each document its largest effect on any step, in log-odds (None: it was not read);
    `noise`, the smallest effect that counts; and the cost, `prompts` and `tokens` of the reward model. A document
    without an id is named by its index, from 0: those of the evidence function come first, those that a search has
    retrieved last.
    """

    def __repr__(self) -> str:
        ranked = f"{len(self['chains'])} candidates, best={self['best']['index']}" if "chains" in self else "no ranking"
        return f"RankingMetadata({ranked})"


def ranking_metadata(
    ranking: Ranking,
    drawing: Drawing[Any] | None = None,
    usage: Mapping[str, Any] | None = None,
    keep: Keep = "winner",
    seconds: float = 0.0,
) -> RankingMetadata:
    """A ranking, and how its candidates were drawn.

    Args:
        ranking: The ranking.
        drawing: How the candidates were drawn; None if they were given.
        usage: Tokens of all samples together.
        keep: Which part of it to keep.
        seconds: How long sampling took.
    """
    if keep == "none":
        return RankingMetadata(cautions=list(ranking.cautions), usage=usage)
    failed = len(drawing.errors) if drawing else 0
    return RankingMetadata(
        {
            **_kept(ranking, keep),
            "best": {"index": ranking.best.index},
            "usage": usage,
            "samples_failed": failed,
            "samples_dropped": drawing.finished - failed - len(drawing.values) if drawing else 0,
            "samples_cancelled": drawing.cancelled if drawing else 0,
            "sampling_seconds": round(seconds, 3),
            "documents_left_out": ranking.documents_given - ranking.documents_used,
        }
    )


def is_ranked(note: Mapping[str, Any]) -> bool:
    """Whether metadata belong to a chosen answer, whatever was kept of the ranking."""
    return "cautions" in note


def read_ranking(
    found: object, what: str, why: str = "it was not chosen among samples", text: str | None = None
) -> Ranking:
    """The ranking that was kept as `RankingMetadata`, possibly read back from JSON; texts that were not kept are "".

    Args:
        found: The value under `KEY`.
        what: The object that contained it, for the error.
        why: Why there may be none, for the error.
        text: The answer's current text, used as the winner's text if none was kept.

    Raises:
        InputError: There is no ranking.
    """
    if not isinstance(found, dict) or "chains" not in found:
        if isinstance(found, dict) and is_ranked(found):
            why = "keep='none' leaves only the cautions; use on_ranking, or keep='winner'"
        raise InputError(f"this {what} holds no ranking: {why}")
    if found.get(DOUBT) in _REPLACED:
        text = None  # a replacement text, not the winner's
    chains = [_chain(kept, "" if place else text or "") for place, kept in enumerate(found["chains"])]
    votes = [{"answer": "", **vote} for vote in found["votes"]]
    return Ranking.model_validate(
        {"answer": None, "question": "", **found, "best": chains[0], "chains": chains, "votes": votes}
    )


def _kept(ranking: Ranking, keep: Keep) -> dict[str, Any]:
    if keep == "all":
        return ranking.model_dump(mode="json", exclude={"best"})
    named = keep == "winner"
    fields = ranking.model_dump(mode="json", exclude={"best", "chains", "tree", *(() if named else ("question", "id"))})
    fields["answer"] = _short(ranking.answer) if named else None
    for vote in fields["votes"]:
        answer = vote.pop("answer")
        if named:
            vote["answer"] = _short(answer) or f"(an answer of {len(answer):,} characters)"
    return {**fields, "chains": [_figures(chain, named) for chain in ranking.chains]}


def _figures(chain: ScoredChain, named: bool) -> dict[str, Any]:
    """Everything about a chain except its text."""
    found = {"index": chain.index, "step_rewards": chain.step_rewards}
    found |= {name: value for name in _FLAGS if (value := getattr(chain, name))}
    if named and (answer := _short(chain.answer)):
        found["answer"] = answer
    return found


def _short(answer: str | None) -> str | None:
    return answer if answer is not None and len(answer) <= LONGEST_ANSWER else None


def _chain(kept: Mapping[str, Any], text: str) -> ScoredChain:
    """A chain from the metadata; the texts of its steps come from the text, if it still has as many steps."""
    if "step_rewards" not in kept:
        return ScoredChain.model_validate(kept)
    rewards, rule = kept["step_rewards"], kept.get("split_by")
    steps = split_steps(text, rule if rule in SPLIT_RULES else "auto").steps
    texts = steps if len(steps) == len(rewards) else [""] * len(rewards)
    return ScoredChain.model_validate(
        {**kept, "text": text, "steps": [{"text": t, "reward": r} for t, r in zip(texts, rewards, strict=True)]}
    )
