"""What tests of several rooms share: the command line, as a function and as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong; lines of progress may come before it."""
        *progress, last = self.stderr.splitlines()
        assert all(line.endswith(" ...") for line in progress), self.stderr
        return last


Command = Callable[..., Done]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden files are rewritten on request, and then reviewed as any other change."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files that tests compare with")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `edgesparse ARGUMENTS...` in this process and in an empty directory."""
    from edgesparse.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, captured.out, captured.err)

    return run


def temporary_folder(cwd: Path) -> Path:
    """Where a program started in `cwd` puts its temporary files."""
    return cwd.with_name(f"{cwd.name}-tmp")


def start_program(*arguments: object, cwd: Path, **options: object) -> subprocess.Popen[str]:
    """Start `edgesparse ARGUMENTS...` as a program of its own."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtime" / "python"), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "edgesparse", *map(str, arguments)]
    temporary = temporary_folder(cwd)
    temporary.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(temporary)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, cwd=cwd, env=environment, text=True, **pipes, **options)  # type: ignore[call-overload]


@pytest.fixture
def program(tmp_path: Path) -> Command:
    """Runs `edgesparse ARGUMENTS...` as a program of its own, in an empty directory."""

    def run(*arguments: object, **options: object) -> Done:
        process = start_program(*arguments, cwd=tmp_path, **options)
        out, err = process.communicate(timeout=300)
        return Done(process.returncode, out, err)

    return run
