"""Which option the prose of a chain affirms, if no statement names one.

Each sentence gives each option that it mentions a strength (`claims`). The last sentence of strength `CHOICE` or `SURE`
decides, unless it names two options or a later sentence rejects the chosen one. Without such a sentence, an option
counts if it is the only one that fits; or if it is the only one mentioned and not rejected, while the others are all
rejected or all left out; or if all others are rejected and it is not mentioned. A chain that ends by saying that no
option fits affirms none, and so does one that names a dose that is no option (`doses`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medprm_scorer.text.answers.asked import Asked
from medprm_scorer.text.answers.claims import (
    CHOICE,
    FITS,
    HALF,
    IS_CHOICE,
    IS_CONCLUSION,
    IS_FITTING,
    NEGATION,
    REJECTED,
    SURE,
    said,
)
from medprm_scorer.text.answers.doses import Doses
from medprm_scorer.text.answers.mentions import Mentions, mark_letters, tokens
from medprm_scorer.text.answers.options import OptionSet
from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.words import whole

_OTHERS = re.compile(
    whole(
        r"other (?:\w+ )?(?:options|choices|answers|conditions|diagnoses|causes|drugs|medications|treatments)|why not"
    )
)
_NONE = re.compile(
    whole(
        r"none of (?:the|these) (?!other)(?:\w+ )?(?:options|choices|answers|above)"
        r"|(?:answer|option|choice) (?:is |was )?not (?:listed|provided|given|included|among|one of|in)"
    )
    + r"(?!.* (?:but|however)\b)"
)
_ANSWERS = re.compile(whole(r"(?:answer|choice|option)(?: here)? (?:is|would be|must be|should be)(?! (?:\w+ )?not\b)"))
_NAMES = re.compile(r" (?:is|are|would be|should be)(?: an?| the)?(?: [^\W\d_]+){1,3} ?[.!]?$")
_HENCE = re.compile(r"(?:(?:therefore|thus|hence|so|step [0-9]{1,3} :)[ ,:]*)*")
_THIS = re.compile(r"(?:this|these|that|it|they|making it|makes it)\b")
_THIS_IS = re.compile(whole(r"(?:this|these|it) (?:is|are|would|makes|finding|condition|diagnosis)"))
_CONCLUDES = re.compile(
    r"(?:therefore|thus|hence|so|in (?:conclusion|summary)|overall|ultimately|given|based on|considering)\b"
)
_REASON = re.compile(r" (?:because|since|as|given|due to|why|when|if|unless|while|although|but)\b")


@dataclass(frozen=True)
class _Claim:
    label: str
    place: int  # of the sentence
    strength: int


def affirmed(text: str, options: OptionSet, mentions: Mentions, doses: Doses, asked: Asked) -> tuple[str | None, bool]:
    """The option that the prose affirms, by the rules in this module's docstring.

    Args:
        text: The chain without markup.
        options: The options of the question.
        mentions: Finds mentions of their texts.
        doses: Finds doses that are no option.
        asked: What the question asks.

    Returns:
        The label or None; and whether a sentence says that it is the choice.
    """
    spans = list(sentences(text))
    none_fits = max((n for n, span in enumerate(spans) if _NONE.search(text[slice(*span)].casefold())), default=-1)
    if spans and none_fits == len(spans) - 1:
        return None, False
    claims = list(_claims(text, spans, options, mentions.with_abbreviations(text), asked))
    for least in (SURE, CHOICE):
        last = max((claim.place for claim in claims if claim.strength >= least), default=-1)
        chosen = {claim.label for claim in claims if claim.place == last and claim.strength >= least}
        if chosen:
            label = chosen.pop()
            finally_said = [claim.strength for claim in claims if claim.label == label][-1]
            clear = not chosen and finally_said != REJECTED and none_fits <= last
            other = any(doses.begins_with_another(text[slice(*span)]) for span in spans[last:])
            return (label, True) if clear and not other else (None, False)
    if asked.inverted or _names_another(text, spans, claims, asked) or doses.names_another(text):
        return None, False
    return _left(claims, options), False


def _names_another(text: str, spans: Sequence[tuple[int, int]], claims: Sequence[_Claim], asked: Asked) -> bool:
    """Whether the chain ends with a choice that is not an option, or that is expressed in other words."""
    if not spans or any(claim.place == len(spans) - 1 for claim in claims):
        return False
    parts = tokens(text[slice(*spans[-1])])
    flat = " ".join(parts)
    if _ANSWERS.search(flat):
        return True
    concludes = IS_CHOICE.search(flat) is not None and IS_CONCLUSION.search(flat) is not None
    return concludes and (asked.restated(parts) >= HALF or _NAMES.search(flat) is not None)


def _left(claims: Sequence[_Claim], options: OptionSet) -> str | None:
    """The option that is left if no sentence states the choice."""
    strength = {label: max(c.strength for c in claims if c.label == label) for label in {c.label for c in claims}}
    rejected = {claim.label for claim in claims if claim.strength == REJECTED}
    kept = [label for label in strength if label not in rejected]
    fitting = [label for label in kept if strength[label] >= FITS]
    if len(fitting) == 1:
        return fitting[0]
    if len(kept) == 1 and strength[kept[0]] > 0 and len(rejected) in (0, len(options.texts) - 1):
        return kept[0]
    others_rejected = not kept and len(rejected) == len(options.texts) - 1 >= 2
    rest = [label for label in options.texts if label not in rejected]
    return rest[0] if others_rejected else None


def _claims(
    text: str, spans: Sequence[tuple[int, int]], options: OptionSet, mentions: Mentions, asked: Asked
) -> Iterator[_Claim]:
    others = False  # whether the chain has come to `the other options`
    known, favoured = set[str](), set[str]()  # options mentioned, and said to fit
    before: list[str] = []  # what the previous sentence mentions and does not reject
    for place, (start, end) in enumerate(spans):
        parts = tokens(mark_letters(text[start:end], options))
        if not parts:
            continue
        flat = " ".join(parts)
        found = said(parts, options, mentions, asked)
        others = others or _OTHERS.search(flat) is not None
        for label, strength in found.items():
            first = next(iter(found))
            if label in known and strength == REJECTED and label != first and found[first] <= 0:
                strength = 0  # the sentence rejects another option
            is_other = others and strength < CHOICE and not (label in favoured and strength >= 0)
            yield _Claim(label, place, REJECTED if is_other else strength)
        of_this = _said_of_this(flat) if len(before) == 1 and not found else None
        if of_this is not None:
            yield _Claim(before[0], place, of_this)
        before = [label for label, strength in found.items() if strength >= 0]
        known.update(label for label, strength in found.items() if strength > 0)
        favoured.update(label for label, strength in found.items() if strength >= FITS)


def _said_of_this(flat: str) -> int | None:
    """What a sentence says about the previous sentence's option: `therefore, this is the most likely finding`."""
    hence = _HENCE.match(flat)
    begin = hence.end() if hence else 0
    about = _THIS.match(flat, begin) or (_CONCLUDES.match(flat) and _THIS_IS.search(flat))
    choice = IS_CHOICE.search(flat) is not None
    if not about or not (choice or IS_FITTING.search(flat)):
        return None
    reason = _REASON.search(flat, begin)
    return REJECTED if NEGATION.search(flat[: reason.start() if reason else None]) else CHOICE if choice else None
