"""The products of the build keep their budgets and depend on nothing."""

from __future__ import annotations

import re

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from runtime import build
from runtime.tests.conftest import run_program

LIBC = {"libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "ld-linux-armhf.so.3"}


def needed_libraries(path) -> set[str]:
    with path.open("rb") as file:
        sections = [section for section in ELFFile(file).iter_sections() if isinstance(section, DynamicSection)]
        return {tag.needed for section in sections for tag in section.iter_tags("DT_NEEDED")}


@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_shared_library_is_small_and_needs_only_libc(platform):
    library = build.shared_library(platform)

    assert library.stat().st_size < build.SHARED_LIBRARY_BUDGET_BYTES
    assert needed_libraries(library) <= LIBC


@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_esrun_is_small_and_static(platform):
    program = build.esrun(platform)

    assert program.stat().st_size < build.ESRUN_BUDGET_BYTES
    assert needed_libraries(program) == set()


@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_profiler_is_small_and_needs_only_the_runtime(platform):
    library = build.profiler(platform)

    assert library.stat().st_size < build.PROFILER_BUDGET_BYTES
    assert needed_libraries(library) <= LIBC | {"libedgesparse.so"}


@pytest.mark.parametrize("name", ["edgesparse", "edgesparse_profile"])
def test_shared_library_exports_the_api_only(name, host):
    header = (build.HERE / "include" / f"{name}.h").read_text()
    library = build.shared_library(host) if name == "edgesparse" else build.profiler(host)

    with library.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        exported = {symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF"}

    assert exported == set(re.findall(r"^ES_API [\w *]*?(es_\w+)\(", header, re.MULTILINE))


def test_static_library_links_into_a_program(host, tmp_path):
    source = tmp_path / "main.c"
    source.write_text('#include "edgesparse.h"\nint main(void) { return *es_status_name(ES_OK) != 69; }\n')
    program = tmp_path / "main"

    target = build.PLATFORMS[host].library_triple
    library = build.static_library(host)
    command = [*build.zig(), "cc", "-target", target, "-s", *build.INCLUDE, source, library, "-pthread", "-o", program]
    compiled = run_program(*command, timeout=600)

    assert compiled.returncode == 0, compiled.stderr
    assert run_program(program).returncode == 0


@pytest.mark.parametrize("suffix", [".c", ".cpp"])
def test_header_stands_alone(suffix, tmp_path):
    source = tmp_path / f"main{suffix}"
    source.write_text('#include "edgesparse.h"\n#include "edgesparse_profile.h"\n')
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "-o", str(tmp_path / "main.o")]

    result = run_program(*build.zig(), "cc", *strict, *build.INCLUDE, source)

    assert result.returncode == 0, result.stderr


def test_unchanged_sources_are_not_compiled_again(host):
    before = build.esrun(host).stat().st_mtime_ns

    assert build.esrun(host).stat().st_mtime_ns == before
