"""What the functions of the pipeline take alike."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, TypeVar

from edgesparse.errors import FrontendError, OptionError, nearest

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgesparse.frontend import Examples, Frame, Source

InputShapes = Mapping[str, Sequence[int]]
Bindings = Mapping[str, Any]
"""Values by the names of inputs, which become constants: see `frontend.bound`."""
Preprocessing: TypeAlias = str | Sequence[str] | None
"""How frames of a camera become inputs, a text an input: see `frontend.preprocessed`."""


_P = ParamSpec("_P")
_R = TypeVar("_R")


def near_names(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, which tells the nearest name it knows of a keyword that it does not know.

    Raises: OptionError: such a keyword, before anything is done.
    """
    known = list(inspect.signature(function).parameters)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for name in kwargs:
            if name not in known:
                raise OptionError(f"{function.__name__}: unknown option {name!r}{nearest(name, known)}")
        return function(*args, **kwargs)

    return checked


class Progress(Protocol):
    """Called with a few words when a stage begins, and with the share of it that is done where that is known."""

    def __call__(self, stage: str, share: float | None = None) -> None:
        """Take note."""


def silent(stage: str, share: float | None = None) -> None:
    """Report no progress."""


def read(model: Source, examples: Examples, input_shapes: InputShapes | None, bind: Bindings | None) -> ir.Model:
    """The model as it is, but for inputs that are bound.

    Raises: FrontendError: it cannot be read, inputs cannot be bound, or the shapes are none.
    """
    from edgesparse import frontend

    shapes = input_shapes or {}
    if not isinstance(shapes, Mapping) or not all(isinstance(shape, Sequence) for shape in shapes.values()):
        raise FrontendError(f"input_shapes: got {input_shapes!r}, expected sizes by the names of inputs")
    source = frontend.read(model, examples, frontend.blank(model, input_shapes))
    return frontend.bound(source, bind) if bind else source


def framed(
    source: ir.Model, preprocess: Preprocessing, input_shapes: InputShapes | None
) -> tuple[ir.Model, dict[str, Frame], InputShapes | None]:
    """The model that takes frames where `preprocess` says so, what they are, and the shapes of its other inputs.

    Raises: FrontendError: a text cannot be read, or an input takes no such pictures.
    """
    from edgesparse import frontend

    if not preprocess:
        return source, {}, input_shapes
    model, frames = frontend.preprocessed(source, preprocess, input_shapes)
    return model, frames, {name: shape for name, shape in (input_shapes or {}).items() if name not in frames}


def read_as_compiled(
    model: Source, examples: Examples, feeds: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
) -> ir.Model:
    """A model with the inputs bound, and taking the frames, as when an artifact was compiled from it.

    Args: feeds: inputs of the artifact, which trace a PyTorch module that comes with none.

    Raises: FrontendError: it cannot be read so.
    """
    from edgesparse import frontend

    recorded = manifest.get("preprocess") or {}
    try:
        texts = [frame["text"] for frame in recorded.values()]
        shapes = {name: tuple(map(int, frame["shape"])) for name, frame in recorded.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise FrontendError("the artifact records a preprocessing that is not known; compile the model again") from err
    source = frontend.read(model, examples, {**feeds, **(frontend.blank(model, shapes) or {})})
    bind = manifest.get("bind")
    source = frontend.bound(source, bind) if bind and isinstance(bind, Mapping) else source
    return framed(source, texts, shapes)[0]


def name_of(model: Source) -> str:
    """What reports call a model: the name of its file or factory, or "model"."""
    return os.fsencode(Path(model).name).decode(errors="replace") if isinstance(model, str | Path) else "model"
