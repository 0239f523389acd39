"""A Debian for arm64 in a folder; QEMU runs its programs, in namespaces of their own: this machine stays as it is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "build" / "cache" / "debian-arm64"  # made once a checkout
PACKAGES = "python3,python3-venv,python3-numpy"
TOOLS = ("mmdebstrap", "qemu-aarch64-static", "arch-test", "unshare")

_ELF = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_ENTER = f"""
echo made && read -r mapped && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc &&
printf %s ':arm64:M::{_ELF}:{_MASK}:'"$(command -v qemu-aarch64-static)":F > /proc/sys/fs/binfmt_misc/register &&
exec setpriv --reuid 0 --regid 0 --clear-groups -- "$@" < /dev/null
"""


def debian() -> Path:
    """The folder, which is made if it is missing; skips the test where it cannot be."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs to be root, and {', '.join(missing or TOOLS)}")
    if emulated("true").returncode:
        pytest.skip("this system gives no namespace that may say how programs are run")
    if not FOLDER.is_dir():
        made = FOLDER.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        options = ("--mode=root", "--architectures=arm64", "--variant=essential", f"--include={PACKAGES}")
        built = emulated("mmdebstrap", *options, "bookworm", made)
        assert built.returncode == 0, built.stderr
        made.rename(FOLDER)
    return FOLDER


def inside(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script inside Debian, in one of its folders."""
    where = Path("/") / folder.relative_to(FOLDER)
    inner = shlex.quote(f"cd {where}\n{script}")
    enter = f"mount --rbind /dev {FOLDER}/dev && exec chroot {FOLDER} sh -ec {inner}"
    return emulated("sh", "-c", enter)


def emulated(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a program where programs for arm64 run too."""
    namespaces = ("unshare", "--user", "--mount", "--pid", "--fork", "--mount-proc")
    words = [*namespaces, "sh", "-c", _ENTER, "sh", *map(str, command)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        if process.stdout.readline():  # the namespace is there, and waits for its users
            for kind in ("uid", "gid"):
                Path(f"/proc/{process.pid}/{kind}_map").write_text("0 0 65536")
        output, errors = process.communicate("mapped\n")
    return subprocess.CompletedProcess(words, process.returncode, output, errors)
