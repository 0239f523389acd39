"""A .pt2 file is data: whatever is hidden in one, reading it runs nothing and says why in one line."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import pytest

torch = pytest.importorskip("torch")

from edgesparse.errors import FrontendError  # noqa: E402
from edgesparse.frontend import describe, read  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

PROGRAM = "models/model.json"
INPUTS = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Net(torch.nn.Module):
    """A weight, a constant and a sum of sizes."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)
        self.shift = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def forward(self, x):
        return {"flat": (self.layer(x) + self.shift).reshape(x.shape[0] * 4), "sum": torch.einsum("ij,kj->ik", x, x)}


class Trap:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def members(tmp_path):
    """What lies in a good file, by name."""
    free = {0: torch.export.Dim("batch", min=2, max=64)}
    program = torch.export.export(Net().eval(), (torch.ones(3, 6),), dynamic_shapes=(free,))
    torch.export.save(program, tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def written(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"net/{name}", content)
    return path


def pickled(value, save=torch.save):
    buffer = io.BytesIO()
    save(value, buffer)
    return buffer.getvalue()


def test_program_with_free_sizes_and_containers_is_read(members, tmp_path):
    summary = describe(read(written(tmp_path / "net.pt2", members)))

    assert [value.name for value in summary.outputs] == ["flat", "sum"]
    assert isinstance(summary.inputs[0].shape[0], str) and summary.inputs[0].shape[1] == 6


@pytest.mark.parametrize("save", [torch.save, pickle.dump], ids=["torch", "bare"])
@pytest.mark.parametrize("member", [INPUTS, "data/weights/model.pt", "data/constants/model.pt"])
def test_pickle_with_code_is_refused_and_not_run(members, tmp_path, member, save):
    bait = tmp_path / "caught"

    with pytest.raises(FrontendError, match=f"{member}: got a pickle.*expected tensors and numbers.*remedy") as caught:
        read(written(tmp_path / "net.pt2", members | {member: pickled((Trap(bait),), save)}))

    assert not bait.exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize(("config", "name"), [(WEIGHTS, "weight_0"), (CONSTANTS, "tensor_0")])
def test_tensor_that_is_a_pickle_with_code_is_refused_and_not_run(members, tmp_path, config, name):
    bait = tmp_path / "caught"
    table = json.loads(members[config])
    for entry in table["config"].values():
        entry["use_pickle"] = True
    hostile = {config: json.dumps(table).encode(), f"{config.rpartition('/')[0]}/{name}": pickled(Trap(bait))}

    with pytest.raises(FrontendError, match="got a pickle"):
        read(written(tmp_path / "net.pt2", members | hostile))

    assert not bait.exists()


@pytest.mark.parametrize("name", ["opaque_obj_0", "custom_obj_0"])
def test_object_among_the_constants_is_refused_and_not_run(members, tmp_path, name):
    bait = tmp_path / "caught"
    table = json.loads(members[CONSTANTS])
    table["config"]["trap"] = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
    hostile = {CONSTANTS: json.dumps(table).encode(), f"data/constants/{name}": pickle.dumps(Trap(bait))}

    with pytest.raises(FrontendError, match=f"data/constants/{name}: got an object, expected tensors"):
        read(written(tmp_path / "net.pt2", members | hostile))

    assert not bait.exists()


def test_machine_code_is_refused(members, tmp_path):
    with pytest.raises(FrontendError, match="data/aotinductor/model/net.so: got machine code"):
        read(written(tmp_path / "net.pt2", members | {"data/aotinductor/model/net.so": b"\x7fELF"}))


TEXTS = {
    "a size": ("expr_str", "exit()"),
    "a size that never ends": ("expr_str", "9**9**9"),
    "a size by attributes": ("expr_str", "s0.__class__"),
    "a call": ("target", "torch.os.system"),
    "a call that writes files": ("target", "torch.ops.aten.from_file.default"),
    "a chain of calls": ("target", "_operator.attrgetter"),
    "a registered function": ("target", "#torch.os.system"),
    "a name": ("name", "x=print(1)"),
    "a parameter": ("parameter_name", 'w");print("'),
    "an argument": ("forward_arg_names", ["x=print(1)"]),
    "a tree": ("in_spec", '[1, {"type": "builtins.dict", "context": "[\\"x=print(1)\\"]", "children_spec": []}]'),
    "an imported type": (
        "in_spec",
        '[1, {"type": null, "context": "{\\"__enum__\\": true, \\"fqn\\": \\"this:x\\"}", "children_spec": []}]',
    ),
}


@pytest.mark.parametrize(("key", "text"), TEXTS.values(), ids=TEXTS)
def test_text_that_could_become_code_is_refused(members, tmp_path, key, text):
    def replaced(held):
        return held | {key: text} if key in held else held

    program = json.dumps(json.loads(members[PROGRAM], object_hook=replaced)).encode()
    assert program != json.dumps(json.loads(members[PROGRAM])).encode()

    with pytest.raises(FrontendError, match=f"{PROGRAM}: got {key}") as caught:
        read(written(tmp_path / "net.pt2", members | {PROGRAM: program}))

    assert "\n" not in str(caught.value)


def test_guards_and_notes_are_not_taken_over(members, tmp_path, capfd):
    def noted(held):
        notes = {"stack_trace": "\nprint('run')", "custom": '"print()"'}
        return held | {"metadata": notes} if "target" in held else held

    program = json.loads(members[PROGRAM], object_hook=noted) | {"guards_code": ["print('run') or True"]}
    read(written(tmp_path / "net.pt2", members | {PROGRAM: json.dumps(program).encode()}))

    assert capfd.readouterr().out == ""


def test_archive_that_grows_when_it_is_read_is_refused(members, tmp_path):
    bomb = members | {"data/weights/weight_0": bytes(1 << 24)}

    with pytest.raises(FrontendError, match="not a file by torch.export.save.*larger than the file"):
        read(written(tmp_path / "net.pt2", bomb, zipfile.ZIP_DEFLATED))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_member_that_is_there_twice_is_refused(members, tmp_path):
    path = written(tmp_path / "net.pt2", members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"other/{INPUTS}", b"")

    with pytest.raises(FrontendError, match="there twice"):
        read(path)


def test_file_cut_anywhere_is_one_line(members, tmp_path):
    data = written(tmp_path / "net.pt2", members).read_bytes()
    for size in range(0, len(data), len(data) // 23):
        (tmp_path / "net.pt2").write_bytes(data[:size])

        with pytest.raises(FrontendError, match="not a file by torch.export.save") as caught:
            read(tmp_path / "net.pt2")

        assert "\n" not in str(caught.value)
