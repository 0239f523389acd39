"""What TVM says of a failure, in one line."""

from __future__ import annotations

import re

SHOWN = 200
"""Characters of a cause that are told."""

_PLACE = re.compile(r"^(\[[\d:]+\] )?(\S+:\d+: )?(\S*Error: )?(Check failed: .*?: )?")
"""Time, place in TVM's sources, kind, and the condition that does not hold."""

_DUMPS = (
    (re.compile(r'ir\.Op\(span=.*?name="([\w.]+)".*?support_level=\d+\)'), r"\1"),
    (re.compile(r"\bT\.u?int\d+\((-?\d+)\)"), r"\1"),
)
"""How TVM prints an operator and a number, and what they are."""


def cause(err: Exception) -> str:
    """The first line of what TVM says, without its traceback."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
    first = _PLACE.sub("", lines[0]) if lines else ""
    for dump, plain in _DUMPS:
        first = dump.sub(plain, first)
    return first[:SHOWN] or type(err).__name__
