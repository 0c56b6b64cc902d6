r"""From a chain of thought to the answer it gives, and from an answer to the key under which it votes.

The forms are those that the policies were told to end with (source: the project's facts on Med-PRM), tried in order,
the last occurrence of a form winning:

1. `\boxed{X}`;
2. `answer is X`, or `correct (right, best) option (choice) is X`, with X a single letter;
3. `Final Diagnosis: …` to the end of the line;
4. `diagnosis is …` to the full stop;
5. `Answer: X`, with X a single letter.

Of these, the options of 2 and all of 5 are not in the authors' code: they only find what would else be no answer.

Which letters count in 2 and 5 is this package's choice, since a wrong vote is worse than a missing one:

- A letter in brackets always counts, in either case: `(b)` is `B`.
- A bare letter must stand alone: not `B-cell`, `T cell`, `D-dimer`, `A's`, `B12`.
- A bare `a`, `i` or `I` that more words follow is an article or a pronoun: `the answer is a common drug` gives nothing.
- A bare capital with a full stop before the name of a pathogen is its genus: not `E. coli`, `S. aureus`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medprm_scorer.errors import InputError
from medprm_scorer.text.steps import strip_reasoning

# All repeats are bounded or cannot overlap with what follows them: no pattern takes more than linear time.
_BOXED = re.compile(r"\\boxed\s*\{\s*|\\[{}]|[{}]")
_ANSWER_IS = re.compile(r"\b(?i:(?:answer|(?:correct|right|best)\s{1,4}(?:option|choice))\s{1,4}is)\b")
_ANSWER_COLON = re.compile(r"\b(?i:answer)[*_]{0,3}\s?:")
_LETTER = re.compile(
    r"[\s:*_$`\"'“”‘’]{0,12}(?i:(?:option|choice)\s{1,4})?[*_$`]{0,4}"
    r"(?P<open>[(\[{]\s?[*_]{0,2}(?i:(?:option|choice)\s{1,4})?)?(?P<letter>[A-Za-z])"
)
_CLOSED = re.compile(r"[*_]{0,2}\s?[)\]}]")
_MORE_WORDS = re.compile(r"[ \t]+\S|\n[ \t]*[a-z]")
_SPECIES = (  # of the pathogens that questions name by the initial of their genus
    r"\.\s{1,4}(?:coli|aureus|epidermidis|saprophyticus|pneumoniae|pyogenes|agalactiae|viridans|bovis|faecalis|faecium"
    r"|difficile|perfringens|tetani|botulinum|anthracis|cereus|monocytogenes|diphtheriae|aeruginosa|cepacia|mirabilis"
    r"|marcescens|cloacae|influenzae|ducreyi|pertussis|meningitidis|gonorrhoeae|catarrhalis|baumannii|pylori|jejuni"
    r"|cholerae|vulnificus|typhi|enterica|enteritidis|sonnei|flexneri|dysenteriae|enterocolitica|pestis|tularensis"
    r"|henselae|quintana|burgdorferi|pallidum|interrogans|tuberculosis|leprae|avium|marinum|trachomatis|psittaci"
    r"|burnetii|rickettsii|prowazekii|albicans|glabrata|auris|neoformans|fumigatus|flavus|capsulatum|dermatitidis"
    r"|immitis|jirovecii|falciparum|vivax|malariae|ovale|gondii|lamblia|histolytica|vaginalis|cruzi|brucei|donovani"
    r"|stercoralis|lumbricoides|vermicularis|solium|saginata|granulosus|mansoni|haematobium|hominis|genitalium)\b"
)
_IS_SPECIES = re.compile(_SPECIES)
_NAME = re.compile(r" (?:cells?|wave|linked|coli|pylori|diff)\b")
_FINAL_DIAGNOSIS = re.compile(r"\b(?i:final\s{1,4}diagnosis)[*_]{0,3}\s?:")
_DIAGNOSIS_IS = re.compile(r"\b(?i:diagnosis\s{1,4}is)\b")
_LINE = re.compile(r"[\s*_]*([^\n]*)")
# neither the dot of `1.5` nor that of `E. coli` ends a sentence; that of `hepatitis B. Then` does
_SENTENCE_END = re.compile(r"(?!(?<=\b[A-Z])\.\s[a-z])\.(?![^\W_])|\n")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit|boxed)\s*\{(.*)\}", re.DOTALL)
_BOXED_OPTION = re.compile(r"\(([A-Za-z])\)(?:\s|\Z)|([A-Za-z])(?:\)(?:\s|\Z)|:\s|[.:)]?\Z|(?!" + _SPECIES + r")\.\s)")
_NESTED_LATEX = 4  # wrappings that are taken off a boxed answer; a bound, so that hostile nesting costs nothing

_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))  # all that `str.strip` takes, no-break spaces too
_EDGES = _BLANKS + "*_#`$"
_KEY_EDGES = " .,;:!?*_`\"'“”‘’«»()[]{}"


def extract_answer(text: str) -> str | None:
    r"""Find the answer that a chain of thought gives.

    Reasoning blocks (`<think>…</think>`) are looked into only if there is nothing else (`strip_reasoning`).

    Args:
        text: The whole chain.

    Returns:
        An option letter, in upper case; else a boxed text or a diagnosis, as written but for markup around it; None if
        the chain gives no answer in one of the forms.

    Raises:
        InputError: The text is not a `str`.

    Example:
        >>> extract_answer("Step 1: Fever. Step 2: The answer is (b).")
        'B'
        >>> extract_answer(r"So $\boxed{\text{C}}$")
        'C'
        >>> extract_answer("## Final Diagnosis: Pulmonary embolism")
        'Pulmonary embolism'
        >>> print(extract_answer("The answer is a common drug."))
        None
    """
    if not isinstance(text, str):
        raise InputError(f"a chain must be text to find its answer, not {type(text).__name__}")
    text = strip_reasoning(text).replace("\r\n", "\n").replace("\r", "\n")
    return (
        _last_boxed(text)
        or _last_letter(_ANSWER_IS, text)
        or _last_line(_FINAL_DIAGNOSIS, text)
        or _last_sentence(_DIAGNOSIS_IS, text)
        or _last_letter(_ANSWER_COLON, text)
    )


def normalize_answer(answer: str) -> str:
    """The key under which answers are one vote.

    Letter case, runs of whitespace, and punctuation, brackets, quotes and markdown marks at the two ends do not matter.
    Signs do: `-5`, `5`, `<5` and `5%` are four answers.

    Args:
        answer: An answer as written.

    Returns:
        The key; if the answer is nothing but punctuation, that punctuation; "" only for a blank answer.

    Example:
        >>> normalize_answer("**(B).**") == normalize_answer("b")
        True
        >>> normalize_answer("Acute   Pancreatitis.")
        'acute pancreatitis'
    """
    collapsed = " ".join(answer.casefold().split())
    key = collapsed.rstrip(_KEY_EDGES)
    bare = key.lstrip(_KEY_EDGES)
    if bare[:1].isdecimal() and key[: len(key) - len(bare)].endswith("."):
        bare = f".{bare}"  # `.5 mg` is not `5 mg`
    return bare or collapsed


def _last_boxed(text: str) -> str | None:
    """The content of the last box that is closed and not empty; one pass, braces matched by a stack."""
    last = None
    opened: list[int | None] = []  # where the text in a box begins, spaces passed over; None for any other brace
    for brace in _BOXED.finditer(text):
        mark = brace.group()
        if mark.startswith("\\boxed"):
            opened.append(brace.end())
        elif mark == "{":
            opened.append(None)
        elif mark == "}" and opened:
            start = opened.pop()
            if start is not None and start < brace.start():
                last = (start, brace.start())
    return _clean_boxed(text[slice(*last)]) if last else None


def _clean_boxed(content: str) -> str | None:
    """A letter in upper case if the box holds an option (`B`, `(B)`, `B) …`, `B: …`), else its text."""
    for _ in range(_NESTED_LATEX):
        content = content.strip(_EDGES)
        wrapped = _LATEX_TEXT.fullmatch(content)
        if wrapped is None or not _is_balanced(wrapped.group(1)):
            break
        content = wrapped.group(1)
    content = content.strip(_EDGES)
    option = _BOXED_OPTION.match(content)  # not `E. coli`: a dot counts at the end only
    return (option.group(1) or option.group(2)).upper() if option else content or None


def _is_balanced(content: str) -> bool:
    depth = 0
    for brace in re.finditer(r"(?<!\\)[{}]", content):
        depth += 1 if brace.group() == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def _last_letter(form: re.Pattern[str], text: str) -> str | None:
    last = None
    for match in form.finditer(text):
        option = _LETTER.match(text, match.end())
        if option and _is_option(text, option):
            last = option.group("letter").upper()
    return last


def _is_option(text: str, match: re.Match[str]) -> bool:
    """Whether a letter after `answer is` is an option; the rules stand at the head of this module."""
    letter, end = match.group("letter"), match.end()
    if match.group("open") and _CLOSED.match(text, end):
        return True
    following = text[end : end + 2]
    if following[:1].isalnum() or (following[:1] in ("-", "–", "—", "'", "’") and following[1:].isalnum()):
        return False
    if letter in "aiI" and _MORE_WORDS.match(text, end):
        return False
    return not (letter.isupper() and (_IS_SPECIES.match(text, end) or _NAME.match(text, end)))


def _last_line(form: re.Pattern[str], text: str) -> str | None:
    """What follows the form up to the end of the line; of the next line if the form ends its own."""
    for match in reversed(list(form.finditer(text))):
        line = _LINE.match(text, match.end())
        content = line.group(1).strip(_EDGES) if line else ""
        if content:
            return content
    return None


def _last_sentence(form: re.Pattern[str], text: str) -> str | None:
    """What follows the form up to a full stop or the end of the line."""
    for match in reversed(list(form.finditer(text))):
        stop = _SENTENCE_END.search(text, match.end())
        content = text[match.end() : stop.start() if stop else len(text)].strip(_EDGES + ":")
        if content:
            return content
    return None


DECLINED = "(declined)"
"""What an answer function returns for a chain that says that it cannot answer."""

Options = Mapping[str, str] | Sequence[str]


@dataclass(frozen=True)
class Reading:
    """What a chain answers."""

    answer: str | None = field(default=None, repr=False)
    declined: bool = False


def read_given(answer: str, question: str | None = None, options: Options | None = None) -> Reading:  # noqa: ARG001
    """An answer that is known already."""
    return Reading(answer if answer.strip() else None)


def read(text: str, question: str | None = None, options: Options | None = None) -> Reading:  # noqa: ARG001
    """The answer."""
    return Reading(extract_answer(text))
