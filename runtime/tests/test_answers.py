"""What artifacts promise of made-up inputs is held against what the C library computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model

from edgesparse.package import records
from edgesparse.package.answers import Answers, made_up
from edgesparse.package.writer import serialize, write
from edgesparse.program import Program
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import launcher, run_program


def echo(isa: str, dtype: str) -> Program:
    """Gives the two tensors that it takes."""
    one = samples.echo_model(isa, "", (1, 5))
    first = replace(one.inputs[0], dtype=dtype, picture="")
    second = replace(first, name="second", shape=(3,), offset_bytes=64)
    engine = replace(one.engines[0], arena_bytes=128)
    return replace(one, engines=(engine,), inputs=(first, second), outputs=(first, second))


def promised(program: Program, seed: int) -> Answers:
    found = Answers.of(made_up(program.inputs, seed), program.outputs, seed)
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", records.DTYPES)
@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_every_type_is_made_up_alike(platform, dtype, tmp_path):
    program, path = echo(platform, dtype), tmp_path / "model.esp"
    write([program], {}, path, answers=[promised(program, seed) for seed in (0, 2**64 - 1)])

    done = run_program(*launcher(platform), build.esrun(platform), path, "--verify")

    assert (done.returncode, done.stdout) == (0, f"{path}: 4 outputs have the bits that were promised\n"), done.stderr


def test_other_bits_are_told(host, tmp_path):
    program, path = echo(host, "int8"), tmp_path / "model.esp"
    answers = promised(program, 5)
    wrong = replace(answers, digests=(None, bytes(31) + b"\1"))
    write([program], {}, path, answers=[answers, wrong])

    done = run_program(build.sanitized_esrun(), path, "--verify")

    assert done.returncode == 1 and "output 'second': other bits than those that the artifact promises" in done.stderr
    with Model(path) as model, pytest.raises(EdgesparseRuntimeError, match="output 'second'") as err:
        model.verify()
    assert err.value.status == "ES_ERR_ANSWER"


def test_what_is_not_promised_is_not_compared(host, tmp_path):
    program = echo(host, "float32")
    some = replace(promised(program, 5), digests=(None, promised(program, 5).digests[1]))

    with Model(serialize([program], {}, answers=[some])) as model:
        assert model.verify() == 1
    with Model(serialize([program], {})) as model:
        assert model.verify() == 0
    write([program], {}, tmp_path / "none.esp")
    done = run_program(build.sanitized_esrun(), tmp_path / "none.esp", "--verify")
    assert (done.returncode, "promises no bits" in done.stdout) == (0, True)


def test_a_closed_model_verifies_nothing(host):
    model = Model(serialize([echo(host, "int8")], {}))
    model.close()

    with pytest.raises(EdgesparseRuntimeError, match="closed"):
        model.verify()
