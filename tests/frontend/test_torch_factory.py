"""package.module:factory: what it may give, and what is said where it cannot be used."""

from __future__ import annotations

import importlib
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

from edgesparse.errors import FrontendError  # noqa: E402
from edgesparse.frontend import describe, read  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

SOURCE = """
import torch

def bare(): return torch.nn.Linear(6, 4)
def pair(): return bare(), torch.ones(3, 6)
def exported(): return torch.export.export(bare(), (torch.ones(3, 6),))
def fails(): raise ValueError("no weights\\nhere")
def number(): return 3
def halves(): return bare(), torch.ones(3, 6), None
def needs(size): return bare()

ready = bare()
constant = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A package of factories in the working directory; forgotten afterwards."""
    (tmp_path / "given_nets").mkdir()
    (tmp_path / "given_nets" / "__init__.py").touch()
    (tmp_path / "given_nets" / "small.py").write_text(SOURCE)
    (tmp_path / "given_nets" / "broken.py").write_text("raise OSError('no disk')")
    (tmp_path / "given_nets" / "lacking.py").write_text("import absent_dependency")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("given_nets")]:
        del sys.modules[name]


@pytest.mark.parametrize("factory", ["pair", "exported"])
def test_factory_brings_its_example_inputs(factory):
    assert describe(read(f"given_nets.small:{factory}")).inputs[0].shape == (3, 6)


@pytest.mark.parametrize("factory", ["bare", "pair", "ready"])
def test_given_example_inputs_come_first(factory):
    assert describe(read(f"given_nets.small:{factory}", torch.ones(5, 6))).inputs[0].shape == (5, 6)


def test_path_is_left_as_it_was(folder):
    before = list(sys.path)

    read("given_nets.small:pair")

    assert sys.path == before


def test_file_of_that_name_is_a_file(folder):
    (folder / "nets:small").write_bytes(b"noise")

    with pytest.raises(FrontendError, match="^nets:small: not an ONNX model"):
        read("nets:small")


RETURNED = r"expected a torch\.nn\.Module, \(module, example_inputs\) or an ExportedProgram"
REFUSED = {
    "absent_nets:build": "there is no module 'absent_nets', here or installed",
    "given_nets.absent:build": r"there is no module 'given_nets\.absent', here or installed",
    "given_nets.broken:build": r"importing given_nets\.broken failed: OSError: no disk",
    "given_nets.lacking:build": r"importing given_nets\.lacking failed: .* No module named 'absent_dependency'",
    "given_nets.small:pairs": r"given_nets\.small has no function 'pairs'; did you mean pair\?",
    "given_nets.small:constant": r"given_nets\.small:constant is of type .*, expected a function",
    "given_nets.small:fails": "the factory failed: ValueError: no weights",
    "given_nets.small:needs": "the factory failed: TypeError: .*missing 1 required positional argument: 'size'",
    "given_nets.small:number": f"the factory returned int, {RETURNED}",
    "given_nets.small:halves": f"the factory returned tuple, {RETURNED}",
    "given_nets.small:bare": "a module needs example inputs to be traced with; remedy: pass example_inputs, let the",
}


@pytest.mark.parametrize(("name", "message"), REFUSED.items(), ids=REFUSED.keys())
def test_factory_that_cannot_be_used_is_one_line(name, message):
    with pytest.raises(FrontendError, match=f"^{name}: {message}") as caught:
        read(name)

    assert "\n" not in str(caught.value)
