"""Short answers in words, if no options are known: a diagnosis, a dose, a number."""

import re
from collections.abc import Sequence

from medprm_scorer.text.answers.declining import DECLINES
from medprm_scorer.text.answers.letters import letter_at, second_letter
from medprm_scorer.text.answers.options import LABELS
from medprm_scorer.text.answers.plain_text import sentences
from medprm_scorer.text.answers.statements import LEAD, LEAD_IN, Value
from medprm_scorer.text.answers.structured import EDGES
from medprm_scorer.text.answers.words import ANSWER, CONTRAST, DENIED, SUPPOSED, YES_NO, either, whole, words

NO_ANSWER = {
    "a state": (
        "confirmed made supported based established suspected missed delayed considered suggested excluded clinched"
        " known"
        " needed given reached obtained required determined undetermined"
        " unclear uncertain unknown unlikely likely possible probable clear certain broad wide difficult challenging"
        " straightforward obvious correct wrong right incorrect clinical evident important essential crucial pending"
        " open complex simple easy hard debatable controversial questionable mandatory"
    ),
    "how or when": (
        "still yet already often usually sometimes typically rarely frequently commonly generally primarily mainly"
        " largely mostly clinically"
    ),
    "a clause": "in at by on from via one that whether what when how to between among if i we you",
    "an article": "a an some any another",
}
"""Words with which a short answer never begins: `the diagnosis is confirmed by CT`, `the answer is a common drug`."""
_NO_ANSWER = frozenset(word for group in NO_ANSWER.values() for word in group.split())
_NO_START = re.compile(words(DENIED, ANSWER), re.IGNORECASE)
_FIRST = re.compile(r"[^\W\d_]+")
_END = re.compile(
    r"[;\n]|。|(?!(?<=\b(?-i:[A-Z]))\.\s(?-i:[a-z]))[.!?](?![^\W_])"
    r"|,? (?:because|since|which|due to the fact|based on|given|as evidenced|as (?:the|this|it|he|she)|if|unless"
    rf"|rather than|instead of|not)\b|,? {words(CONTRAST)}|, (?:and|as|with|so|confirmed|supported)\b",
    re.IGNORECASE,
)
_FINAL_DIAGNOSIS = re.compile(
    either(
        r"\bfinal\s{1,4}diagnosis[*_]{0,3}\s?:",
        rf"(?:\A|(?<=\n)){LEAD}[*_]{{0,3}}final diagnosis[*_]{{0,3}}[ \t]{{0,4}}\n",
    ),
    re.IGNORECASE,
)
_LINE = re.compile(r"[\s*_]*([^\n]*)")
_LIST_MARK = re.compile(r"1[.)][ \t]")
_DIAGNOSIS_LINE = re.compile(
    rf"(?:\A|(?<=\n)){LEAD}(?:the |my )?(?:(?:most likely|likely|probable|working|primary|leading|presumptive) )?"
    r"(?:diagnosis|diagnose|diagnóstico|diagnostic|诊断|診断)\s?:",
    re.IGNORECASE,
)
_DIAGNOSIS_IS = re.compile(
    whole(
        either(
            r"diagnosis (?:here |in this (?:case|patient) |for this patient )?"
            r"(?:is|would be|must be|remains|appears to be|seems to be)",
            r"(?:most |best |highly )?(?:consistent with|suggestive of)(?: (?:a|the) diagnosis of)?",
        )
    ),
    re.IGNORECASE,
)
_THING_IS = re.compile(
    whole(
        either(
            r"(?:(?:dose|dosage)",
            r"(?:drug|treatment|therapy|agent|antibiotic|test|investigation) of choice",
            r"(?:first-line|best|most appropriate|recommended|preferred|definitive) (?:\w+ ){0,2}"
            r"(?:drug|treatment|therapy|antibiotic|agent|test|step|dose|management)",
            r"most likely (?:\w+ )?(?:cause|organism|pathogen|mechanism|complication|explanation|etiology))"
            r" (?:\w+ ){0,4}?(?:is|would be|should be)",
        )
    ),
    re.IGNORECASE,
)
_ASKS_DIAGNOSIS = re.compile(
    r"diagnos|disease|disorder|syndrome|suffer|erkrankung|krankheit|maladie|enfermedad|病|疾|診断|诊断|تشخيص",
    re.IGNORECASE,
)
_ASKS_ELSE = re.compile(
    r"treat|therap|drug|dose|dosage|dosing|medic(?:ation|ine)|antibiotic|vaccin|manage|next step|work-?up|which test"
    r"|(?:imaging|laboratory|blood|diagnostic) (?:test|study|studies)|investigat|prevent|prognos|mechanism|complication"
    r"|risk factor|organism|pathogen|how (?:much|many|long|often|should|do|does|is|are)|behandl|therapie|dosis"
    r"|traitement|tratamiento|治疗|治療|用量|علاج",
    re.IGNORECASE,
)
_DENIED = re.compile(words(DENIED), re.IGNORECASE)
_SUPPOSED = re.compile(words(SUPPOSED), re.IGNORECASE)
_LONGEST = 120
_MOST_WORDS = 14


class FreeReader:
    """Reads answers if no options are known, as a letter or a short text; see `statements.Reader`."""

    def value(self, text: str, place: int, letters_only: bool = False) -> Value | None:
        """The letter at a position, in upper case, or the short text."""
        lead = LEAD_IN.match(text, place)
        start = lead.end() if lead else place
        found = letter_at(text, start)
        if found and _is_latin(found.group("letter")):
            letter = found.group("letter").upper()
            return Value(letter if second_letter(text, found) in (None, letter) else None, found.end())
        return None if letters_only else _short(text, start)

    def alone(self, line: str) -> str | None:
        """The answer if a line consists only of it: a capital letter from A to J, or yes or no."""
        line = line.strip(EDGES)
        found = letter_at(line, 0)
        if found and found.group("letter") in LABELS and not line[found.end() :].strip(" .)"):
            return found.group("letter")
        word = line.strip(" .!\"'")
        return word if word.casefold() in YES_NO else None


def final_diagnosis(text: str) -> Value | None:
    """The text after the last `Final Diagnosis:` up to the end of its line, or the next line if its own ends there.

    Args:
        text: The chain, with its markup.
    """
    for found in reversed(list(_FINAL_DIAGNOSIS.finditer(text))):
        line = _LINE.match(text, found.end())
        content = line.group(1).strip(EDGES) if line else ""
        if content:
            declined = DECLINES.match(content) is not None
            return Value(None if declined else _LIST_MARK.sub("", content).strip(EDGES), found.end(), declined)
    return None


def concluded(text: str, question: str | None) -> Value | None:
    """The diagnosis, dose or step with which a chain ends, in words.

    Args:
        text: The chain without markup.
        question: Its question: a diagnosis does not answer a question that clearly asks for something else. None if it
            is not known.
    """
    spans = list(sentences(text))
    last_two = spans[-2][0] if len(spans) > 1 else 0
    last = spans[-1][0] if spans else 0
    # its last sentence asks; the text before it may name treatments as well as diseases
    asks = question[[*sentences(question)][-1][0] :] if question and question.strip() else ""
    asked = _ASKS_DIAGNOSIS.search(asks) is not None or _ASKS_ELSE.search(asks) is None
    forms = [(_DIAGNOSIS_LINE, 0), (_DIAGNOSIS_IS, last_two)] if asked else []
    for form, since in [*forms, (_THING_IS, last)]:
        for found in reversed(list(form.finditer(text, since))):
            lead = LEAD_IN.match(text, found.end())
            value = _short(text, lead.end() if lead else found.end())
            if value is not None and value.answer is not None and not _is_denied(text, found.start(), spans):
                return value
    return None


def _short(text: str, start: int) -> Value | None:
    """A text of a few words that begins like an answer, up to the end of its clause."""
    limit = min(len(text), start + 3 * _LONGEST)
    stop = _END.search(text, start, limit)
    end = stop.start() if stop else limit
    if DECLINES.match(text, start) or DECLINES.search(text, start, end):
        return Value(None, end, declined=True)
    content = text[start:end].strip(EDGES + " :,.\"'“”")
    inner = content.lstrip("([{")
    first = _FIRST.match(inner)
    if first and (first.group().casefold() in _NO_ANSWER or (first.group() == inner and len(inner) == 1)):
        return None
    if _NO_START.match(inner) or not any(map(str.isalnum, content)):
        return None
    return Value(content, end) if len(content) <= _LONGEST and len(content.split()) <= _MOST_WORDS else None


def _is_latin(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def _is_denied(text: str, place: int, spans: Sequence[tuple[int, int]]) -> bool:
    begin = max((start for start, _ in spans if start <= place), default=0)
    clause = re.split(r"[,;:]", text[begin:place])[-1]
    return _DENIED.search(clause) is not None or _SUPPOSED.search(text, begin, place) is not None
