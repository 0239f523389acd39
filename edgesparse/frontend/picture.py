"""What a text says of the pictures that an input takes: type, layout and order of a frame, sizes, normalisation."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgesparse.errors import FrontendError

Preprocessing: TypeAlias = str | Sequence[str]
"""One text for each input that takes pictures, such as "image=uint8,nhwc,bgr,from=640x480,size=224x224,std=255"."""

WORDS = {
    **dict.fromkeys(("uint8", "float32"), "type"),
    **dict.fromkeys(("nhwc", "nchw"), "layout"),
    **dict.fromkeys(("rgb", "bgr"), "order"),
    "letterbox": "letterbox",
}
"""The words of a text, and what each is about."""

KEYS = ("from", "size", "mean", "std")

MOST_PIXELS = 1 << 24
"""The most pixels of a picture; kernels count its elements in 32 bits."""

EXAMPLE = "image=uint8,nhwc,rgb,from=640x480,size=224x224,mean=123.7:116.3:103.5,std=58.4:57.1:57.4"

_SIZE = re.compile(r"([1-9][0-9]{0,6})x([1-9][0-9]{0,6})")


@dataclass(frozen=True)
class Frame:
    """What a compiled model takes in the place of an input: by what text, and the shape that the input had."""

    text: str
    kind: str  # "rgb", "bgr" or "grey", with "-planes" behind it where [3, H, W]; "" where it is no uint8
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """What a text says of an input; what it leaves out is None. Sizes are width, height."""

    text: str
    name: str
    dtype: str = "uint8"
    layout: str | None = None
    order: str | None = None
    letterbox: bool = False
    frame: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @classmethod
    def parse(cls, text: str) -> Picture:
        """Read NAME=part,part,...

        Raises: FrontendError: no name, or a part that is unknown, given twice or out of range.
        """
        name, separator, rest = text.partition("=")
        if not separator or not name or "," in name:
            raise FrontendError(f"preprocess: got {text!r}, expected the name of an input, =, and parts: {EXAMPLE}")
        given: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in rest.split(","))):
            key, value = _part(name, part)
            if key in given:
                raise FrontendError(f"preprocess: {name}: got {given[key]!r} and {value!r}, expected one {key}")
            given[key] = value
        return cls(
            text,
            name,
            given.get("type", "uint8"),
            given.get("layout"),
            given.get("order"),
            "letterbox" in given,
            _pixels(name, "from", given.get("from")),
            _pixels(name, "size", given.get("size")),
            _numbers(name, "mean", given.get("mean", "0")),
            _numbers(name, "std", given.get("std", "1")),
        )

    @property
    def kind(self) -> str:
        """What a frame of three channels is called."""
        planes = "-planes" if self.layout == "nchw" else ""
        return f"{self.order or 'rgb'}{planes}" if self.dtype == "uint8" else ""

    def fail(self, message: str) -> FrontendError:
        """An error that says for which input."""
        return FrontendError(f"preprocess: {self.name}: {message}")


def _part(name: str, part: str) -> tuple[str, str]:
    """What a part is about, and what it says."""
    key, separator, value = part.partition("=")
    if separator and key in KEYS:
        return key, value
    if not separator and part in WORDS:
        return WORDS[part], part
    known = [*WORDS, *(f"{key}=" for key in KEYS)]
    near = difflib.get_close_matches(key + separator, known, n=1)
    guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise FrontendError(f"preprocess: {name}: unknown part {part!r}; {guess}")


def _pixels(name: str, key: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text)
    if found is None or int(found[1]) * int(found[2]) > MOST_PIXELS:
        raise FrontendError(
            f"preprocess: {name}: {key}: got {text!r}, expected WIDTHxHEIGHT, such as 640x480, "
            f"of at most {MOST_PIXELS:,} pixels"
        )
    return int(found[1]), int(found[2])


def _numbers(name: str, key: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(each) for each in text.split(":"))
    except ValueError:
        numbers = (math.nan,)
    with np.errstate(over="ignore"):
        held = np.array(numbers).astype(np.float32)
    if not np.isfinite(held).all() or (key == "std" and not (held > 0).all()):
        wanted = "numbers above 0" if key == "std" else "numbers"
        raise FrontendError(
            f"preprocess: {name}: {key}: got {text!r}, expected {wanted}, one or one per channel: 123.7:116.3:103.5"
        )
    return numbers


def pictures(preprocess: Preprocessing | None) -> tuple[Picture, ...]:
    """What the texts say, for each input once.

    Raises: FrontendError: a text cannot be read, or an input has two.
    """
    texts = (preprocess,) if isinstance(preprocess, str) else preprocess or ()
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise FrontendError(f"preprocess: got {preprocess!r}, expected a text for each input, such as {EXAMPLE}")
    found = tuple(Picture.parse(text) for text in texts)
    names = [picture.name for picture in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FrontendError(f"preprocess: {twice}: is given twice, expected all parts in one text")
    return found
