"""The options of a question: read from its text, or passed by the caller.

An option has a label (`A`, `B`, …) and a text. Labels follow one another without a gap, two to ten of them. The forms
are tried in order. The longest list found in a form counts; if several are equally long, the last one:

| form | example |
|---|---|
| brackets | `(A) CT` on lines or in one line; `[A] CT` |
| line | `A. CT`, `A) CT`, `A: CT`, `- A. CT`, `**A.** CT`, one on each line |
| pairs | `{"A": "CT", "B": "MRI"}` |
| inline | `… test? A. CT B. MRI`, only after the end of a sentence: `vitamin A. Then vitamin B.` is not a list |
| words | `Answer yes, no or maybe`, `(yes/no)`: the words are labels and texts |
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from medprm_scorer.errors import InputError
from medprm_scorer.text.answers.keys import normalize_answer
from medprm_scorer.text.answers.words import YES_NO

LABELS = "ABCDEFGHIJ"
"""The labels of options, in order; at most ten."""

_LEAD = r"(?:^|(?<=\n))[ \t>*+\-•_]{0,8}"
_FORMS = (  # a form marks where an option begins: its label is the group that matched
    re.compile(r"(?<![^\W_])[(\[][*_]{0,2}([A-Ja-j])[*_]{0,2}[)\]]"),
    re.compile(_LEAD + r"([A-Ja-j])[*_]{0,2}[.):][*_]{0,2}(?=\s)"),
    re.compile(r"[\"']([A-Ja-j])[\"']\s?:\s?"),
    re.compile(r"(?<=[\s,;])([A-J])[.):](?=\s)"),
)
_INLINE = 3  # the index of the form whose first option must follow the end of a sentence
_BEFORE_INLINE = re.compile(r"(?:[?.:;!]|\A)\s*\Z")
_WORDS = re.compile(
    r"\b(yes)\b[\"']?\s?(?:/|,|\bor\b)\s?[\"']?(no)\b(?:[\"']?,?\s?(?:/|,|\bor\b)\s?(?:or\s)?[\"']?(maybe|unclear|uncertain|unknown)\b)?",
    re.IGNORECASE,
)
_EDGES = " \t\n\r*_,;\"'{}"
_LONGEST_LABEL = 12


@dataclass(frozen=True)
class OptionSet:
    """The options of one question; the `repr` shows no text.

    Args:
        texts: Text by label, in order. Labels are distinct in `normalize_answer`.
    """

    texts: Mapping[str, str] = field(repr=False)

    @cached_property
    def label_by_key(self) -> dict[str, str]:
        """The label by its key from `normalize_answer`."""
        return {normalize_answer(label): label for label in self.texts}

    @cached_property
    def yes_no(self) -> dict[str, str]:
        """The label by `yes`, `no` or `maybe`, if the options consist only of these words; otherwise empty."""
        meaning = {YES_NO.get(normalize_answer(text)): label for label, text in self.texts.items()}
        return {} if None in meaning else {str(word): label for word, label in meaning.items()}

    def label(self, name: str) -> str | None:
        """The label as written in the question, for a label in any letter case; None if there is no such option."""
        return self.label_by_key.get(normalize_answer(name))


def find_options(question: str) -> OptionSet | None:
    """Read the options from a question.

    Args:
        question: The question with its options, as the policy saw it.

    Returns:
        The options in one of the forms in this module's docstring; None if there are none.

    Example:
        >>> dict(find_options("Which drug?\\n\\n(A) Aspirin\\n(B) Heparin").texts)
        {'A': 'Aspirin', 'B': 'Heparin'}
        >>> dict(find_options("Does it help? Answer yes, no or maybe.").texts)
        {'yes': 'yes', 'no': 'no', 'maybe': 'maybe'}
        >>> print(find_options("Which drug is best?"))
        None
    """
    question = question.replace("\r\n", "\n").replace("\r", "\n")
    for place, form in enumerate(_FORMS):
        run = _longest_run(question, form, place == _INLINE)
        if run:
            return OptionSet(dict(_texts(question, run)))
    words = _WORDS.search(question)
    return OptionSet({word.lower(): word.lower() for word in words.groups() if word}) if words else None


def as_options(options: "OptionSet | Mapping[str, str] | Sequence[str]") -> OptionSet:
    """Options from a caller's argument.

    Args:
        options: Texts by label, or only texts, which get the labels A, B, ….

    Returns:
        The options.

    Raises:
        InputError: There are fewer than two or more than ten, one is not a text, or two labels are the same.

    Example:
        >>> dict(as_options(["Aspirin", "Heparin"]).texts)
        {'A': 'Aspirin', 'B': 'Heparin'}
    """
    if isinstance(options, OptionSet):
        return options
    if isinstance(options, str) or not isinstance(options, (Mapping, Sequence)):
        raise InputError("options must be texts by letter, or a list of texts")
    if not 2 <= len(options) <= len(LABELS):
        raise InputError(f"there must be two to {len(LABELS)} options, not {len(options)}")
    texts = dict(options) if isinstance(options, Mapping) else dict(zip(LABELS, options, strict=False))
    if not all(isinstance(part, str) and part.strip() for pair in texts.items() for part in pair):
        raise InputError("the letter and the text of every option must be texts that are not blank")
    if any(len(label) > _LONGEST_LABEL for label in texts):
        raise InputError(f"the letter of an option may have {_LONGEST_LABEL} characters at most")
    if len({normalize_answer(label) for label in texts}) < len(texts):
        raise InputError("two options have the same letter")
    return OptionSet(texts)


def _longest_run(question: str, form: re.Pattern[str], inline: bool) -> list[re.Match[str]]:
    """The marks of the longest list: labels in the same case, from A without a gap."""
    best: list[re.Match[str]] = []
    run: list[re.Match[str]] = []
    for mark in form.finditer(question):
        label = mark.group(1)
        if label in "Aa" and (not inline or _BEFORE_INLINE.search(question, max(0, mark.start() - 8), mark.start())):
            run = [mark]
        elif run and label == chr(ord(run[-1].group(1)) + 1):
            run = [*run, mark]
        if len(run) >= max(2, len(best)):
            best = run
    return best


def _texts(question: str, run: list[re.Match[str]]) -> list[tuple[str, str]]:
    """The texts between the marks; the last option ends with its line, or at a blank line if options are longer."""
    ends = [mark.start() for mark in run[1:]]
    several = any("\n" in question[mark.end() : end].strip() for mark, end in zip(run, ends, strict=False))
    stop = question.find("\n\n" if several else "\n", run[-1].end() + 1)
    ends.append(len(question) if stop < 0 else stop)
    return [
        (mark.group(1).upper(), " ".join(question[mark.end() : end].strip(_EDGES).split()))
        for mark, end in zip(run, ends, strict=True)
    ]
