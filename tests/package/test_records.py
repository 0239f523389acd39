"""The numbers of the format are the same in Python and in C."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgesparse import program
from edgesparse.isa import FEATURE_BITS, ISAS
from edgesparse.package import records
from edgesparse.program import FAULT_FIELDS, FaultKind, IndexKind, Space

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
FORMAT_H = (RUNTIME / "src" / "format.h").read_text()
API_H = (RUNTIME / "include" / "edgesparse.h").read_text()


def x_macro(text: str, name: str) -> str:
    """The body of an X-macro."""
    return re.search(rf"#define {name}\(X\)((?:.*\\\n)*.*\n)", text).group(1)


def test_instruction_sets_are_equal():
    pairs = re.findall(r"X\((\w+), (\d+)\)", x_macro(FORMAT_H, "ES_ISA_LIST"))

    assert {name: int(value) for name, value in pairs} == {row.name: row.number for row in ISAS.values()}


def test_cpu_features_are_equal():
    pairs = re.findall(r"X\((\w+), (\d+)\)", x_macro(FORMAT_H, "ES_CPU_FEATURE_LIST"))

    assert {name: int(bit) for name, bit in pairs} == FEATURE_BITS


def test_element_types_are_equal():
    pairs = re.findall(r'X\(\w+, (\d+), "(\w+)", \d+\)', x_macro(API_H, "ES_DTYPE_LIST"))

    assert {name: int(value) for value, name in pairs} == records.DTYPES


@pytest.mark.parametrize("kind", list(records.SectionKind))
def test_section_kinds_are_equal(kind):
    assert f"ES_SECTION_{kind.name} = {kind.value}," in FORMAT_H


@pytest.mark.parametrize(
    "name",
    [
        "SECTIONS",
        "MANIFEST_BYTES",
        "PLAN_BYTES",
        "CODE_BYTES",
        "SCRATCH_BYTES",
        "TENSORS",
        "STEPS",
        "STEP_ARGS",
        "ARRAYS",
        "STRINGS",
        "STRING_BYTES",
    ],
)
def test_limits_are_equal(name):
    text = re.search(rf"ES_MAX_{name} = ([\d <]+)", FORMAT_H).group(1)
    base, _, shift = text.partition("<<")

    assert int(base) << int(shift or 0) == (vars(records) | vars(program))[f"MAX_{name}"]


def test_alignments_and_version_are_equal():
    found = dict(re.findall(r"ES_(FORMAT_MAJOR|SECTION_ALIGN|DATA_ALIGN) = (\d+)", FORMAT_H))

    assert found == {
        "FORMAT_MAJOR": str(records.MAJOR),
        "SECTION_ALIGN": str(records.SECTION_ALIGN),
        "DATA_ALIGN": str(records.DATA_ALIGN),
    }


@pytest.mark.parametrize("record", ["PREAMBLE", "SECTION", "PLAN", "ENGINE", "IMAGE", "TENSOR", "STEP", "ARG", "ARRAY"])
def test_records_have_equal_sizes(record):
    size = re.search(rf"sizeof\(es_file_{record.lower()}\) == (\d+)", FORMAT_H).group(1)

    assert getattr(records, record).size == int(size)


def test_faults_are_equal():
    fields = re.search(r"typedef struct es_fault \{(.*?)\} es_fault;", FORMAT_H, re.DOTALL).group(1)
    names = re.findall(r"int64_t (\w+)", fields)

    assert (*names[:-1], "reserved0", "reserved1") == FAULT_FIELDS
    assert all(f"ES_FAULT_{kind.name} = {kind.value}" in FORMAT_H for kind in FaultKind)


@pytest.mark.parametrize("space", list(Space))
def test_spaces_are_equal(space):
    assert f"ES_SPACE_{space.name} = {space.value}," in FORMAT_H


@pytest.mark.parametrize("kind", list(IndexKind))
def test_kinds_of_indices_are_equal(kind):
    assert re.search(rf"ES_{kind.name} = {kind.value}\b", FORMAT_H)
