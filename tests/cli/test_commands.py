"""The commands from outside: results on stdout, JSON, exit codes, and errors of one line."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys

import edgesparse_runtime
import numpy as np
import onnx
import pytest

import edgesparse
from edgesparse.package import reader
from tests.cli.models import classifier, untranslatable
from tests.conftest import ROOT, Done, start_program, temporary_folder
from tests.pages.parsed import Page


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def artifact(model):
    return edgesparse.compile(model, output=model.with_suffix(".esp"), sparsity=0.8).artifact


def result(done: Done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_names_every_command(command):
    done = command("--help")

    assert done.returncode == 0
    names = "targets inspect prune recover explain compile tune run runtime bench verify"
    assert all(f"\n  {name} " in done.stdout for name in names.split())


def test_version_is_the_same_everywhere(command, artifact):
    header = (ROOT / "runtime" / "include" / "edgesparse.h").read_text()
    version = re.search(r'ES_VERSION "(.*)"', header).group(1)

    assert command("--version").stdout == f"edgesparse, version {version}\n"
    assert edgesparse.__version__ == edgesparse_runtime.__version__ == version
    assert edgesparse.inspect(artifact).manifest["producer"] == f"edgesparse {version}"
    assert re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version


def test_a_bound_input_is_no_longer_asked_for_and_verify_and_bench_bind_it_too(command, tmp_path):
    text = """<ir_version: 9, opset_import: ["" : 20]>
        g (float[2, 6] x, int64[2] sizes, bool flip) => (float[a, b] y) {
            r = Reshape (x, sizes)
            y = If (flip) <then_branch = t () => (float[a, b] n) { n = Neg (r) },
                           else_branch = e () => (float[a, b] i) { i = Identity (r) }>
        }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.float32).reshape(2, 6))

    for recipe in ("", "bind: {sizes: [3, 4], flip: true}"):
        (tmp_path / "r.yaml").write_text(recipe)
        chosen = () if recipe else ("--bind", "sizes=3,4", "--bind", "flip=true")
        result(command("compile", "m.onnx", "-o", "m.esp", "--recipe", "r.yaml", "--json", *chosen))
        ran = command("run", "m.esp", "--input", "x.npy", "--output", "y.npz")
        assert ran.returncode == 0, ran.stderr
        np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], -np.arange(12).reshape(3, 4))
        assert all(
            each["agrees"]
            for each in result(command("verify", "m.esp", "--model", "m.onnx", "--json"))["plans"][0]["outputs"]
        )

    for wrong, message in (("sizes", "expected a name and a value"), ("flip=2", "cannot be bound to int64 2")):
        failed = command("compile", "m.onnx", "--bind", wrong)
        assert failed.returncode in (1, 2) and message in failed.stderr


@pytest.mark.parametrize(("option", "given"), [("--bind", ("n=1", "n=2")), ("--input-shape", ("x=1,4", "x=2,4"))])
def test_a_value_that_is_given_twice_for_a_name_is_refused(command, model, option, given):
    failed = command("compile", model, option, given[0], option, given[1])

    assert failed.returncode == 2 and "is given twice, expected once" in failed.stderr


def test_targets_lists_and_shows(command):
    names = [target["name"] for target in result(command("targets", "--json"))["targets"]]
    shown = result(command("targets", "show", "rpi5", "--json"))

    assert {"host", "rpi4", "rpi5"} <= set(names)
    assert shown["cpu"] == "cortex-a76" and shown["vector_bits"] == 128
    text = command("targets", "show", "rpi5").stdout
    assert "Cortex-A76 TRM" in text
    (table,) = (line for line in text.splitlines() if line.startswith("cost_table"))
    assert table.split()[1] == "estimated:" and "LoopCost" not in table


def test_inspect_describes_a_model(command, model):
    summary = result(command("inspect", model, "--json"))

    assert summary["ops"]["Conv"] == 2
    assert summary["inputs"][0]["shape"] == ["N", 3, 8, 8]
    assert [layer["density"] for layer in summary["layers"]] == [1.0, 1.0, 1.0]
    assert "image" in command("inspect", model).stdout


def test_prune_writes_a_valid_model_with_the_share_of_zeros_asked_for(command, model, tmp_path):
    report = result(command("prune", model, "-o", "out.onnx", "--sparsity", "0.75", "--skip", "head", "--json"))
    pruned = onnx.load(tmp_path / "out.onnx")
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in pruned.graph.initializer}

    onnx.checker.check_model(pruned, full_check=True)
    assert report["prunable_density"] == pytest.approx(0.25, abs=0.01)
    assert np.count_nonzero(weights["body_weight"]) == weights["body_weight"].size // 4
    assert np.count_nonzero(weights["head_weight"]) == weights["head_weight"].size


@pytest.fixture
def images(tmp_path):
    """Calibration samples for the classifier."""
    np.savez(tmp_path / "images.npz", image=np.random.default_rng(1).standard_normal((12, 3, 8, 8)).astype(np.float32))


@pytest.mark.usefixtures("images")
def test_prune_with_samples_says_what_each_layer_loses(command, model):
    report = result(
        command(
            *("prune", model, "-o", "s.onnx", "--pattern", "2:4", "--method", "sparsegpt", "--reconstruct"),
            *("--calibration", "images.npz", "--json"),
        )
    )

    errors = {layer["node"]: layer["output_error"] for layer in report["layers"]}
    assert errors["stem"] is None
    assert 0 < errors["body"] < 1 and 0 < errors["head"] < 1
    assert report["prunable_density"] == 0.5
    assert [(each["output"], each["samples"]) for each in report["agreement"]] == [("scores", 6)]
    assert report["warning"] is None


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("words", [("prune", "-o", "s.onnx"), ("compile",), ("explain",)])
def test_who_prunes_sees_what_it_did_and_what_was_left(command, model, words):
    name, *rest = words
    seen = command(name, model, *rest, "--sparsity", "0.5", "--calibration", "images.npz", "--match", "own")
    blind = command(name, model, *rest, "--sparsity", "0.5")

    (told,) = (line for line in seen.stdout.splitlines() if line.startswith("scores against dense, 6 samples held out"))
    assert "the same answer in " in told and "cosine 0.9" in told and "relative error 0." in told
    assert "warning" not in seen.stderr
    warned = [line for line in blind.stderr.splitlines() if not line.endswith(" ...")]
    assert [line[:8] for line in warned] == ["warning:", "warning:"]
    assert "accuracy" in blind.stderr and "--calibration samples.npz" in blind.stderr
    assert "first convolution" in seen.stdout and "stem" in seen.stdout


@pytest.mark.usefixtures("images")
def test_verify_prunes_with_the_samples_that_the_artifact_was_pruned_with(command, model):
    options = ("--sparsity", "0.5", "--method", "wanda", "--calibration", "images.npz")
    assert command("compile", model, "-o", "wanda.esp", *options).returncode == 0

    recorded = command("verify", "wanda.esp", "--model", model)
    given = command("verify", "wanda.esp", "--model", model, "--calibration", "images.npz")

    assert "the outputs agree" in recorded.stdout
    assert "the outputs agree" in given.stdout


def test_compile_names_the_artifact_after_model_and_target(command, model, tmp_path):
    report = result(command("compile", model, "--target", "host", "--json"))

    assert report["artifact"] == "model.host.esp"
    assert (tmp_path / "model.host.esp").stat().st_size == report["artifact_bytes"]
    assert report["pruning"] is None


def test_inspect_describes_an_artifact(command, artifact):
    summary = result(command("inspect", artifact, "--json"))

    assert summary["manifest"]["model"] == "model.onnx"
    assert summary["manifest"]["pruning"]["sparsity"] == 0.8
    assert summary["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3, 8, 8], "picture": ""}]
    assert "kernel calls" in command("inspect", artifact).stdout


def test_inspect_writes_the_code_and_where_each_kernel_begins(command, artifact, tmp_path):
    done = command("inspect", artifact, "--code", "code")

    assert done.returncode == 0, done.stderr
    (program,) = reader.read(artifact).programs
    (kept,) = program.images
    image = (tmp_path / f"code/plan0.{kept.isa}.bin").read_bytes()
    lines = (tmp_path / f"code/plan0.{kept.isa}.txt").read_text().splitlines()
    assert image == kept.code
    assert {(int(offset, 16), name) for offset, name in map(str.split, lines)} == {
        (step.code_offset, step.kernel) for step in program.steps
    }
    assert "code: is not empty" in command("inspect", artifact, "--code", "code").stderr
    assert (tmp_path / f"code/plan0.{kept.isa}.bin").read_bytes() == image


def test_input_shape_fixes_the_batch(command, model):
    done = command("compile", model, "--input-shape", "image=2,3,8,8", "-o", "two.esp")

    assert done.returncode == 0, done.stderr
    assert result(command("inspect", "two.esp", "--json"))["inputs"][0]["shape"] == [2, 3, 8, 8]


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_run_reads_and_writes_arrays(command, artifact, tmp_path, ending):
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "in.npy", image)
    np.savez(tmp_path / "in.npz", image=image)

    done = result(command("run", artifact, "--input", f"in.{ending}", "--output", f"out.{ending}", "--json"))

    written = np.load(tmp_path / f"out.{ending}")
    scores = written if ending == "npy" else written["scores"]
    assert scores.shape == (1, 5)
    assert done["outputs"]["scores"]["argmax"] == int(scores.argmax())


def test_bench_says_how_every_figure_was_got(command, artifact):
    report = result(command("bench", artifact, "--seconds", "0.2", "--steps", "--json"))

    (ours,) = report["contenders"]
    assert ours["latency"]["origin"] == "measured"
    assert 0 < ours["latency"]["p10_us"] <= ours["latency"]["median_us"] <= ours["latency"]["p90_us"]
    assert ours["memory"]["peak"]["origin"] in ("measured", "unavailable")
    assert {step["name"] for step in report["steps"]} >= {"body"}


def test_bench_writes_a_page_with_the_same_figures(command, artifact, tmp_path):
    report = result(command("bench", artifact, "--seconds", "0.2", "--html", tmp_path / "b.html", "--json"))

    page = Page((tmp_path / "b.html").read_text())
    (ours,) = report["contenders"]
    assert not page.unclosed and f"Inferences each second {1e6 / ours['latency']['median_us']:,.0f}" in page.text
    assert all(any(step["name"] in row for row in page.words("tr")) for step in report["steps"])
    assert len(report["steps"]) > 0 and "Arena in use over" in str(page.of("svg"))


def test_bench_finds_out_before_it_measures_that_a_page_cannot_be_written(command, artifact, tmp_path):
    done = command("bench", artifact, "--html", tmp_path / "none" / "b.html")

    assert done.returncode == 1 and "there is no directory" in done.error


def test_bench_measures_in_turns_with_onnx_runtime(command, artifact, model):
    report = result(
        command("bench", artifact, "--against", "onnxruntime", "--model", model, "--seconds", "0.2", "--json")
    )

    ours, theirs = report["contenders"]
    assert min(ours["latency"]["runs"], theirs["latency"]["runs"]) >= 10
    assert theirs["ratio"] == pytest.approx(theirs["latency"]["median_us"] / ours["latency"]["median_us"])


def test_verify_prunes_as_the_artifact_was_and_compares_layer_by_layer(command, artifact, model):
    report = result(command("verify", artifact, "--model", model, "--json"))

    (plan,) = report["plans"]
    assert report["agrees"] and plan["first_divergence"] is None and report["notes"] == []
    assert len(plan["layers"]) >= 3


def test_verify_exits_with_1_if_the_model_is_another(command, artifact, model, tmp_path):
    other = onnx.load(model)
    weight = onnx.numpy_helper.to_array(other.graph.initializer[1])
    other.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(-weight, "body_weight"))
    onnx.save(other, tmp_path / "other.onnx")

    done = command("verify", artifact, "--model", "other.onnx", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert not report["agrees"]
    assert report["notes"] == ["the artifact was compiled from another file than this model"]


BAD_INPUT = [
    (["prune", "model.onnx", "-o", "out.onnx"], "nothing says how much to prune"),
    (["inspect", "none.onnx"], "none.onnx: cannot be read: No such file or directory"),
    (["inspect", "model.onnx", "--code", "code"], "model.onnx: is not an artifact, and only artifacts hold code"),
    (["inspect", "text.onnx"], "text.onnx: not an ONNX model"),
    (["compile", "none.onnx"], "none.onnx: cannot be read"),
    (["compile", "empty.onnx"], "empty.onnx: the file is empty"),
    (["compile", "model.onnx", "--target", "rpi44"], "unknown target 'rpi44', did you mean 'rpi4'?"),
    (["compile", "model.onnx", "--target", "text.toml"], "text.toml: not a TOML file"),
    (["compile", "model.onnx", "-o", "none/out.esp"], "none/out.esp: there is no directory 'none'"),
    (["compile", "model.onnx", "-o", "."], ".: is a directory"),
    (["compile", "model.onnx", "--input-shape", "x=1,3,8,8"], "no input is named 'x'; the model has 'image'"),
    (["compile", "odd.onnx"], "acme::Wiggle"),
    (["prune", "model.onnx", "-o", "o.onnx", "--sparsity", "0.5", "--method", "dice"], "method 'dice' is unknown"),
    (["prune", "model.onnx", "-o", "o.onnx", "--sparsity", "0.5", "--method", "wanda"], "'wanda' needs calibration"),
    (
        ["prune", "model.onnx", "-o", "o.onnx", "--sparsity", "0.5", "--calibration", "none.npz"],
        "none.npz: cannot be read: No such file",
    ),
    (
        ["prune", "model.onnx", "-o", "o.onnx", "--sparsity", "0.5", "--calibration", "x.npy"],
        "x.npy: got one array without a name, expected an .npz file with calibration samples",
    ),
    (["prune", "model.onnx", "-o", "o.onnx", "--sparsity", "0.5", "--skip", "x*"], "'x*' matches no layer"),
    (["run", "none.esp"], "none.esp"),
    (["run", "model.onnx"], "model.onnx"),
    (["run", "none.esp", "--input", "none.npy"], "none.npy: cannot be read: No such file or directory"),
    (["run", "none.esp", "--input", "text.npy"], "text.npy: is no file of numpy, expected an .npy or .npz file"),
    (["bench", "none.esp"], "none.esp"),
    (["verify", "none.esp", "--model", "model.onnx"], "none.esp"),
]

BAD_USAGE = [
    ([], "Usage"),
    (["compil"], "No such command 'compil'"),
    (["compile"], "Missing argument 'MODEL'"),
    (["compile", "model.onnx", "--sparsity", "1.5"], "--sparsity"),
    (["compile", "model.onnx", "--input-shape", "image"], "expected a name and positive sizes"),
    (["compile", "model.onnx", "--input-shape", "image=1,x"], "expected a name and positive sizes"),
    (["prune", "model.onnx", "--sparsity", "0.5"], "Missing option"),
    (["run", "a.esp", "--threads", "0"], "--threads"),
    (["run", "a.esp", "--input", "x.npy", "--input", "x=x.npy"], "give every --input its own NAME="),
    (["bench", "a.esp", "--against", "onnxruntime"], "--against needs --model"),
    (["bench", "a.esp", "--secnds", "3"], "No such option '--secnds'"),
    (["bench", "a.esp", "--seconds", "nan"], "got 'nan', expected a number from 0.1 to 1e+06 such as 3s; see"),
    (["bench", "a.esp", "--seconds", "0.01s"], "got '0.01s', expected a number from 0.1"),
    (["tune", "--seconds", "-1"], "got '-1', expected a number from 0 to"),
    (["profile", "a.esp", "--rate", "0"], "got '0', expected a number above 0 to 1e+06 such as 10/s"),
    (["bench", "a.esp", "b\nc\x1b"], "extra argument (b c?); see edgesparse bench --help"),
    (["bench", "a.esp", "--threads"], "'--threads' requires an argument"),
]


@pytest.fixture
def files(tmp_path):
    classifier(tmp_path / "model.onnx")
    untranslatable(tmp_path / "odd.onnx")
    (tmp_path / "empty.onnx").touch()
    for name in ("text.onnx", "text.toml", "text.npy"):
        (tmp_path / name).write_text("just words, and no model at all")
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))


def names(value):
    return " ".join(value) if isinstance(value, list) else ""


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=names)
def test_bad_input_is_one_line_and_exit_code_1(command, arguments, message):
    done = command(*arguments)

    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.error.startswith("edgesparse: ")
    assert message in done.error


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("arguments", "message"), BAD_USAGE, ids=names)
def test_bad_usage_is_exit_code_2(command, arguments, message):
    done = command(*arguments)

    assert done.returncode == 2, done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not arguments or (done.stderr.count("\n") == 1 and done.stderr.startswith("edgesparse: "))


def test_operators_that_cannot_be_compiled_are_all_listed_with_their_nodes(command, tmp_path):
    untranslatable(tmp_path / "odd.onnx")

    message = command("compile", "odd.onnx").stderr

    assert all(word in message for word in ("acme::Wobble", "first", "second", "acme::Wiggle", "third"))


def test_wrong_input_names_the_input_and_what_it_should_be(command, artifact, tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((1, 3, 8, 9), np.float32))

    done = command("run", artifact, "--input", "in.npy")

    assert done.returncode == 1
    assert "image" in done.stderr and "(1, 3, 8, 9)" in done.stderr and "(1, 3, 8, 8)" in done.stderr


def test_reader_that_leaves_early_is_no_error(model):
    words = f"{sys.executable} -m edgesparse inspect {model} --json | true"

    done = subprocess.run(words, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.stderr == ""


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.0])
def test_interrupted_compile_leaves_nothing_behind(tmp_path, model, seconds):
    process = start_program("compile", model, cwd=tmp_path)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    # Before the program is there, Python ends by the signal; an extension module that is being imported may abort.
    assert process.returncode in (0, 130, -signal.SIGINT, -signal.SIGABRT), errors
    left = list(tmp_path.iterdir())
    if left:  # the signal came when the work was done: then the artifact is whole
        assert [path.name for path in left] == ["model.host.esp"]
        assert reader.read(left[0]).programs[0].steps
    else:
        assert process.returncode != 0
    assert not list(temporary_folder(tmp_path).glob("edgesparse-*"))


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "x"])
def test_a_time_that_is_none_is_bad_usage(command, artifact, seconds):
    for words in (("bench", artifact), ("tune", "-o", "out.toml")):
        done = command(*words, "--seconds", seconds)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_results_that_have_no_place_are_one_line(model):
    program = [sys.executable, "-m", "edgesparse", "inspect", model]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *program], stderr=subprocess.PIPE, text=True)

    assert done.returncode == 1 and done.stderr == "edgesparse: results cannot be written: No space left on device\n"
    assert (closed.returncode, closed.stderr) == (0, "")


def test_more_files_than_select_counts_are_open(artifact):
    code = (
        "import os, sys, edgesparse; held = [os.open('/dev/null', 0) for _ in range(1100)]\n"
        f"print(edgesparse.bench({str(artifact)!r}, seconds=0.0).contenders[0].latency.runs)"
    )
    run = f"ulimit -n 4096; exec '{sys.executable}' -c \"$1\""
    done = subprocess.run(["sh", "-c", run, "sh", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
