"""Build the runtime: libraries, the `esrun` program, test programs and the fuzz target.

    python runtime/build.py board [--platform aarch64]   all that a board needs: esrun, libraries, Python package
    python runtime/build.py size                         what they weigh, against the budgets
    python runtime/build.py fuzz --seconds 60            hunt for crashes of the loader

Every product lies under build/runtime/ and is rebuilt only when its sources, flags or compiler change.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "build" / "runtime"
SOURCES = tuple(sorted((HERE / "src").glob("*.c")))
PROFILE_SOURCES = tuple(sorted((HERE / "profile").glob("*.c")))
TOOL_SOURCES = tuple(sorted((HERE / "tools").glob("*.c")))
ESRUN_SOURCES = (*SOURCES, *PROFILE_SOURCES, *TOOL_SOURCES)

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
LEAN = ("-O2", "-ffunction-sections", "-fdata-sections", "-fvisibility=hidden", "-g0")
INCLUDE = (f"-I{HERE / 'include'}",)
INSIDE = (*INCLUDE, f"-I{HERE / 'profile'}")
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
    "none": (),
}

SHARED_LIBRARY_BUDGET_BYTES = 64 * 1024
PROFILER_BUDGET_BYTES = 48 * 1024
ESRUN_BUDGET_BYTES = 192 * 1024  # with the profiler


class BuildError(Exception):
    """A compiler is missing or failed."""


@dataclass(frozen=True)
class Platform:
    """A system that the runtime runs on.

    The libraries are for the glibc of 2012 and any since; esrun is static and also runs where there is no
    glibc, such as Android.
    """

    name: str
    library_triple: str
    static_triple: str
    wheel_tag: str


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            "x86_64",
            library_triple="x86_64-linux-gnu.2.17",
            static_triple="x86_64-linux-musl",
            wheel_tag="manylinux2014_x86_64",
        ),
        Platform(
            "aarch64",
            library_triple="aarch64-linux-gnu.2.17",
            static_triple="aarch64-linux-musl",
            wheel_tag="manylinux2014_aarch64",
        ),
        Platform(
            "armv7",
            library_triple="arm-linux-gnueabihf.2.17",
            static_triple="arm-linux-musleabihf",
            wheel_tag="manylinux2014_armv7l",
        ),
    )
}


def host_platform() -> str:
    """The name of the platform that this program runs on."""
    machine = os.uname().machine
    return {"arm64": "aarch64", "armv7l": "armv7"}.get(machine, machine)


def zig() -> tuple[str, ...]:
    """The command that runs zig as a C compiler driver."""
    return (sys.executable, "-m", "ziglang")


def shared_library(platform: str) -> Path:
    """Build the stripped shared library for a platform."""
    target = _platform(platform)
    command = [*zig(), "cc", "-target", target.library_triple, *STRICT, *LEAN, *INCLUDE]
    command += ["-shared", "-fPIC", "-s", "-Wl,--gc-sections", "-Wl,-soname,libedgesparse.so"]
    return _build(f"{platform}/libedgesparse.so", command, SOURCES)


def profiler(platform: str) -> Path:
    """Build the shared library that measures, which calls the other one."""
    target = _platform(platform)
    command = [*zig(), "cc", "-target", target.library_triple, *STRICT, *LEAN, *INCLUDE, "-shared", "-fPIC", "-s"]
    command += ["-Wl,--gc-sections", "-Wl,-soname,libedgesparse_profile.so", "-Wl,-rpath,$ORIGIN"]
    return _build(f"{platform}/libedgesparse_profile.so", [*command, str(shared_library(platform))], PROFILE_SOURCES)


def system_libraries() -> tuple[Path, Path]:
    """Build both shared libraries for this machine with its own C compiler."""
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", *LEAN, *INCLUDE, "-shared", "-fPIC", "-pthread"]
    main = _build("system/libedgesparse.so", [*command, "-s", "-Wl,-soname,libedgesparse.so"], SOURCES)
    command += ["-s", str(main), "-Wl,-rpath,$ORIGIN"]
    return main, _build("system/libedgesparse_profile.so", command, PROFILE_SOURCES)


def static_library(platform: str) -> Path:
    """Build the static library for a platform, to link into an application: its structures are those of glibc."""
    target = _platform(platform)
    base = [*zig(), "cc", "-target", target.library_triple, *STRICT, *LEAN, *INCLUDE, "-fPIC", "-c"]
    objects = [_build(f"{platform}/{source.stem}.o", base, [source]) for source in SOURCES]
    return _build(f"{platform}/libedgesparse.a", [*zig(), "ar", "rcs"], objects, output_flag=None)


def esrun(platform: str) -> Path:
    """Build the command-line runner for a platform: one static program."""
    target = _platform(platform)
    command = [*zig(), "cc", "-target", target.static_triple, *STRICT, *LEAN, *INSIDE]
    command += ["-static", "-s", "-Wl,--gc-sections"]
    return _build(f"{platform}/esrun", command, ESRUN_SOURCES)


def test_program(source: Path, sanitizer: str = "none", wrapped: Sequence[str] = ()) -> Path:
    """Build a C test program for this machine together with the runtime, with a sanitizer.

    Calls of a function that is `wrapped` go to the program's own `__wrap_NAME`.
    """
    command = [_clang(), *STRICT, "-g", "-O1", *SANITIZERS[sanitizer], *INSIDE, "-iquote", str(HERE / "src")]
    command += ["-pthread", "-lm", *(f"-Wl,--wrap={name}" for name in wrapped)]
    return _build(f"tests/{source.stem}-{sanitizer}", command, [*SOURCES, *PROFILE_SOURCES, source])


def sanitized_esrun() -> Path:
    """Build esrun for this machine, with ASan and UBSan."""
    command = [_clang(), *STRICT, "-g", "-O1", *SANITIZERS["address"], *INSIDE, "-pthread", "-lm"]
    return _build("tests/esrun-address", command, ESRUN_SOURCES)


def guest_program(source: Path, platform: str) -> Path:
    """Build a C test program, static, for a platform; it runs the kernels of an artifact."""
    target = _platform(platform)
    command = [*zig(), "cc", "-target", target.static_triple, *STRICT, *LEAN, *INCLUDE, "-iquote", str(HERE / "src")]
    command += ["-static", "-s", "-Wl,--gc-sections"]
    return _build(f"{platform}/{source.stem}", command, [*SOURCES, source])


def fuzz_target() -> Path:
    """Build the libFuzzer target, which skips checksums so that the fuzzer gets past them."""
    flags = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    command = [_clang(), *STRICT, "-g", "-O1", *flags, *INCLUDE, "-iquote", str(HERE / "src")]
    command += ["-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION", "-pthread"]
    return _build("tests/fuzz_open", command, [*SOURCES, HERE / "tests" / "fuzz_open.c"])


def wheel(platform: str, directory: Path) -> Path:
    """Build the wheel of the Python package for a platform."""
    environment = os.environ | {"EDGESPARSE_WHEEL_PLATFORM": _platform(platform).name}
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory.resolve())]
    _run(command, environment, HERE / "python")
    return next(directory.glob(f"edgesparse_runtime-*{PLATFORMS[platform].wheel_tag}.whl"))


def board(platform: str, directory: Path | None = None) -> Path:
    """Put all that a board of a platform needs into a new directory, with the licences of what is in it.

    By default it is one below build/runtime/, and replaces what is there.
    """
    if directory is None:
        directory = OUTPUT / platform / "board"
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for file in (esrun(platform), shared_library(platform), profiler(platform), static_library(platform)):
        shutil.copy(file, directory)
    for file in (*(HERE / "include").glob("*.h"), HERE / "python" / "LICENSE"):
        shutil.copy(file, directory)
    shutil.copy(_zig_folder() / "lib/libc/musl/COPYRIGHT", directory / "LICENSE.musl")  # esrun holds parts of musl
    wheel(platform, directory)
    return directory


def _platform(name: str) -> Platform:
    try:
        return PLATFORMS[name]
    except KeyError:
        raise BuildError(f"platform {name!r} is unknown, expected one of {', '.join(PLATFORMS)}") from None


def _clang() -> str:
    found = shutil.which("clang")
    if found is None:
        raise BuildError("clang is not installed; sanitizers and the fuzzer need it and its runtime")
    return found


def _build(name: str, command: Sequence[str], sources: Sequence[Path], output_flag: str | None = "-o") -> Path:
    """Run a compiler unless `name` exists and was made by the same command from the same sources."""
    output = OUTPUT / name
    stamp = output.with_name(output.name + ".stamp")
    key = _fingerprint(command, sources)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output.with_name(output.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever else builds it waits, and then finds it built
        if not (output.exists() and stamp.exists() and stamp.read_text() == key):
            _make(output, command, sources, output_flag)
            stamp.write_text(key)
    return output


def _make(output: Path, command: Sequence[str], sources: Sequence[Path], output_flag: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        made = Path(scratch) / output.name
        _run([*command, *([output_flag] if output_flag else []), str(made), *map(str, sources)])
        os.replace(made, output)


def _fingerprint(command: Sequence[str], sources: Sequence[Path]) -> str:
    headers = [path for room in ("include", "src", "profile", "tools", "tests") for path in (HERE / room).glob("*.h")]
    digest = hashlib.sha256("\0".join(command).encode())
    digest.update(_zig_version().encode())
    for path in [*sources, *sorted(headers)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _zig_folder() -> Path:
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise BuildError("ziglang is not installed; pip install ziglang")
    return Path(found.origin).parent


def _zig_version() -> str:
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _run(command: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if result.returncode != 0:
        raise BuildError(f"failed: {' '.join(command)}\n{result.stdout}{result.stderr}")


def _sizes() -> list[tuple[str, int, int]]:
    """Name, bytes and budget of what the budgets hold for."""
    return [
        (path.relative_to(OUTPUT).as_posix(), path.stat().st_size, budget)
        for platform in PLATFORMS
        for path, budget in (
            (shared_library(platform), SHARED_LIBRARY_BUDGET_BYTES),
            (profiler(platform), PROFILER_BUDGET_BYTES),
            (esrun(platform), ESRUN_BUDGET_BYTES),
        )
    ]


def _fuzz(seconds: int) -> int:
    corpus = OUTPUT / "corpus"
    subprocess.run([sys.executable, str(HERE / "tests" / "make_corpus.py"), str(corpus)], check=True)
    limits = [f"-max_total_time={seconds}", "-max_len=131072", "-timeout=2", "-rss_limit_mb=2048"]
    findings = f"-artifact_prefix={OUTPUT}/finding-"
    return subprocess.run([str(fuzz_target()), *limits, findings, str(corpus)]).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the module's docstring and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=("board", "esrun", "size", "fuzz"))
    parser.add_argument("--platform", choices=PLATFORMS, default=host_platform())
    parser.add_argument("--output", type=Path, help="of board: a new folder; by default one below build/runtime/")
    parser.add_argument("--seconds", type=int, default=60, help="for fuzz")
    options = parser.parse_args(arguments)
    try:
        if options.command == "board":
            print(board(options.platform, options.output))
        elif options.command == "esrun":
            print(esrun(options.platform))
        elif options.command == "fuzz":
            return _fuzz(options.seconds)
        else:
            for name, size_bytes, budget_bytes in _sizes():
                print(f"{name:32} {size_bytes:8} bytes, budget {budget_bytes}")
    except BuildError as err:
        print(f"build.py: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
