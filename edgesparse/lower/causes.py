"""What TVM says of a failure, in one line."""

from __future__ import annotations

import re

SHOWN = 200
"""Characters of a cause that are told."""

_PLACE = re.compile(r"^(\[[\d:]+\] )?(\S+:\d+: )?(\S*Error: )?(Check failed: .*?: )?")
"""Time, place in TVM's sources, kind, and the condition that does not hold."""


def cause(err: Exception) -> str:
    """The first line of what TVM says, without its traceback."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
    return (_PLACE.sub("", lines[0])[:SHOWN] if lines else "") or type(err).__name__
