"""What a sentence says about each option that it mentions, by text or letter.

| strength | what the option's clause, and the clauses about it, say | example |
|---|---|---|
| `REJECTED` | a negation, or that it belongs elsewhere | `migraine comes with nausea, which is not mentioned` |
| 0 | nothing for or against: conceded, supposed, contrasted | `while migraine is common, …` |
| 1 | the option, without a negation | `heparin acts at once` |
| `FITS` | that it fits, or a conclusion | `the findings suggest migraine` |
| `CHOICE` | that it is the choice, or what the question asks | `the best test is a CT` |
| `SURE` | a conclusion that it is the choice | `therefore, the best test is a CT` |

A negation that is also in the question says nothing against an option (`the cause of the lack of immunity is …`). If
the question asks for the false option, only a negation in a conclusion, or in the question's words, is a choice.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from medprm_scorer.text.answers.asked import Asked
from medprm_scorer.text.answers.mentions import LETTER_TOKEN, Mentions, stem
from medprm_scorer.text.answers.options import OptionSet
from medprm_scorer.text.answers.words import either, whole

REJECTED, FITS, CHOICE, SURE = -1, 2, 3, 4

# all patterns read the `tokens` of a sentence, with one space between them and `§` for each word of an option
NEGATION = re.compile(
    whole(
        either(
            r"not|no|none|never|neither|nor|unlike|unlikely|cannot|\w{1,12}n['’]t|rarely|hardly",
            r"(?<!to )(?<!to be )exclude[sd]?|excluding|(?<!to )(?<!and )rul(?:e|es|ed|ing) (?:it |them |this )?out",
            r"contraindicat\w*|incorrect|wrong|inappropriate|unrelated|except|other than",
            r"without(?! (?:the |any )?(?:risks?|need|causing|significant\w*))|lack(?:s|ed|ing)|absent",
            r"(?:absence|lack) of(?![^§]* (?:makes?|suggests?|indicates?|supports?|points?) )",
            r"inconsistent|unnecessary|avoided|eliminat(?:es?|ed|ing)|ineffective|insufficient",
            r"less (?:likely|common\w*|often|typical\w*|frequent\w*|appropriate|effective|relevant|consistent|suitable"
            r"|specific|sensitive|useful|suggestive|probable|direct|important)|least|reserved for|only if|last resort",
            r"too|harmful|other (?:options|choices|answers|conditions)",
            r"nicht|kein\w*|statt|ausgeschlossen|pas|aucun\w*|exclut|exclue?s?|ningun\w*|descart\w*|ليس\w*|لا|غير",
        )
    )
    + r"|不|非|排 除|没|な い|ま せ ん|除 外|否 定"
)
# after an option: it belongs elsewhere
_ELSEWHERE = re.compile(
    whole(
        either(
            r"would (?:also )?(?:be (?:seen|expected|used|more|considered)|have been|present|cause|show|typically"
            r"|likely|usually|result|lead|suggest|require)",
            r"more (?:commonly|typically|often|likely|common|frequently|consistent|characteristic|typical|specific"
            r"|closely|indicative|suggestive|relevant|appropriate|associated) (?:\w+ )?"
            r"(?:in|of|associated with|with|used for|found|for|to)(?! (?:an? |the )?§)",
        )
    )
)
IS_CONCLUSION = re.compile(
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
IS_CHOICE = re.compile(
    whole(
        either(
            r"most (?:likely|probable|probably|appropriate|suitable|accurate|plausible|fitting|effective|logical"
            r"|important|consistent)",
            r"best|of choice|first - line|first line|gold standard|correct|answer|preferred|recommended|optimal",
            r"(?:next|first|initial) (?:\w+ ){0,2}(?:step|test|treatment|management|intervention|action|priority)",
            r"(?:better|safer|ideal|closest) (?:choice|option|treatment|therapy|match|alternative)",
            r"should (?:be|have|undergo|receive)",
            r"am (?:ehesten|besten|wahrscheinlichsten)|beste\w*|richtig\w*|(?:le|la) plus (?:probable|appropriée?)",
            r"meilleure?|más probable|mejor|adecuad[oa]",
        )
    )
)
IS_FITTING = re.compile(
    whole(
        either(
            r"consistent with|characteristic of|indicative of|suggestive of|suggests?|indicates?|fits?|match(?:es)?",
            r"explains?|likely|point(?:s|ing)? (?:\w+ ){0,3}(?:to|towards?)|supports?|confirms?|typical of|indicated",
            r"diagnosis of|specific for|hallmark|raises suspicion|needed|required|warranted",
            r"classic (?:for|of|\w+ of)|key (?:finding|feature)|pathognomonic",
            r"passt zu|spricht für|compatible avec|compatible con",
        )
    )
)
_NOT_EXCLUDED = re.compile(r"\b(?:cannot|not|n['’]t) (?:\w+ly )?(?:(?:be )?ruled? out|(?:be )?excluded?)\b")
_IS_SEEN = re.compile(r" (?:is|are) (?:\w+ )?(?:seen|present|observed|noted|described|found|the case)\b")
_GOES_ON = re.compile(r", (?:is|are|was|were|would|remains|seems)\b")
_SUPPOSED = re.compile(
    whole(
        either(
            r"tempt\w*|hypothetical\w*|one (?:might|could|may)|(?:might|may) (?:think|seem|argue)|would have been",
            r"had (?:he|she|it|they)|were (?:he|she|it|they|the patient)|wenn|falls|si (?:il|elle|la|el)",
        )
    )
)
_BOUNDARY = re.compile(
    r"[,;()–—]|(?<= )(?:but|however|while|whereas|although|though|because|since|which|(?<!known )as|making|where|so"
    r"|due to|given|if|when|unless|aber|sondern|weil|mais|car|pero|sino|porque|rather than|instead of|as opposed to"
    r"|not(?= §)|(?:than|compared (?:to|with))(?= (?:the |an? )?§))(?= )"
)
HALF = 0.5
_EXAMPLE = re.compile(
    r"such as|like|including|particularly|especially|specifically|namely|usually|typically|also (?:known as|called)"
)
_IF = frozenset(("if", "when", "unless", "than", "compared to", "compared with"))
_REASONS = frozenset(("as", "because", "since", "given", "due to", "making", "weil", "car", "porque", "("))
_TURNS = frozenset(("but", "however", "although", "though", "aber", "sondern", "mais", "pero", "sino"))
_CONCESSIONS = frozenset(("while", "whereas", "although", "though"))
_INSTEAD = frozenset(("not", "rather than", "instead of", "as opposed to"))
_FOLLOWS = frozenset(("but", "however", "so", "which", "aber", "sondern", "mais", "pero", "sino"))
_CONCEDES = re.compile(
    r"(?:while|although|though|whereas|unlike|even though|if|other than|in contrast to|rather than|instead of"
    r"|none of)\b"
)
_NOT_AT_ONCE = re.compile(r" (?:\w+ )?(?:not|\w+n['’]t|less|un\w+|rarely|never|in\w+)\b")
_ONLY_NAMES = re.compile(r"(?:§|and|or|both|the|a|an|of|in|,|\s)*")


@dataclass(frozen=True)
class _Clause:
    start: int  # offset in the sentence
    lead: str  # the word or mark before it
    text: str
    negated: bool
    elsewhere: int  # offset of the words that say that an option before them belongs elsewhere; -1 if none
    labels: frozenset[str]


def said(parts: Sequence[str], options: OptionSet, mentions: Mentions, asked: Asked) -> dict[str, int]:
    """The strength of each option that a sentence mentions.

    Args:
        parts: Its `tokens`, with marks for options that are named by letter.
        options: The options.
        mentions: Finds mentions of their texts.
        asked: What the question asks.
    """
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
    plain = [LETTER_TOKEN if place in own else part for place, part in enumerate(parts)]
    sentence = " ".join(plain)
    sure = IS_CONCLUSION.search(sentence) is not None
    if not named:
        return _paraphrased(parts, sentence, sure, mentions, asked)
    offsets = [0]
    for part in plain:
        offsets.append(offsets[-1] + len(part) + 1)
    clauses = _clauses(sentence, [(offsets[place], label) for place, label in named], asked)
    starts = [clause.start for clause in clauses]
    restates = len({label for _, label in named}) == 1 and asked.is_restated(plain)
    conceded = _CONCEDES.match(sentence) is not None
    supposed = parts[-1] == "?" or _SUPPOSED.search(sentence.rsplit(" but ", 1)[-1]) is not None
    result: dict[str, int] = {}
    for place, label in sorted(named):
        index = bisect_right(starts, offsets[place]) - 1
        if supposed:
            strength = 0
        elif asked.inverted:
            strength = SURE if clauses[index].negated and (sure or restates) else 0
        else:
            strength = _strength(clauses, index, offsets[place], label, sure, conceded, restates, asked)
        low, high = sorted((result.get(label, strength), strength))
        result[label] = low if low == REJECTED and high < CHOICE else high
    return result


def _paraphrased(parts: Sequence[str], sentence: str, sure: bool, mentions: Mentions, asked: Asked) -> dict[str, int]:
    """The option that a conclusion about the choice names in other words."""
    if asked.inverted or asked.restated(parts) < HALF:
        return {}
    if _is_negated(sentence, asked) or _SUPPOSED.search(sentence) or not IS_CHOICE.search(sentence):
        return {}
    label = mentions.closest(parts)
    return {label: CHOICE + sure} if label is not None else {}


def _is_negated(text: str, asked: Asked) -> bool:
    """Whether a clause denies; `not ruled out` does not, nor does a negation that the question itself contains."""
    asks = frozenset[str]() if asked.inverted else asked.words
    denials = NEGATION.finditer(text) if _NOT_EXCLUDED.search(text) is None else ()
    return any(not asks.issuperset(map(stem, denial.group().split())) for denial in denials)


def _clauses(sentence: str, named: Sequence[tuple[int, str]], asked: Asked) -> list[_Clause]:
    """The parts of a sentence between marks and conjunctions; a part with only names is joined with the next."""
    clauses: list[_Clause] = []
    start, lead = 0, ""
    for boundary in [*_BOUNDARY.finditer(sentence), None]:
        end = boundary.start() if boundary else len(sentence)
        text = sentence[start:end]
        if boundary and boundary.group() == ",":
            is_list = text.strip() and _ONLY_NAMES.fullmatch(text)
            if is_list or (LETTER_TOKEN not in text and _EXAMPLE.match(sentence, boundary.end() + 1)):
                continue
        labels = frozenset(label for offset, label in named if start <= offset < end)
        negated = _is_negated(text, asked)
        elsewhere = _ELSEWHERE.search(text)
        place = start + elsewhere.start() if elsewhere else -1
        clauses.append(_Clause(start, lead, text, negated, place, labels))
        if boundary:
            start, lead = boundary.end(), boundary.group()
    return clauses


def _strength(
    clauses: Sequence[_Clause],
    index: int,
    place: int,
    label: str,
    sure: bool,
    conceded: bool,
    restates: bool,
    asked: Asked,
) -> int:
    """What a sentence says about an option that one of its clauses mentions."""
    own = clauses[index]
    if own.lead in _IF or own.lead == "where":
        return 0
    if own.lead in _INSTEAD:
        return REJECTED
    later = [clause for clause in clauses[index + 1 :] if not clause.labels or label in clause.labels]
    behind = next((clause for clause in later if clause.lead == ")" or _GOES_ON.match(clause.lead + clause.text)), None)
    if behind and any(clause not in later for clause in clauses[index + 1 : clauses.index(behind)]):
        behind = None  # the sentence continues about another option
    body = own.text + (behind.text if behind and not behind.negated else "")  # a clause may continue after brackets
    choice = IS_CHOICE.search(body) is not None or asked.is_answered(body)
    turned = any(clause.lead == "but" and IS_FITTING.search(clause.text) for clause in clauses[index + 1 :])
    fits = weighed = False
    elsewhere = own.elsewhere > place and not sure
    denied = elsewhere
    none_of = False
    for clause in later:
        turned = turned or (clause.lead in _TURNS and (clause.text.strip() != "" or clause.lead == "but"))
        judges = clause.lead in ("which", "making")
        is_choice = IS_CHOICE.search(clause.text) is not None
        if clause.lead in _INSTEAD:
            weighed = True
        elif (clause.negated or (clause.elsewhere >= 0 and not sure)) and clause.lead not in _IF:
            if clause.lead not in _REASONS or turned:
                denied, fits = True, False
            none_of = clause.text.strip() in ("none of", "neither of")
        elif judges and not none_of and (is_choice or IS_FITTING.search(clause.text) or _IS_SEEN.match(clause.text)):
            if own.negated and clause.lead == "making" and not denied:
                return FITS + sure
            denied, fits, choice = False, True, choice or (is_choice and clause.lead == "making")
    in_brackets = own.lead == "(" and index > 0 and clauses[index - 1].negated and not clauses[index - 1].labels
    if own.negated or (behind and behind.negated and behind.lead == ")") or (denied and not choice) or in_brackets:
        return REJECTED
    choice = choice or (restates and not denied)
    if denied and (turned or any(clause.lead == "which" and _NOT_AT_ONCE.match(clause.text) for clause in later)):
        return 0
    if not denied and not fits:
        denied_before = any(clause.negated for clause in clauses[:index]) and own.lead not in _FOLLOWS
        if (conceded and index <= 1 and len(clauses) > 1) or own.lead in _CONCESSIONS or (turned and not choice):
            return 0
        if denied_before and not choice and not sure:
            return 0
    if choice:
        return 1 if any(clause.lead in _IF for clause in later) else CHOICE + sure
    strength = (FITS if fits or IS_FITTING.search(body) else 1) + sure
    return 0 if weighed and strength < FITS else strength
