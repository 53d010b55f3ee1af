"""Shows the `Members` of a hardware component as a section of its own in the reference.

An extension of griffe, which reads the docstrings (`mkdocs.yml`): numpydoc has no such section, and
`Attributes` is the one that it has for what can be reached by name.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Members(griffe.Extension):
    """Renames the section before docstrings are parsed."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.docstring is not None:
            cls.docstring.value = re.sub(
                r"^Members\n-------$", "Attributes\n----------", cls.docstring.value, flags=re.M
            )
