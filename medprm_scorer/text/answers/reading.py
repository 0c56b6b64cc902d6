r"""Reads the answer that a chain of thought gives, with the options of its question if known.

The rules are tried in order; the first that finds something decides. Scratch work (`strip_reasoning`) is not read.

| rule | with options | without |
|---|---|---|
| 1. last box that is closed and not empty | `\boxed{B}`, `\boxed{\text{B) CT}}` → B | `\boxed{5 mg}` → 5 mg |
| 2. last tag or field for the answer | `<answer>B</answer>`, `{"answer": "CT"}` → B | `{"final_answer": "CT"}` → CT |
| 3. last statement (`statements`) | `Answer: B`, `I would choose CT`, a last line `B) CT` → B | `Answer: B` → B |
| 4. `Final Diagnosis: …` to the end of the line | | `## Final Diagnosis: Gout` → Gout |
| 5. statement in words | | `the answer is 5 mg` → 5 mg |
| 6. yes/no questions (`yes_no`) | `Therefore, yes, …`, `the evidence is conflicting` → `yes`, `maybe` | |
| 7. what prose affirms (`affirmed`) | `the best test is a CT` → B | `the most likely diagnosis is gout.` → gout |
| 8. declining (`declining`) | `the dose cannot be determined` → declined | the same |

A letter that is not an option gives no answer, nor do two answers in one statement (`A or C`). An answer in words that
equals an option counts as that option. If the question is known and has no options, `(A) 180 mg` is read as the dose,
unless the question names it: chains that make up options may mean different doses by one letter. Statements that are
hypothetical, denied or questions do not count (`if she were pregnant, the answer is C`). English, German, French,
Spanish, Chinese, Japanese and Arabic are read (`answer_words`).

The rules are this careful because a wrong vote is worse than a missing one. Whether a bare letter counts is decided in
`letters`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers.affirmed import affirmed
from medprm_scorer.text.answers.asked import find_asked
from medprm_scorer.text.answers.declining import DECLINES, declines_at_end
from medprm_scorer.text.answers.doses import dose_behind_letter
from medprm_scorer.text.answers.free_answers import FreeReader, concluded, final_diagnosis
from medprm_scorer.text.answers.keys import normalize_answer
from medprm_scorer.text.answers.letters import boxed_letter
from medprm_scorer.text.answers.option_answers import OptionReader
from medprm_scorer.text.answers.options import LABELS, OptionSet, as_options, find_options
from medprm_scorer.text.answers.plain_text import plain
from medprm_scorer.text.answers.statements import Value, stated
from medprm_scorer.text.answers.structured import last_boxed, last_field
from medprm_scorer.text.answers.yes_no import yes_or_no
from medprm_scorer.text.reasoning import strip_reasoning

__all__ = ["DECLINED", "Options", "Reading", "extract_answer", "normalize_answer", "read", "read_answer", "read_given"]

DECLINED = "(declined)"
"""What an answer function returns for a chain that says that the question cannot be answered."""

Options = Mapping[str, str] | Sequence[str]
"""The options of a question: texts by letter, or only texts, which get the letters A, B, …."""


@dataclass(frozen=True)
class Reading:
    """The answer of a chain; the `repr` shows no text.

    Args:
        answer: The option's letter as written in the question, or a text; None if there is none.
        declined: Whether the chain says that the question cannot be answered; never together with an answer.
    """

    answer: str | None = field(default=None, repr=False)
    declined: bool = False


def read_answer(text: str, question: str | None = None, options: Options | None = None) -> str | None:
    r"""Find the answer that a chain of thought gives, by the rules in this module's docstring.

    Args:
        text: The whole chain.
        question: The question; its options are read from it (`find_options`).
        options: The options, if the question does not contain them: texts by letter, or texts that get A, B, ….

    Returns:
        With options: the letter of one of them, in the case of the question, or None. Without: a letter in upper case,
        or the answer's words without markup around them, or None.

    Raises:
        InputError: The text is not a `str`, or `options` does not have two to ten texts.

    Example:
        >>> question = "Which test comes first?\n(A) CT\n(B) Ultrasound"
        >>> read_answer("CT shows little here. Therefore, the best test is ultrasound.", question)
        'B'
        >>> print(read_answer("The answer is (D).", question))
        None
        >>> read_answer("The answer is ultrasound.", options=["CT", "Ultrasound"])
        'B'
        >>> read_answer("**Final answer:** 200 mg once daily")
        '200 mg once daily'
    """
    return read(text, question, options).answer


def extract_answer(text: str) -> str | None:
    r"""Find the answer of a chain without its question: `read_answer` without a question.

    Args:
        text: The whole chain.

    Returns:
        An option letter, in upper case, or the answer's words as written, without markup around them; None if the chain
        gives no answer in one of the forms.

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
    return read(text).answer


def read(text: str, question: str | None = None, options: Options | None = None) -> Reading:
    """Like `read_answer`, but also says whether the chain declines to answer.

    Args:
        text: The whole chain.
        question: The question.
        options: The options; those of the question if None.

    Returns:
        The reading.

    Raises:
        InputError: As `read_answer`.

    Example:
        >>> read("The documents do not contain enough information to answer.").declined
        True
        >>> read("The documents say little, but the answer is (B).")
        Reading(declined=False)
    """
    if not isinstance(text, str):
        raise InputError(f"a chain must be text to find its answer, not {type(text).__name__}")
    known = _known(question, options)
    text = strip_reasoning(text).replace("\r\n", "\n").replace("\r", "\n")
    return _among(text, known, question or "") if known else _free(text, question)


def read_given(answer: str, question: str | None = None, options: Options | None = None) -> Reading:
    """Read an answer that is already known, for example from a field of structured output.

    Args:
        answer: The answer.
        question: The question.
        options: The options; those of the question if None.

    Returns:
        With options: the one that the answer names by letter or text, or none. Without: the answer unchanged.

    Raises:
        InputError: As `read_answer`.

    Example:
        >>> read_given("ultrasound", options=["CT", "Ultrasound"]).answer
        'B'
        >>> read_given("5 mg daily").answer
        '5 mg daily'
        >>> read_given("cannot be determined").declined
        True
    """
    if not isinstance(answer, str):
        raise InputError(f"an answer must be text, not {type(answer).__name__}")
    known = _known(question, options)
    bare = plain(answer).strip()
    if known is None:
        return Reading(None, declined=True) if DECLINES.match(bare) else Reading(answer if bare else None)
    reader = OptionReader(known)
    label = reader.alone(bare)
    return Reading(label) if label is not None else _from(reader.value(bare, 0))


def _known(question: str | None, options: Options | None) -> OptionSet | None:
    if options is not None:
        return as_options(options)
    return find_options(question) if question else None


def _among(text: str, options: OptionSet, question: str) -> Reading:
    reader = OptionReader(options, question)
    for content in (last_boxed(text), last_field(text)):
        value = reader.value(plain(content), 0) if content else None
        if value is not None:
            return _from(value)
    bare = plain(text)
    value = stated(bare, reader)
    if value is not None:
        return _from(value)
    declined = declines_at_end(bare)
    if options.yes_no:
        label, sure = yes_or_no(bare, options, find_asked(question)), True
    else:
        label, sure = affirmed(bare, options, reader.mentions, reader.doses, find_asked(question))
    return Reading(label) if label is not None and (sure or not declined) else Reading(None, declined)


def _free(text: str, question: str | None) -> Reading:
    reader = FreeReader()
    boxed = last_boxed(text)
    if boxed is not None:
        letter = boxed_letter(boxed)
        value = reader.value(boxed, 0) if letter else None
        if value is None or value.answer != letter:
            return Reading(letter or boxed)
        return _letter_or_dose(boxed, value, question)
    content = plain(last_field(text) or "")
    value = reader.value(content, 0) if content else None
    if value is not None:
        return _letter_or_dose(content, value, question)
    bare = plain(text)
    value = stated(bare, reader)
    if value is not None and (value.answer is None or len(value.answer) == 1):
        return _letter_or_dose(bare, value, question)
    value = final_diagnosis(text) or value or concluded(bare, question)
    return _from(value) if value else Reading(None, declines_at_end(bare))


def _letter_or_dose(text: str, value: Value, question: str | None) -> Reading:
    """A value of a question without options; if it is a letter, the dose behind it."""
    is_letter = value.answer is not None and len(value.answer) == 1 and value.answer in LABELS
    dose = dose_behind_letter(text, value.end, question) if is_letter and question else None
    return Reading(dose) if dose else _from(value)


def _from(value: Value | None) -> Reading:
    return Reading(value.answer, value.declined) if value is not None else Reading()
