"""What a board needs to run artifacts, ready made; and what was copied to one, taken away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesparse.devices import programs, targets
from edgesparse.devices.targets import Target
from edgesparse.outputs import new_folder
from edgesparse.pipeline.arguments import Progress, near_names, silent
from edgesparse.tables import Part, Report, Table, bytes_text

_PURPOSES = {
    "esrun": "runs artifacts; one static program",
    ".whl": "edgesparse_runtime for Python, on glibc",
    ".h": "the API for C",
    ".so": "the library to load, for glibc",
    ".a": "the library to link, for glibc",
    ".musl": "of the musl libc, which esrun holds parts of",
    "LICENSE": "of everything else",
}


@dataclass(frozen=True)
class BoardFile:
    """A file for the board, and what it is there for."""

    name: str
    size_bytes: int
    purpose: str


@dataclass(frozen=True, repr=False)
class RuntimeReport(Report):
    """What was put into `folder`, for a system of `platform`."""

    target: str
    platform: str
    folder: Path
    files: tuple[BoardFile, ...]

    def parts(self) -> Iterator[Part]:
        """The files, and what each is for."""
        yield Table(("file", "size", ""), [(f.name, bytes_text(f.size_bytes), f.purpose) for f in self.files])
        android = "; on Android only esrun runs" if self.platform == "aarch64" else ""
        yield f"{self.folder}: for {self.target}, Linux on {self.platform}{android}"


@near_names
def runtime(target: str | Target, output: str | Path, *, progress: Progress = silent) -> RuntimeReport:
    """Put all that a board needs to run artifacts of `target` into a folder: program, Python package, libraries.

    Args:
        target: as for `compile`.
        output: a folder that does not exist or is empty.

    Raises: EdgesparseError: there is no such target, the folder holds something, or it cannot be written.
    """
    device = target if isinstance(target, Target) else targets.load(target)
    folder = Path(output)
    with new_folder(folder, "-o") as made:
        progress(f"the runtime for {device.cpu.isa}")
        programs.board(device.cpu.isa, made)
    files = (BoardFile(file.name, file.stat().st_size, _purpose(file)) for file in sorted(folder.iterdir()))
    return RuntimeReport(device.name, device.cpu.isa, folder, tuple(files))


@near_names
def clean(on: str) -> None:
    """Remove from a device all that was ever copied there.

    Args: on: the device, as for `run`.

    Raises: EdgesparseError: it cannot be reached, or something cannot be removed.
    """
    from edgesparse.devices.remote import Remote

    Remote(on).clean()


def _purpose(file: Path) -> str:
    return _PURPOSES.get(file.suffix) or _PURPOSES[file.name]
