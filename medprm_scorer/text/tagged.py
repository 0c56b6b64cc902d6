"""Solutions that already have step tags, as stored in the released test set (`prm_processed_solution`).

The authors' scorer reads these texts unchanged, so nothing is stripped or joined here. This is only for such records,
never for a candidate: in untrusted text a tag means nothing.
"""

import re

from medprm_scorer.text.prompts import STEP_TAG

_TAG = re.compile(re.escape(STEP_TAG) + r"(?=\s|\Z)")


def tagged_pieces(text: str) -> tuple[str, ...]:
    """The exact text before each tag; text after the last tag is left out, since no reward depends on it.

    The tag counts only before whitespace or the end, so never inside a Cyrillic word.

    Args:
        text: Steps, each followed by the tag.

    Returns:
        One piece for each tag: `" ки".join(pieces) + " ки"` begins the text. None without a tag.

    Example:
        >>> tagged_pieces("Step 1: Fever. ки Step 2: So (B). ки")
        ('Step 1: Fever.', ' Step 2: So (B).')
        >>> tagged_pieces("Step 1: боль в кишечнике ки and so on")
        ('Step 1: боль в кишечнике',)
    """
    return tuple(_TAG.split(text)[:-1])
