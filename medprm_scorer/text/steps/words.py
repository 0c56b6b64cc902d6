"""Words with which people and models number their steps and close a text, by language: data for `layouts`.

Every entry is matched in any letter case. To add a language, add its words here; nothing else is needed.
"""

STEP_WORDS: dict[str, tuple[str, ...]] = {
    "en": ("step",),
    "ar": ("الخطوة", "خطوة"),
    "cs": ("krok",),
    "da": ("trin",),
    "de": ("schritt",),
    "es": ("paso", "etapa"),
    "fa": ("گام", "مرحله"),
    "fr": ("étape", "etape"),
    "he": ("שלב",),
    "hi": ("चरण",),
    "id": ("langkah",),
    "it": ("passo", "passaggio", "fase"),
    "ja": ("ステップ", "手順", "段階"),
    "ko": ("단계",),
    "nl": ("stap",),
    "pt": ("passo", "etapa"),
    "ru": ("шаг",),
    "sv": ("steg",),
    "tr": ("adım",),
    "uk": ("крок",),
    "vi": ("bước",),
    "zh": ("步骤", "步驟"),
}
"""A step is labelled with one of these and a number: `Step 1`, `Schritt 1`, `步骤1`."""

NUMBER_WORDS: dict[str, tuple[str, ...]] = {
    "en": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    "de": ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf"),
    "es": ("uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce"),
    "fr": ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze"),
    "it": ("uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove", "dieci", "undici", "dodici"),
    "pt": ("um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez", "onze", "doze"),
    "ar": ("الأولى", "الثانية", "الثالثة", "الرابعة", "الخامسة", "السادسة", "السابعة", "الثامنة", "التاسعة", "العاشرة"),
    "zh": ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"),
    "roman": ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"),
}
"""Numbers from 1 up, as written after a word for step."""

NUMBERED_STEPS: dict[str, tuple[str, ...]] = {
    "zh": ("第一步", "第二步", "第三步", "第四步", "第五步", "第六步", "第七步", "第八步", "第九步", "第十步"),
    "ko": ("1단계", "2단계", "3단계", "4단계", "5단계", "6단계", "7단계", "8단계", "9단계", "10단계"),
    "de": ("erster schritt", "zweiter schritt", "dritter schritt", "vierter schritt", "fünfter schritt"),
    "en": ("first step", "second step", "third step", "fourth step", "fifth step", "sixth step"),
    "es": ("primer paso", "segundo paso", "tercer paso", "cuarto paso", "quinto paso"),
    "fr": ("première étape", "deuxième étape", "troisième étape", "quatrième étape", "cinquième étape"),
    "ja": ("第一ステップ", "第二ステップ", "第三ステップ", "第四ステップ", "第五ステップ"),
}
"""Steps whose number comes first or inside, from 1 up."""

ORDINALS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("first", "firstly", "first of all"), ("second", "secondly"), ("third", "thirdly"), ("fourth", "fourthly"),
     ("fifth", "fifthly"), ("sixth", "sixthly")),
    (("erstens", "zuerst"), ("zweitens",), ("drittens",), ("viertens",), ("fünftens",)),
    (("premièrement", "d'abord", "tout d'abord"), ("deuxièmement",), ("troisièmement",), ("quatrièmement",)),
    (("primero", "en primer lugar"), ("segundo", "en segundo lugar"), ("tercero", "en tercer lugar"), ("cuarto",)),
    (("首先", "第一"), ("其次", "第二"), ("第三",), ("第四",), ("第五",)),
    (("まず", "第一に"), ("次に", "第二に"), ("第三に",)),
    (("أولا", "أولًا", "أولاً"), ("ثانيا", "ثانيًا", "ثانياً"), ("ثالثا", "ثالثًا", "ثالثاً"), ("رابعا", "رابعًا",
    "رابعاً")),
)  # fmt: skip
"""Words at the start of a sentence that count its steps: for each language the words for first, second, …"""

NEXT_ORDINALS: tuple[str, ...] = (
    "next", "finally", "lastly", "als nächstes", "schließlich", "ensuite", "enfin", "luego", "finalmente", "por último",
    "然后", "接着", "最后", "そして", "最後に", "ثم", "أخيرا", "أخيرًا", "أخيراً",
)  # fmt: skip
"""Words that continue a sequence after one of `ORDINALS`, at any position."""

REFERENCE_WORDS: tuple[str, ...] = (
    "in", "of", "see", "from", "to", "by", "with", "per", "as", "than", "at", "for", "after", "before", "under", "via",
    "following", "during", "using", "through", "and", "or", "on", "like", "unlike", "since", "said", "repeat", "beyond",
)  # fmt: skip
"""English words after which `Step 1:` refers to an earlier step, and does not start one."""

ANSWER_HEADS: tuple[str, ...] = (
    "answer", "final answer", "the answer", "the final answer", "correct answer", "the correct answer", "best answer",
    "final diagnosis", "final choice", "antwort", "endgültige antwort", "réponse", "réponse finale", "respuesta",
    "respuesta final", "risposta", "risposta finale", "resposta", "resposta final", "答案", "最终答案", "正确答案",
    "答え", "最終回答", "回答", "정답", "최종 답", "الإجابة", "الإجابة النهائية", "الجواب",
)  # fmt: skip
"""What comes before the answer on a separate line; such a line is part of the step before it."""

SOURCE_HEADS: tuple[str, ...] = (
    "sources", "references", "citations", "bibliography", "works cited", "further reading", "quellen", "literatur",
    "literaturverzeichnis", "références", "fuentes", "referencias", "fonti", "referências", "参考文献", "参考资料",
    "来源", "出典", "المصادر", "المراجع",
)  # fmt: skip
"""Headings of a list of sources. Only plurals: `Source: the lungs` is medicine."""

DISCLAIMER_HEADS: tuple[str, ...] = (
    "disclaimer", "medical disclaimer", "important note", "important", "note", "please note", "this is",
    "this information", "this answer", "this response", "this explanation", "this analysis", "this content",
    "i am not a", "i'm not a", "i am an ai", "i'm an ai", "as an ai", "always consult", "please consult",
    "remember to consult", "haftungsausschluss", "hinweis", "avertissement", "remarque", "aviso", "nota",
    "免责声明", "注意", "免責事項", "إخلاء المسؤولية", "تنبيه",
)  # fmt: skip
"""How a disclaimer starts; it must also contain one of `DISCLAIMER_PHRASES`."""

DISCLAIMER_PHRASES: tuple[str, ...] = (
    "medical advice", "healthcare professional", "health care professional", "healthcare provider",
    "medical professional", "health professional", "qualified physician", "educational purposes",
    "informational purposes", "not a doctor", "not a substitute", "licensed", "ärztlichen rat", "ärztliche beratung",
    "avis médical", "consejo médico", "医疗建议", "专业医生", "医学的助言", "نصيحة طبية", "استشارة طبية",
)  # fmt: skip
"""Phrases of a disclaimer."""
