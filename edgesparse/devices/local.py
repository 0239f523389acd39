"""This machine: artifacts are run in this process, by the runtime that ships with edgesparse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.devices import host
from edgesparse.errors import MeasureError
from edgesparse.inputs import require_kind
from edgesparse.signatures import ARTIFACT

if TYPE_CHECKING:
    from edgesparse_runtime import Model


class Local:
    """This machine."""

    name = "this machine"
    note = ""

    def why_not(self, isa: str, features: Iterable[str]) -> str:
        """Why it cannot run code for an instruction set with some features; empty where it can."""
        return host.detect().why_not(isa, features)

    def refuses(self, artifact: Path | str) -> str:
        """Why its CPU cannot run an artifact; empty where it can, and where something else is wrong with it."""
        from edgesparse_runtime import EdgesparseRuntimeError, Model

        try:
            Model(artifact).close()
        except EdgesparseRuntimeError as err:
            return str(err) if err.status == "ES_ERR_CPU" else ""
        return ""

    @contextmanager
    def open(self, artifact: Path | str, threads: int = 1) -> Iterator[Model]:
        """See `Device`; errors of the runtime become ours."""
        from edgesparse_runtime import EdgesparseRuntimeError, Model

        remedy = "compile a model first: edgesparse compile MODEL -o FILE.esp"
        require_kind(Path(artifact), "an edgesparse artifact", MeasureError, ARTIFACT, remedy=remedy)
        try:
            with Model(artifact, threads=threads) as model:
                yield model
        except EdgesparseRuntimeError as err:
            text = str(err)
            raise MeasureError(text if text.startswith(str(artifact)) else f"{artifact}: {text}") from err


LOCAL = Local()
