"""Where a sentence mentions the options of a question: by their texts, compared word by word, or by their letters.

Words are compared by their stems, so that `inhibits phagocytosis` mentions `Inhibition of phagocytosis`; function words
are ignored. If an option has up to three words, all must be present, with at most one other word between them. If it
has more, three quarters must be present, within twice the option's length. Text in brackets may be left out or be used
alone (`Computed tomography (CT)`). The same holds for words of little weight (`Administer heparin`) and for words that
all options share, unless the rest would match another option or the question. Abbreviations that a chain introduces
count (`central retinal artery occlusion (CRAO)`). If two mentions overlap, the one with more of its words counts.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice, pairwise

from medprm_scorer.text.answers.letters import SPECIES
from medprm_scorer.text.answers.options import OptionSet

LETTER_TOKEN = "§"
"""The first character of the token for an option that is named by its letter."""

_TOKEN = re.compile(
    r"§.|[0-9]+(?:[.,][0-9]+)*|[぀-ヿ㐀-鿿가-힯]|[^\W\d_]+(?:['’][^\W\d_]+)?|[,;:()?!]|\.(?=\s|$)|%|[<>=+]|[-–—](?=\s)"
)
_SUFFIXES = tuple(
    "ations ation ating ated ates ate ions ion ings ing ies ied ed es s e y ic al".split()  # noqa: SIM905
)
_DOUBLED = re.compile(r"([^\W\d_])\1")
_STEM = 4  # fewest letters of a stem
_SMALL = frozenset(
    "a an the of to in on for with and by from at as is are be this that these those it its his her their he she they"  # noqa: SIM905
    " patient patient's patients will would should".split()
)
_LIGHT = (
    "administer administration prescribe order perform start begin give obtain refer recommend initiate continue use"
    " provide therapy treatment treat oral intravenous iv immediate immediately only disease syndrome disorder measure"
    " check level serum urgent proceed observe transfer switch add adding"
)
_QUALIFIERS = (
    "increase decrease increased decreased elevated reduced high low higher lower normal abnormal left right upper"
    " anterior posterior medial lateral acute chronic early late primary secondary active passive positive negative"
    " previous new old small large first second third type no not only both all more less repeat with without"
)
_BRACKETS = re.compile(r"\(([^()]{0,200})\)")
_SHORT = re.compile(r"\(([A-Z][A-Za-z0-9]{1,9})\)")
_MOST_SHORT = 50
_BEFORE_SHORT = 120  # characters before an abbreviation in which its words are searched
_FEW = 3  # up to this many words, all must be present
_SHARE = 0.75  # the share that must be present of more words
_CLOSE = 0.5  # the share of an option's words, if a conclusion names it in other words
_LIST = re.compile(r"(?i:\b(?:options|choices|answers) \(?|\()[A-J](?:, [A-J]){0,8},? (?:and|or|&) [A-J]\b")


@dataclass(frozen=True)
class Mention:
    """A place where an option is mentioned.

    Args:
        label: The option's label.
        start: Index of its first token.
        end: Index after its last token.
    """

    label: str
    start: int
    end: int


@dataclass(frozen=True)
class _Name:
    """A way to name an option by words.

    Args:
        label: The option's label.
        words: The stems.
        need: How many of them must be present.
        pairs: Pairs of adjacent words.
    """

    label: str
    words: frozenset[str]
    need: int
    pairs: frozenset[tuple[str, str]]


def tokens(text: str) -> list[str]:
    """Words, numbers and the marks that separate clauses, in lower case.

    Example:
        >>> tokens("Give 1.5 mg, then stop.")
        ['give', '1.5', 'mg', ',', 'then', 'stop', '.']
    """
    return [token.casefold() for token in _TOKEN.findall(text)]


def stem(word: str) -> str:
    """A word without its ending; `ae` and `oe` become `e`, and doubled letters become one.

    Example:
        >>> [stem(word) for word in ("inhibits", "inhibition", "anaemia", "gout")]
        ['inhibit', 'inhibit', 'anemia', 'gout']
    """
    word = word.removesuffix("'s").removesuffix("’s")
    if len(word) > _STEM and word.isascii():
        word = word.replace("ae", "e").replace("oe", "e")
        word = _DOUBLED.sub(r"\1", word)
        for suffix in _SUFFIXES:
            if word.endswith(suffix) and len(word) - len(suffix) >= _STEM:
                return word[: -len(suffix)]
    return word


def content(parts: Sequence[str]) -> list[tuple[int, str]]:
    """Index and stem of the tokens that are content words or numbers."""
    return [(place, stem(part)) for place, part in enumerate(parts) if part[0].isalnum() and part not in _SMALL]


class Mentions:
    """Finds the options of one question by their texts.

    Args:
        texts: Text by label.
        question: The question with its options; "" if it is not known.
    """

    def __init__(self, texts: Mapping[str, str], question: str = "") -> None:
        whole = {label: _stems(text) for label, text in texts.items()}
        self.words = {label: frozenset(stems) for label, stems in whole.items()}
        shared = frozenset.intersection(*self.words.values()) if self.words else frozenset()
        told = Counter(_stems(question)) - Counter(word for stems in whole.values() for word in stems)
        plain = _QUALIFIER_STEMS | told.keys()  # words that do not name an option on their own
        self._own_words = {label: words - shared - _LIGHT_STEMS for label, words in self.words.items()}
        self._names = [_name(label, stems) for label, stems in whole.items() if stems]
        for label, text in texts.items():
            outside = _stems(_BRACKETS.sub(" ", text))
            heavy = [word for word in outside if word not in _LIGHT_STEMS]
            special = [word for word in heavy if word not in shared]
            if all(word in plain for word in special):
                special = []
            for stems in (outside, heavy, special, *map(_stems, _BRACKETS.findall(text))):
                others = (words for other, words in self.words.items() if other != label)
                is_new = stems != whole[label] and len("".join(stems)) > 1
                if is_new and not any(words.issuperset(stems) for words in others):
                    self._names.append(_name(label, stems))

    def with_abbreviations(self, text: str) -> "Mentions":
        """The same, with the abbreviations that a text introduces for options: `Systemic lupus erythematosus (SLE)`.

        Args:
            text: The chain.
        """
        labels: dict[str, set[str]] = {}
        for short in islice(_SHORT.finditer(text), _MOST_SHORT):
            before = tokens(text[max(0, short.start() - _BEFORE_SHORT) : short.start()])
            ends = {mention.label for mention in self.find(before) if mention.end == len(before)}
            labels.setdefault(stem(short.group(1).casefold()), set()).update(ends or {""})
        known = frozenset[str]().union(*self.words.values())
        clear = [(word, label) for word, (label, *more) in labels.items() if label and not more and word not in known]
        result = copy(self)
        result._names = self._names + [_name(label, [word]) for word, label in clear]
        return result

    def find(self, parts: Sequence[str]) -> list[Mention]:
        """The mentions in a sentence, in order.

        Args:
            parts: Its `tokens`.
        """
        stems = content(parts)
        present = {word for _, word in stems}
        found = [
            pair for name in self._names if len(present & name.words) >= name.need for pair in _windows(name, stems)
        ]
        found.sort(key=lambda pair: (-pair[0], pair[1].start))
        kept: list[tuple[float, Mention]] = []
        for weight, mention in found:
            if not any(w > weight and m.start < mention.end and mention.start < m.end for w, m in kept):
                kept.append((weight, mention))
        return sorted({mention for _, mention in kept}, key=lambda mention: (mention.start, mention.end))

    def closest(self, parts: Sequence[str]) -> str | None:
        """The option that shares the largest part of its words with a sentence, if no other option is close.

        Args:
            parts: Its `tokens`.
        """
        present = {word for _, word in content(parts)}
        shares = sorted(
            ((len(words & present) / len(words), label) for label, words in self._own_words.items() if words),
            reverse=True,
        )
        if len(shares) < 2 or shares[0][0] < _CLOSE or shares[1][0] > shares[0][0] / 2:
            return None
        return shares[0][1]


def mark_letters(text: str, options: OptionSet) -> str:
    """The text with one token for each option that it names by its letter.

    Example:
        >>> from medprm_scorer.text.answers.options import as_options
        >>> mark_letters("So option B, not (A).", as_options(["CT", "MRI"])).split()
        ['So', '§B', ',', 'not', '§A', '.']
    """
    letters = "".join(re.escape(label) for label in options.texts if len(label) == 1)
    if not letters:
        return text
    letter = f"([{letters}])"
    mark = re.compile(
        rf"\(?(?i:\b(?:option|choice|answer|opción|réponse|antwort))s? [(\"']?{letter}\b[)\"']?|[(\[]{letter}[)\]]"
        rf"|(?:(?<=\s)|\A){letter}(?!\.\s{{1,4}}(?:{SPECIES})\b)[.):](?=\s)"
        rf"|(?:选项|選択肢)\s?{letter}(?![A-Za-z0-9])|(?:(?<=\bis )|(?<=\bbe )){letter}(?=[.,;]|\Z)"
        rf"(?!\.\s{{1,4}}(?:{SPECIES})\b)"
    )
    text = _LIST.sub(lambda found: re.sub(r"\b([A-J])\b", r"(\1)", found.group()), text)
    return mark.sub(lambda found: f" {LETTER_TOKEN}{next(filter(None, found.groups()))} ", text)


_LIGHT_STEMS = frozenset(map(stem, _LIGHT.split()))
_QUALIFIER_STEMS = frozenset(map(stem, _QUALIFIERS.split()))


def _stems(text: str) -> list[str]:
    parts = tokens(text)
    return [word for _, word in content(parts)] or [stem(part) for part in parts if part[0].isalnum()]


def _name(label: str, stems: Sequence[str]) -> _Name:
    count = len(set(stems))
    need = count if count <= _FEW else max(_FEW, -int(-count * _SHARE // 1))
    return _Name(label, frozenset(stems), need, frozenset(pairwise(stems)))


def _windows(name: _Name, stems: Sequence[tuple[int, str]]) -> list[tuple[float, Mention]]:
    """The stretches with enough of a name's words, each with a weight: number of words, order, length of the name."""
    places = [(rank, place, word) for rank, (place, word) in enumerate(stems) if word in name.words]
    size = len(name.words)
    room = size + (0 if size == 1 else 1 if size <= _FEW else size)
    found: list[tuple[float, Mention]] = []
    start = 0
    while start < len(places):
        end, seen = start, list[str]()
        while end < len(places) and places[end][0] - places[start][0] < room and len(set(seen)) < size:
            seen.append(places[end][2])
            end += 1
        if len(set(seen)) < name.need:
            start += 1
            continue
        while seen[0] in seen[1:] and (seen[0], seen[1]) not in name.pairs:  # a shorter stretch contains all of them
            start, seen = start + 1, seen[1:]
        ordered = len(name.pairs.intersection(pairwise(seen)))
        weight = 100 * len(set(seen)) / size + ordered / 10 + size / 1000
        found.append((weight, Mention(name.label, places[start][1], places[end - 1][1] + 1)))
        start = end
    return found
