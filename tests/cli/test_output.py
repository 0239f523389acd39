"""What a terminal shows: tables that fit, stages while they last, help in groups; and what a pipe gets."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import click
import pytest

from edgesparse.cli.app import app
from edgesparse.cli.command import SECTIONS, Command
from edgesparse.devices import targets
from edgesparse.tables import Table
from tests.cli.models import classifier

NAME = "/model/encoder/layers.11/attention/self/query/MatMul_quantized_weights"


@pytest.mark.parametrize("width", [40, 60, 80, 133])
def test_lines_fit_the_width_and_long_texts_lose_their_middle(width):
    rows = [(NAME, "MatMul", 123456, "dense: sparse is predicted 3 % faster, within the error"), ("x", "y", 1, "z")]

    lines = Table(("layer", "op", "weights", "why"), rows).text(width).splitlines()

    assert max(map(len, lines)) <= width
    assert lines[1].split()[0] == NAME or re.fullmatch(r"/mod.*….*ts", lines[1].split()[0])
    assert "123456" in lines[1]


def test_lines_as_long_as_needed_reach_a_pipe():
    assert NAME in Table(("layer",), [(NAME,)]).text()
    assert Table(("a", "b"), [("x", 1), ("yy", 22)]).text().splitlines() == ["a    b", "x    1", "yy  22"]


def commands() -> list[tuple[str, click.Command]]:
    group = click.Context(app)
    return [(name, app.get_command(group, name)) for name in app.list_commands(group)]


@pytest.mark.parametrize(("name", "each"), [pair for pair in commands() if isinstance(pair[1], Command)])
def test_help_lists_every_option_once_and_ends_in_an_example_that_parses(name, each):
    context = click.Context(each, info_name=name, terminal_width=80)
    text = each.get_help(context)

    for option in each.params:
        if isinstance(option, click.Option):
            assert len(re.findall(rf"^ +(-\w, )?{option.opts[-1]}\b(?!-)", text, re.MULTILINE)) == 1, option.opts
    example = text.rstrip().splitlines()[-1].split()
    assert example[:2] == ["edgesparse", name]
    each.make_context(name, example[2:])  # unknown options and missing arguments are errors


def test_every_heading_has_options():
    used = {option.name for _, each in commands() for option in each.params} | {"_click_default_help"}

    assert {name for names in SECTIONS.values() for name in names} <= used


def test_the_list_of_commands_has_whole_sentences(command):
    listed = command("--help").stdout.split("Commands:")[1].strip().splitlines()

    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_names_of_targets_are_completed(command, monkeypatch):
    monkeypatch.setenv("_EDGESPARSE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "edgesparse compile m.onnx --target rpi")
    monkeypatch.setenv("COMP_CWORD", "4")

    offered = [line.partition(",")[2] for line in command().stdout.splitlines()]

    assert offered == [name for name in targets.names() if name.startswith("rpi")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("model") / "model.onnx")


def test_verbose_times_every_stage_and_quiet_says_only_what_was_asked_for(command, model):
    told = command("compile", model, "-o", "m.esp", "--no-witness", "--verbose")
    quiet = command("compile", model, "-o", "m.esp", "--no-witness", "--quiet")
    both = command("compile", model, "--quiet", "--verbose")

    stages = told.stderr.splitlines()
    assert all(re.fullmatch(r"[\w .]+: \d+\.\d s", line) for line in stages), stages
    assert {"reading the model", "choosing kernels", "writing the artifact"} < {line.split(":")[0] for line in stages}
    assert quiet.stderr == "" and "m.esp: " in quiet.stdout
    assert both.returncode == 2 and "--quiet or --verbose" in both.stderr


def test_a_terminal_gets_lines_that_fit_and_no_colours_where_none_are_wanted(model):
    """A terminal of 60 columns, as a program sees it."""
    for wanted, codes in (({}, True), ({"NO_COLOR": "1"}, False)):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm", **wanted}
        arguments = [sys.executable, "-m", "edgesparse", "inspect", str(model)]
        done = subprocess.run(arguments, stdout=theirs, stderr=subprocess.PIPE, env=environment, check=True)
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 4096):
                text += chunk
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        rows = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.decode().splitlines()]
        assert ("\x1b[" in text.decode()) == codes
        assert all(len(row) <= 60 for row in rows[-3:]), rows
        assert done.stderr == b""
