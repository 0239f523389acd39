"""The `edgesparse` program: its commands, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from edgesparse.cli import build, use
from edgesparse.errors import EdgesparseError
from edgesparse.tables import shown

BAD_INPUT = 1
INTERRUPTED = 130

_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What later versions of click raise where nothing is given: its message is the help."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="edgesparse", prog_name="edgesparse")
@click.pass_context
def app(context: click.Context) -> None:
    """Compile sparse neural networks for the CPUs people own."""
    context.color = False if os.environ.get("NO_COLOR") else None


for command in (*use.COMMANDS, *build.COMMANDS):
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0, 1 for bad input, 2 for bad usage, 130 when interrupted."""
    interrupts = _record_interrupts()
    if sys.stdout is None:  # closed: there is no place for results
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        code = app(arguments, prog_name="edgesparse", standalone_mode=False)
        sys.stdout.flush()
    except _HELP as err:
        err.show()
        sys.exit(err.exit_code)
    except click.ClickException as err:
        _say(_in_one_line(err))
        sys.exit(err.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("edgesparse: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except EdgesparseError as err:
        _say(shown(err))
        sys.exit(BAD_INPUT)
    except BrokenPipeError:  # the reader of our output has gone, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BAD_INPUT)
    except Exception as err:
        if isinstance(err, OSError) and err.errno == errno.ENOSPC and err.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"edgesparse: results cannot be written: {err.strerror}", err=True)
            sys.exit(BAD_INPUT)
        if not interrupts:
            raise
        click.echo("edgesparse: interrupted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code or 0)


def _say(error: str) -> None:
    click.echo(f"{click.style('edgesparse:', fg='red')} {error}", err=True)


def _in_one_line(err: click.ClickException) -> str:
    """What is wrong with the usage, and where the right one is told."""
    message = shown(" ".join(err.format_message().split())).removesuffix(".")
    context = err.ctx if isinstance(err, click.UsageError) else None
    if context is None:
        return message
    return f"{message}{' See' if message.endswith('?') else '; see'} {context.command_path} --help"


def _record_interrupts() -> list[int]:
    """A list that grows with every SIGINT: extension modules that are being imported turn them into other errors."""
    seen: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    return seen
