"""Whether a letter after `the answer is` is an option's letter, or the beginning of something else."""

import re

from medprm_scorer.text.answers.words import OPTION, OR, words

LETTER = re.compile(
    rf"(?P<open>[(\[{{<]\s?)?(?:the )?(?P<named>{words(OPTION)}[\s:]{{0,3}})?(?P<bracket>[(\[{{<]\s?)?[\"'“‘]?"
    r"(?P<letter>[^\W_])(?P<tail>[\"'”’]?\s?[)\]}>])?",
    re.IGNORECASE,
)
_SECOND = re.compile(
    rf"[\"'”’]?[)\]}}]?\s{{0,3}}(?:(?:{OR})\s{{0,3}}){{1,2}}(?:{words(OPTION)}\s?)?(?P<mark>[(\[{{\"'“]?)(?P<letter>[A-Za-z0-9])"
    r"(?![^\W_])(?![-–'’][^\W_])(?![)\]}\"'”’]{0,2}[ \t](?:is|are|was|would|has|can(?:not)?|does|ist|est|es)\b)",
    re.IGNORECASE,
)
# Chinese and Japanese words that may follow a letter without a space; `B型` is hepatitis B, not an option
_JOINED = re.compile(r"です|だ|で|が|を|と|に|は|の選択|选项|项|是|正|最|对|吧|或|和|与|か|また")
_AFTER_ARTICLE = re.compile(
    r"[ \t]+(?!(?:because|since|as|for|given|which|and|or|but|due|based|in|when|is|not|if|although"
    r"|rather|instead|over|with|weil|da|car|porque)\b)[^\s–—(\-]|\n[ \t]*[a-z]"
)
SPECIES = (  # species of pathogens that questions name with the initial of the genus
    "abortus|aegypti|aeruginosa|aerogenes|afarensis|africanum|agalactiae|albicans|ambigua|americanus|anthracis|aureus|auris"
    "|avium|bacilliformis|baumannii|bovis|braziliensis|brasiliensis|brucei|burgdorferi|burnetii|canimorsus|canis|capitis"
    "|capsulatum|catarrhalis|cepacia|cereus|chaffeensis|cholerae|cloacae|coli|conorii|cruzi|cysticercosis|dermatitidis"
    "|difficile|diphtheriae|donovani|ducreyi|duodenale|dysenteriae|enterica|enteritidis|enterocolitica|epidermidis"
    "|faecalis|faecium|falciparum|flavus|flexneri|fragilis|freundii|fumigatus|garinii|genitalium|gingivalis|glabrata"
    "|gondii|gonorrhoeae|granulosus|haematobium|hemolyticus|haemolyticus|henselae|histolytica|holmesii|hominis|immitis"
    "|infantum|influenzae|interrogans|intestinalis|intracellulare|israelii|jejuni|jirovecii|kansasii|krusei|lamblia|latum"
    "|leprae|loa|longbeachae|lumbricoides|lwoffii|major|malariae|mansoni|marcescens|marinum|melitensis|meningitidis"
    "|microti|mirabilis|monocytogenes|morganii|mucilaginosa|multilocularis|multocida|mutans|neoformans|norvegicus"
    "|oralis|ovale|oxytoca|pallidum|parahaemolyticus|parapsilosis|parvum|perfringens|pertussis|pestis|phagocytophilum"
    "|pneumoniae|pneumophila|prowazekii|pseudotuberculosis|psittaci|pylori|pyogenes|quintana|rickettsii|saginata"
    "|salivarius|sanguinis|saprophyticus|schenckii|sonnei|spiralis|stercoralis|stuartii|suis|tetani|tonsurans"
    "|trachomatis|trichiura|trichiuria|tropicalis|tuberculosis|tularensis|typhi|typhimurium|urealyticum|vaginalis"
    "|vermicularis|viridans|vivax|volvulus|vulgaris|vulnificus|whipplei|whippelii|botulinum|solium|japonicum|bancrofti"
)
_IS_SPECIES = re.compile(rf"\.?\s{{1,4}}(?:{SPECIES})\b")
_NAME = re.compile(r" (?:cells?|wave|linked|diff|lymphocytes?)\b")


def letter_at(text: str, place: int) -> re.Match[str] | None:
    """The option's letter at a position; None if there is something else.

    A letter in brackets, or after `option`, always counts, in either case. A bare letter must stand alone (not
    `B-cell`, `T cell`, `D-dimer`, `A's`, `B12`); a bare `a` or `A` before more words is an article, `I` a pronoun, a
    bare capital before a species its genus (`E. coli`).
    """
    found = LETTER.match(text, place)
    if found is None:
        return None
    letter, end = found.group("letter"), found.end()
    closed = found.group("tail") and (found.group("open") or found.group("bracket"))
    following = text[end : end + 2]
    if following[:1].isalnum() and not (letter.isascii() and _JOINED.match(text, end)):
        return None
    if closed or found.group("named"):
        return found
    if following[:1] in ("-", "–", "—", "'", "’") and following[1:].isalnum():
        return None
    if letter in "aAiI" and not found.group("tail") and _AFTER_ARTICLE.match(text, end):
        return None
    if letter.isupper() and not found.group("tail") and (_IS_SPECIES.match(text, end) or _NAME.match(text, end)):
        return None
    return found


def second_letter(text: str, first: re.Match[str]) -> str | None:
    """Another letter in the same statement: `A or C`, `A, B`."""
    found = _SECOND.match(text, first.start("letter") + 1)
    if found is None:
        return None
    letter = found.group("letter")
    alone = found.group("mark") or letter.isupper() or _AFTER_ARTICLE.match(text, found.end()) is None
    return letter if alone and not (letter in "aI" and _AFTER_ARTICLE.match(text, found.end())) else None


_BOXED_OPTION = re.compile(
    rf"\(([A-Za-z])\)(?:\s|\Z)|([A-Za-z])(?:\)(?:\s|\Z)|:\s|[.:)]?\Z|(?!\.\s{{1,4}}(?:{SPECIES})\b)\.\s)"
)


def boxed_letter(content: str) -> str | None:
    """The letter, in upper case, if a box holds an option (`B`, `(B)`, `B) …`, `B: …`) and not `E. coli`."""
    option = _BOXED_OPTION.match(content)
    return (option.group(1) or option.group(2)).upper() if option else None
