"""Whatever is wrong with an ONNX file, every command says it in one line or takes the model: no traceback, no crash."""

from __future__ import annotations

import itertools

import onnx
import pytest

import edgesparse
from edgesparse.errors import EdgesparseError, FrontendError
from tests.inputs.mutants import bases, mutants

LONGEST = 1000


def judged(path, output):
    """Describe, explain and prune a file; what they say about it."""
    messages = []
    uses = (
        lambda: edgesparse.inspect(path),
        lambda: edgesparse.explain(path, "rpi4"),
        lambda: edgesparse.prune(path, output, sparsity=0.5),
    )
    for use in uses:
        try:
            use()
        except EdgesparseError as err:
            messages.append(str(err))
    return messages


@pytest.mark.parametrize(("seed", "count"), [(5, 60), pytest.param(5, 120, marks=pytest.mark.slow(part="hostile"))])
def test_a_broken_model_is_one_line_or_compiles(tmp_path, seed, count):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(4096))
    (folder / "short.bin").write_bytes(bytes(3))
    (folder / "link.bin").symlink_to(tmp_path)
    path, output = folder / "model.onnx", tmp_path / "out.onnx"
    refused = 0

    for words, data in itertools.islice(mutants(seed), count):
        path.write_bytes(data)
        messages = judged(path, output)
        output.unlink(missing_ok=True)
        refused += bool(messages)
        assert all("\n" not in message and len(message) < LONGEST for message in messages), (words, messages)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model"], words

    assert refused > count // 2


def test_the_models_that_are_broken_are_right_before(tmp_path):
    for name, proto in bases().items():
        onnx.save(proto, tmp_path / f"{name}.onnx")

        edgesparse.explain(tmp_path / f"{name}.onnx", "rpi4")


def test_parts_that_are_not_as_many_as_said_are_refused(tmp_path):
    proto = bases()["tokens"]
    split = next(node for node in proto.graph.node if node.op_type == "Split")
    next(attribute for attribute in split.attribute if attribute.name == "num_outputs").i = 1
    onnx.save(proto, tmp_path / "m.onnx")

    with pytest.raises(FrontendError, match="Split that computes 'left': num_outputs is 1, and it has 2 outputs"):
        edgesparse.explain(tmp_path / "m.onnx", "rpi4")
