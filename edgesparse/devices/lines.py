"""Requests to `esrun --serve` and its answers: lines of JSON over a pipe."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from edgesparse.devices.pipe import Pipe
from edgesparse.errors import MeasureError

OWNER = secrets.token_hex(16)
"""This process, for locks."""

QUOTED = 80  # characters of what is no answer


def ask(pipe: Pipe, request: Mapping[str, Any], tensors: Sequence[bytes] = ()) -> Any:
    """Send a request and the tensors that follow it; returns the answer.

    Raises: MeasureError: there is none, or it says what failed.
    """
    pipe.write(json.dumps(request, ensure_ascii=False).encode(errors="surrogateescape") + b"\n")
    for content in tensors:
        pipe.write(content)
    return answer(pipe)


def answer(pipe: Pipe) -> Any:
    """The next answer, an object.

    Raises: MeasureError: something else comes, or it says what failed.
    """
    line = pipe.line()
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        said = line[:QUOTED].decode(errors="replace").strip()
        raise MeasureError(f"{pipe.name}: said {said!r} where esrun answers")
    if "error" in told:
        raise MeasureError(f"{pipe.name}: {told['error']}")
    return told
