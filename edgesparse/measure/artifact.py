"""Artifacts, run by the runtime that ships with edgesparse; its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesparse_runtime import EdgesparseRuntimeError, Model

from edgesparse.errors import MeasureError
from edgesparse.inputs import require_kind
from edgesparse.signatures import ARTIFACT


@contextmanager
def open_artifact(path: Path | str, threads: int = 1) -> Iterator[Model]:
    """Open an artifact for the length of a `with` block.

    Raises: MeasureError: it cannot be opened here, or the block hands it inputs that do not fit.
    """
    remedy = "compile a model first: edgesparse compile MODEL -o FILE.esp"
    require_kind(Path(path), "an edgesparse artifact", MeasureError, ARTIFACT, remedy=remedy)
    try:
        with Model(path, threads=threads) as model:
            yield model
    except EdgesparseRuntimeError as err:
        text = str(err)
        raise MeasureError(text if text.startswith(str(path)) else f"{path}: {text}") from err
