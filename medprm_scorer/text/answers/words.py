"""The words with which people and models state an answer, consider one hypothetically, or decline, by language.

Data for the modules that read answers: alternatives of regular expressions, in any letter case. `words` makes a pattern
of tables: whole words where a language puts spaces between them, anywhere in Chinese and Japanese.
"""

from collections.abc import Mapping

_UNSPACED = ("zh", "ja")


def either(*lines: str) -> str:
    """Alternatives, for readability on several lines."""
    return "|".join(lines)


def whole(alternatives: str) -> str:
    """A pattern for any of some alternatives as whole words."""
    return rf"(?<![^\W_])(?:{alternatives})(?![^\W_])"


def words(*tables: Mapping[str, str]) -> str:
    """A pattern for any of the alternatives of some tables."""
    spaced = "|".join(table[name] for table in tables for name in table if name not in _UNSPACED)
    unspaced = "|".join(table[name] for table in tables for name in table if name in _UNSPACED)
    return rf"(?:{whole(spaced)}{'|' + unspaced if unspaced else ''})"


ANSWER = {
    "en": either(
        r"answer(?:[ _](?:choice|option|letter))?",
        r"(?:correct|right|best|final|selected|chosen|preferred|optimal|appropriate|suitable|likely|plausible|accurate"
        r"|only|my|your)[ _](?:answer[ _])?(?:option|choice|selection|response|pick)",
    ),
    "de": r"antwort(?:möglichkeit)?|lösung|(?:richtige|korrekte|beste) (?:option|aussage)",
    "fr": r"réponse(?: (?:correcte|finale|exacte|juste))?|(?:bonne|meilleure) option|option correcte",
    "es": r"respuesta(?: (?:correcta|final))?|(?:mejor|única) opción|opción (?:correcta|más adecuada|más probable)",
    "ar": r"(?:ال)?[إا]جابة(?: الصحيحة)?(?: النهائية)?|(?:ال)?جواب(?: الصحيح)?(?: النهائي)?",
    "zh": r"答案|(?:正确|最佳|最合适的?)选项|正确的?选择",
    "ja": r"答え|正解|解答|回答|正答",
}
"""Names for an answer in a statement: `Answer: B`, `the correct option is B`."""

IS = {
    "en": either(
        r"is|are|was|remains|seems|appears",
        r"(?:would|should|must|will|has to|(?:seems|appears) to)"
        r"(?: (?:therefore|thus|then|most likely|likely|probably))?"
        r"(?: have to)? be",
    ),
    "de": r"ist|lautet|wäre|sollte",
    "fr": r"est|serait",
    "es": r"es|sería",
    "ar": r"هي|هو",
    "zh": r"(?:应该?|应当)?(?:是|为|选择?)",
    "ja": r"は|が",
}
"""What comes between such a name and the answer."""

CHOOSE = {
    "en": either(
        r"(?:i|we)(?:['’]d|['’]ll| would| will| must| should)?(?: therefore| thus| most likely| probably)?"
        r" (?:choose|select|pick|go with|opt for|vote for|answer)",
        r"(?:i['’]m|i am|we are) going with",
        r"(?:choose|select|pick)(?= \(?(?:option|choice|answer)\b)",
    ),
    "de": r"ich (?:würde|wähle|entscheide mich für)|wir wählen",
    "fr": r"je (?:choisis|choisirais|retiens)|nous choisissons",
    "es": r"elijo|elegiría|escojo|selecciono",
    "ar": r"[أن]ختار",
    "zh": r"(?:故|因此|所以|应该?|应当|我会?|本题)(?:应该?|应当|会)?选择?",
}
"""What comes before an answer that the writer picks: `I would choose B`."""

HENCE = {
    "en": r"therefore|thus|hence|ergo|so|consequently|accordingly|leaving|which leaves|leaves",
    "de": r"daher|deshalb|somit|folglich|also",
    "fr": r"donc|ainsi|par conséquent",
    "es": r"por lo tanto|por tanto|por ende|así que|entonces",
    "ar": r"لذلك|إذن|بالتالي",
    "zh": r"因此|所以|故|综上",
    "ja": r"したがって|よって|ゆえに",
}
"""What comes before a conclusion."""

IS_CORRECT = {
    "en": either(
        r"(?:is|would be|seems|appears)(?: to be)?(?: therefore| thus| clearly| indeed| most likely| probably)?"
        r"(?: the| our| my)?(?: single)? (?:correct|right|best|answer"
        r"|most (?:likely|appropriate|suitable|accurate|plausible|probable|consistent))",
        r"(?:fits|matches) best|best (?:fits|matches|explains|describes)",
    ),
    "de": r"ist(?: daher| somit| also)?(?: die)? (?:richtig\w*|korrekt\w*|beste|zutreffend)|trifft zu|stimmt",
    "fr": r"est(?: donc)?(?: la)? (?:correcte?|bonne|juste|meilleure|exacte)",
    "es": r"es(?: la)? (?:correcta|mejor|adecuada|más probable)",
    "ar": r"(?:هو |هي )?(?:ال)?(?:صحيحة?|أصح)",
    "zh": r"(?:选项)?(?:是|为)?(?:正确|最佳|最合适|对的)",
    "ja": r"[がは](?:正解|正しい|最も(?:適切|可能性)|最適|適切)|を(?:選び|選ぶ|選択)",
}
"""What comes after an option that is said to be right: `option B is correct`."""

OPTION = {
    "en": r"option|choice|letter|answer(?: choice| option)?",
    "de": r"option|antwort(?:möglichkeit)?|buchstabe",
    "fr": r"option|réponse|l['’]option|lettre|proposition",
    "es": r"opción|letra|respuesta",
    "ar": r"(?:ال)?خيار|(?:ال)?حرف",
    "zh": r"选项",
    "ja": r"選択肢",
}
"""Names for an option before its letter."""

HEDGE = {
    "en": either(
        r"most likely|most probably|most appropriately|likely|probably|therefore|thus|hence|clearly|indeed|definitely",
        r"simply|then|still|also|now|obviously|certainly|actually|in fact|the|to be|best|either|both",
        r"as follows|given by",
    ),
    "de": r"daher|somit|also|wahrscheinlich|am ehesten|die|der|das",
    "fr": r"donc|probablement|la|le",
    "es": r"por lo tanto|probablemente|entonces|la|el",
    "ar": r"إذن",
    "zh": r"选",
    "ja": r"おそらく",
}
"""What may come before a stated answer without changing it: `the answer is most likely B`."""

SUPPOSED = {
    "en": either(
        r"if|were (?:he|she|it|they|the patient)|unless|suppos\w+|assuming|tempt\w*|at first|initially|otherwise",
        r"would have|had (?:he|she|it|they|the)|one (?:might|could|may)|(?:might|could|may) (?:think|seem|argue)",
        r"common mistake|hypothetical\w*",
    ),
    "de": r"wenn|falls|hätte|zunächst",
    "fr": r"si|aurait",
    "es": r"si|hubiera",
    "ar": r"إذا|لو",
    "zh": r"如果|若|假如",
    "ja": r"もし|場合は|であれば",
}
"""What makes a whole sentence hypothetical: `if she were pregnant, the answer is C`."""

DENIED = {
    "en": either(
        r"not|\w{1,9}n['’]t|never|cannot|hardly|doubt|incorrect|wrong|worst|least|second|alternative|another|other|previous",
        r"distractor|trap|instead of|rather than|unlike|except|eliminat\w*|exclud\w*|rul(?:e|es|ed|ing) out|no|whether",
    ),
    "de": r"nicht|kein\w*|falsch\w*|statt",
    "fr": r"pas|aucun\w*|fausse?|sauf|incorrecte?",
    "es": r"no|ningun\w*|incorrect\w*|falsa|salvo",
    "ar": r"ليس\w*|لا|غير|خاط\w*",
    "zh": r"不|并非|错误|排除",
    "ja": r"ない|ではなく|誤",
}
"""What turns a clause into its opposite, or to another answer: `the answer is not A`, `the wrong answer is C`."""

CONTRAST = {
    "en": r"but|however|yet|although|though|instead",
    "de": r"aber|jedoch|sondern",
    "fr": r"mais|cependant",
    "es": r"pero|sino|sin embargo",
    "ar": r"لكن",
    "zh": r"但|然而|而是",
    "ja": r"しかし|だが",
}
"""After these words a sentence may say the opposite of what it said before."""

OR = r"and/or|/|,|&|\+|;|or|and|und|oder|ou|et|y|o|或者?|和|与|または|か|と|أو|و"
"""What comes between two letters of one statement: `A or C`."""

DECLINING = {
    "en": either(
        r"(?:can(?:not|['’]t| not)|could(?: not|n['’]t)|(?:unable|impossible|not possible|difficult|hard|not able) to)"
        r"(?: be)?(?: \w+ly| with certainty| really)? (?:(?:determin|answer|conclude|decide)\w*|say|tell|know"
        r"|(?:give|provide|offer|draw) (?:you )?(?:an? |any |the )?(?:\w+ ){0,2}"
        r"(?:answer|advice|recommendations?|conclusions?|diagnosis|dose))",
        r"(?:do not|don['’]t) know|(?:am|['’]m) not (?:sure|certain|able)",
        r"(?:documents?|passages?|sources?|contexts?|texts?|snippets?|excerpts?|literature|evidence|information|question"
        r"|abstract|data|studies)(?: \w+)? (?:do|does|did)(?: not|n['’]t)(?: \w+ly)? (?:contain|provide|mention|address"
        r"|specify|include|give|state|answer|say|discuss|cover)",
        r"(?:not (?:enough|sufficient|adequate)|insufficient|inadequate|too little|(?:lack|absence) of(?: \w+)?)"
        r" (?:\w+ )?(?:information|evidence|data|details)",
        r"no (?:\w+ )?(?:information|data|details)"
        r" (?:is|are|was|were|about|on|regarding|in the|available|provided|given|to)",
        r"no (?:definitive|clear|definite|straightforward) answer|not a definitive",
        r"(?:is|are|was|were)(?: not|n['’]t) (?:\w+ )?(?:in|by|from) the (?:\w+ )?"
        r"(?:documents?|passages?|sources?|context|texts?|snippets?)",
        r"(?:more|additional|further) (?:specific )?(?:information|details|data) (?:is|are|would be)"
        r" (?:needed|required|necessary)",
        r"unanswerable|undetermined|indeterminable",
    ),
    "de": either(
        r"(?:lässt|lassen|kann|können|konnte)\b[^.!?\n]{0,80}\bnicht\b[^.!?\n]{0,40}"
        r"(?:beantworte\w*|bestimm\w*|sagen|feststell\w*|beurteil\w*|entscheid\w*|entnehmen|ermitteln?)",
        r"(?:nicht genügend|zu wenig|keine (?:ausreichenden|genauen|näheren|weiteren)?)"
        r" ?(?:informationen|angaben|daten)",
        r"(?:ich )?weiß (?:es )?(?:ich )?nicht|unzureichende (?:informationen|daten)",
    ),
    "fr": either(
        r"(?:ne|n['’]) ?(?:peux|peut|pouvons|permet(?:tent)?|est)\b[^.!?\n]{0,40}\b(?:pas|possible)\b[^.!?\n]{0,40}"
        r"(?:détermin\w*|répond\w*|conclure|dire|établir)",
        r"(?:pas (?:assez|suffisamment)|manque) d['’](?:informations?|éléments)",
        r"je ne sais pas|informations? insuffisantes?|impossible de (?:déterminer|répondre|conclure|dire)",
    ),
    "es": either(
        r"no (?:se )?(?:puedo|puede|es posible|podemos|permiten?)\b[^.!?\n]{0,30}"
        r"(?:determin\w*|respond\w*|concluir|decir|saber|establecer)",
        r"no hay (?:suficiente|bastante|información)|información insuficiente|no (?:lo )?sé",
        r"imposible (?:determinar|responder|saber)",
    ),
    "ar": either(
        r"لا (?:يمكن|أستطيع|يمكنني|نستطيع)[^.!?؟\n]{0,30}(?:تحديد|الإجابة|معرفة|الجزم|الاستنتاج)",
        r"لا توجد معلومات|لا أعرف|لا أعلم|المعلومات (?:غير كافية|لا تكفي)|معلومات غير كافية",
    ),
    "zh": either(
        r"(?:无法|不能|难以|没法)[^。！？\n]{0,20}(?:确定|回答|判断|得出|作答|得知)",
        r"(?:信息|资料|证据|数据)(?:不足|不够)|不知道|没有(?:足够|提供)",
    ),
    "ja": either(
        r"(?:判断|決定|特定|回答|確定|断定|答え|お答え|結論づけ)[^。！？\n]{0,12}"
        r"(?:できない|できません|できかね|困難|られない|られません)",
        r"(?:情報|データ|根拠)[^。！？\n]{0,8}(?:不足|不十分|足り(?:ない|ません)|ありません)",
        r"わかりません|分かりません|不明です",
    ),
}
"""How a writer says that the question cannot be answered."""

YES_NO = {
    word: meaning
    for meaning, names in {
        "yes": "yes ja oui sí si 是 はい نعم",
        "no": "no nein non 否 いいえ لا",
        "maybe": "maybe unclear uncertain unknown vielleicht peut-être quizás quizá 也许 たぶん ربما",
    }.items()
    for word in names.split()
}
"""What the words of a yes/no question mean."""
