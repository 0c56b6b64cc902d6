"""Which option the prose of a chain affirms, where no statement names one.

Each sentence says something of each option that it mentions, by text or letter:

| strength | what its clause, and those that judge it, say | example |
|---|---|---|
| `REJECTED` | a negation, or that it belongs elsewhere | `migraine comes with nausea, which is not mentioned` |
| 0 | nothing for or against: conceded, supposed, contrasted | `while migraine is common, …` |
| 1 | the option, without a negation | `heparin acts at once` |
| 2 | that it fits, or a conclusion | `the findings suggest migraine` |
| 3 | that it is the choice | `the best test is a CT` |
| 4 | a conclusion that it is the choice | `therefore, the best test is a CT` |

The last sentence of strength 3 or 4 decides, unless it names two options or a later sentence rejects its own. Without
one, an option counts if it alone fits; or if it alone is mentioned and not rejected, while the others are all rejected
or all left out; or if all others are rejected and it is not mentioned.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medprm_scorer.text.answers.mentions import LETTER_TOKEN, Mentions, mark_letters, stem, tokens
from medprm_scorer.text.answers.options import OptionSet
from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.words import either, whole

REJECTED = -1
_FITS_FROM, _CHOICE_FROM, _SURE_FROM = 2, 3, 4

# all patterns read the `tokens` of a sentence, with one space between them and `§` for each word of an option
_NEGATION = re.compile(
    whole(
        either(
            r"not|no|none|never|neither|nor|without|unlike|unlikely|cannot|\w{1,12}n['’]t",
            r"rather than|instead of|rarely",
            r"(?<!to )(?<!to be )exclud\w*|(?<!to )rul(?:e|es|ed|ing) (?:it |them |this )?out|contraindicat\w*",
            r"incorrect|wrong|inappropriate|unrelated|except|other than|opposed to|lack\w*|absent|absence|hardly",
            r"inconsistent|unnecessary|avoided|eliminat\w*|ineffective|insufficient|less|least|reserved for|only if",
            r"too|harmful",
            r"would (?:also )?(?:be (?:seen|expected|used|more|considered)|have been|present|cause|show|typically"
            r"|likely|usually|result|lead|suggest|require)",
            r"more (?:commonly|typically|often|likely|common|frequently|consistent|characteristic|typical|specific"
            r"|closely|indicative|suggestive|relevant|appropriate|associated) (?:\w+ )?"
            r"(?:in|of|associated with|with|used for|found|for|to)",
            r"other (?:options|choices|answers|conditions)",
            r"nicht|kein\w*|statt|ausgeschlossen|pas|aucun\w*|exclu\w*|ningun\w*|descart\w*|ليس\w*|لا|غير",
        )
    )
    + r"|不|非|排 除|没|な い|ま せ ん|除 外|否 定"
)
_CONCLUSION = re.compile(
    whole(
        either(
            r"therefore|thus|hence|in conclusion|in summary|overall|ultimately|consequently|accordingly",
            r"for this reason|based on|given|considering|this (?:suggests|indicates|makes|points)",
            r"(?:findings|symptoms|features|results) (?:suggest|indicate|point)",
            r"daher|deshalb|somit|folglich|donc|ainsi|por lo tanto|por tanto|لذلك",
        )
    )
    + r"|(?:^|, )so "
)
_CHOICE = re.compile(
    whole(
        either(
            r"most (?:likely|probable|probably|appropriate|suitable|accurate|plausible|fitting|effective|logical"
            r"|important|consistent)",
            r"best|of choice|first - line|first line|gold standard|correct|answer|preferred|recommended",
            r"(?:next|first|initial) (?:\w+ ){0,2}(?:step|test|treatment|management|intervention|action)",
            r"should (?:be|have|undergo|receive)",
            r"am (?:ehesten|besten|wahrscheinlichsten)|beste\w*|richtig\w*|(?:le|la) plus (?:probable|appropriée?)",
            r"meilleure?|más probable|mejor|adecuad[oa]",
        )
    )
)
_FITS = re.compile(
    whole(
        either(
            r"consistent with|characteristic of|indicative of|suggestive of|suggests?|indicates?|fits?|match(?:es)?",
            r"explains?|likely|point(?:s|ing)? (?:\w+ ){0,3}(?:to|towards?)|supports?|confirms?|typical of|indicated",
            r"diagnosis of|specific for|hallmark|raises suspicion|needed|required|warranted",
            r"passt zu|spricht für|compatible avec|compatible con",
        )
    )
)
_SUPPOSED = re.compile(
    whole(
        either(
            r"tempt\w*|hypothetical\w*|one (?:might|could|may)|(?:might|may) (?:think|seem|argue)|would have been",
            r"had (?:he|she|it|they)|were (?:he|she|it|they|the patient)|wenn|falls|si (?:il|elle|la|el)",
        )
    )
)
_OTHERS = re.compile(
    whole(
        r"other (?:\w+ )?(?:options|choices|answers|conditions|diagnoses|causes|drugs|medications|treatments)|why not"
    )
)
_NONE = re.compile(whole(r"none of the (?:\w+ )?(?:options|choices|answers|above)"))
_BOUNDARY = re.compile(
    r"[,;()–—]|(?<= )(?:but|however|while|whereas|although|though|because|since|which|as|making|where|so|due to|given"
    r"|if|when|unless|aber|sondern|weil|mais|car|pero|sino|porque|(?:not|rather than|instead of)(?= §))(?= )"
)
_IF = frozenset(("if", "when", "unless"))
_REASONS = frozenset(("as", "because", "since", "given", "due to", "making", "weil", "car", "porque", "(", ")"))
_TURNS = frozenset(("but", "however", "although", "though", "aber", "sondern", "mais", "pero", "sino"))
_CONCESSIONS = frozenset(("while", "whereas", "although", "though"))
_INSTEAD = frozenset(("not", "rather than", "instead of"))
_FOLLOWS = frozenset(("but", "however", "so", "which", "aber", "sondern", "mais", "pero", "sino"))
_CONCEDES = re.compile(
    r"(?:while|although|though|whereas|unlike|even though|if|other than|in contrast to|rather than|instead of"
    r"|none of)\b"
)
_NOT_AT_ONCE = re.compile(r" (?:\w+ )?(?:not|\w+n['’]t|less|un\w+|rarely|never|in\w+)\b")
_ONLY_NAMES = re.compile(r"(?:§|and|or|both|the|a|an|\s)*")
_HENCE = re.compile(r"(?:(?:therefore|thus|hence|so|step [0-9]{1,3} :)[ ,:]*)*")
_THIS = re.compile(r"(?:this|these|that|it|they|making it|makes it)\b")
_THIS_IS = re.compile(whole(r"(?:this|these|it) (?:is|are|would|makes|finding|condition|diagnosis)"))


@dataclass(frozen=True)
class _Claim:
    label: str
    place: int  # of the sentence
    strength: int


@dataclass(frozen=True)
class _Clause:
    start: int  # offset in the sentence
    lead: str  # the word or mark before it
    text: str
    negated: bool
    labels: frozenset[str]


def affirmed(text: str, options: OptionSet, mentions: Mentions) -> tuple[str | None, bool]:
    """The option that the prose affirms, by the rules at the head of this module.

    Args:
        text: The chain without markup.
        options: The options of the question.
        mentions: What finds their texts.

    Returns:
        The label or None; and whether a sentence says that it is the choice.
    """
    claims = list(_claims(text, options, mentions))
    for least in (_SURE_FROM, _CHOICE_FROM):
        last = max((claim.place for claim in claims if claim.strength >= least), default=-1)
        chosen = {claim.label for claim in claims if claim.place == last and claim.strength >= least}
        if chosen:
            taken_back = {claim.label for claim in claims if claim.place > last and claim.strength == REJECTED}
            return (chosen.pop(), True) if len(chosen) == 1 and not chosen & taken_back else (None, False)
    return _left(claims, options, _NONE.search(text.casefold()) is not None), False


def _left(claims: Sequence[_Claim], options: OptionSet, none_fits: bool) -> str | None:
    """The option that is left where no sentence says which is the choice."""
    strength = {label: max(c.strength for c in claims if c.label == label) for label in {c.label for c in claims}}
    rejected = {claim.label for claim in claims if claim.strength == REJECTED}
    kept = [label for label in strength if label not in rejected]
    fitting = [label for label in kept if strength[label] >= _FITS_FROM]
    if len(fitting) == 1:
        return fitting[0]
    if len(kept) == 1 and strength[kept[0]] > 0 and len(rejected) in (0, len(options.texts) - 1):
        return kept[0]
    others_rejected = not kept and len(rejected) == len(options.texts) - 1 >= 2
    rest = [label for label in options.texts if label not in rejected]
    return rest[0] if others_rejected and not none_fits else None


def _claims(text: str, options: OptionSet, mentions: Mentions) -> Iterator[_Claim]:
    others = False  # whether the chain has come to `the other options`
    before: list[str] = []  # what the sentence before mentions and does not reject
    for place, (start, end) in enumerate(sentences(text)):
        parts = tokens(mark_letters(text[start:end], options))
        flat = " ".join(parts)
        said = _said(parts, options, mentions)
        others = others or _OTHERS.search(flat) is not None
        for label, strength in said.items():
            yield _Claim(label, place, REJECTED if others and strength < _CHOICE_FROM else strength)
        of_this = _said_of_this(flat) if len(before) == 1 and not said else None
        if of_this is not None:
            yield _Claim(before[0], place, of_this)
        before = [label for label, strength in said.items() if strength >= 0]


def _said_of_this(flat: str) -> int | None:
    """What a sentence says of the option of the sentence before: `therefore, this is the most likely finding`."""
    hence = _HENCE.match(flat)
    about = _THIS.match(flat, hence.end() if hence else 0) or (_CONCLUSION.match(flat) and _THIS_IS.search(flat))
    choice = _CHOICE.search(flat) is not None
    if not about or not (choice or _FITS.search(flat)):
        return None
    return REJECTED if _NEGATION.search(flat) else _CHOICE_FROM if choice else None


def _said(parts: Sequence[str], options: OptionSet, mentions: Mentions) -> dict[str, int]:
    """The strength of each option that a sentence mentions."""
    found = mentions.find(parts)
    named = [(mention.start, mention.label) for mention in found]
    own = {
        place
        for mention in found
        for place in range(mention.start, mention.end)
        if stem(parts[place]) in mentions.words[mention.label]
    }
    for place, part in enumerate(parts):
        label = options.label(part[1:]) if part[0] == LETTER_TOKEN else None
        if label is not None:
            named.append((place, label))
            own.add(place)
    if not named:
        return {}
    offsets = [0]
    plain = [LETTER_TOKEN if place in own else part for place, part in enumerate(parts)]
    for part in plain:
        offsets.append(offsets[-1] + len(part) + 1)
    sentence = " ".join(plain)
    clauses = _clauses(sentence, [(offsets[place], label) for place, label in named])
    starts = [clause.start for clause in clauses]
    sure = _CONCLUSION.search(sentence) is not None
    conceded = _CONCEDES.match(sentence) is not None
    supposed = parts[-1] == "?" or _SUPPOSED.search(sentence.rsplit(" but ", 1)[-1]) is not None
    result: dict[str, int] = {}
    for place, label in sorted(named):
        index = bisect_right(starts, offsets[place]) - 1
        strength = 0 if supposed else _strength(clauses, index, label, sure, conceded)
        low, high = sorted((result.get(label, strength), strength))
        result[label] = low if low == REJECTED and high < _CHOICE_FROM else high
    return result


def _clauses(sentence: str, named: Sequence[tuple[int, str]]) -> list[_Clause]:
    """The parts of a sentence between marks and conjunctions; a part that is nothing but names is one with the next."""
    clauses: list[_Clause] = []
    start, lead = 0, ""
    for boundary in [*_BOUNDARY.finditer(sentence), None]:
        end = boundary.start() if boundary else len(sentence)
        text = sentence[start:end]
        if boundary and boundary.group() == "," and text.strip() and _ONLY_NAMES.fullmatch(text):
            continue
        labels = frozenset(label for offset, label in named if start <= offset < end)
        clauses.append(_Clause(start, lead, text, _NEGATION.search(text) is not None, labels))
        if boundary:
            start, lead = boundary.end(), boundary.group()
    return clauses


def _strength(clauses: Sequence[_Clause], index: int, label: str, sure: bool, conceded: bool) -> int:
    """What a sentence says of an option that one of its clauses mentions."""
    own = clauses[index]
    if own.lead in _IF:
        return 0
    if own.negated or own.lead in _INSTEAD:
        return REJECTED
    later = [clause for clause in clauses[index + 1 :] if not clause.labels or label in clause.labels]
    choice = _CHOICE.search(own.text) is not None
    turned = denied = fits = False
    for clause in later:
        turned = turned or (clause.lead in _TURNS and clause.text.strip() != "")
        if clause.negated and clause.lead not in _IF and (clause.lead not in _REASONS or turned):
            denied, fits = True, False
        elif (
            denied and clause.lead in ("which", "making") and (_FITS.search(clause.text) or _CHOICE.search(clause.text))
        ):
            denied, fits = False, True
    if denied and not choice:
        return REJECTED
    if denied and (turned or any(clause.lead == "which" and _NOT_AT_ONCE.match(clause.text) for clause in later)):
        return 0
    if not denied and not fits:
        denied_before = any(clause.negated for clause in clauses[:index]) and own.lead not in _FOLLOWS
        if (conceded and index <= 1 and len(clauses) > 1) or own.lead in _CONCESSIONS or (turned and not choice):
            return 0
        if denied_before and not choice and not sure:
            return 0
    if choice:
        return 1 if any(clause.lead in _IF for clause in later) else _CHOICE_FROM + sure
    return (_FITS_FROM if fits or _FITS.search(own.text) else 1) + sure
