"""Shows the section `Example:` of a docstring as code, as griffe does with `Examples:`."""

import re
from typing import Any

import griffe


class ExamplesExtension(griffe.Extension):
    """Renames the heading in what was read; the sources keep theirs."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Look at every docstring once."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
