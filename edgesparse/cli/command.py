"""What all commands have: how much they say, help in groups of options, and an example at its end."""

from __future__ import annotations

from typing import Any

import click

from edgesparse.pipeline.options import HOW, HOW_MUCH, SEARCH, fields

_PRUNING = {name: field.option.section for name, field in fields().items()} | {"recipe": HOW}

SECTIONS: dict[str, tuple[str, ...]] = {
    **{section: tuple(name for name in _PRUNING if _PRUNING[name] == section) for section in (HOW_MUCH, HOW, SEARCH)},
    "Inputs and labels": ("input_shapes", "bind", "preprocess", "labels"),
    "Messages": ("as_json", "quiet", "verbose", "_click_default_help"),
}
"""Headings of the help, and the options below them; others come first."""

_VOICE = "edgesparse.voice"


class Command(click.Command):
    """A command of this program.

    Args:
        example: a line that can be typed as it is, but for names of files.
        short: what it does, in a line of the list of commands.
    """

    def __init__(self, *args: Any, example: str, short: str, **kwargs: Any) -> None:
        texts = {"short_help": short, "epilog": f"\b\nExample:\n  {example}"}
        super().__init__(*args, **{**kwargs, **texts})
        for name, words in (
            ("quiet", "Print only the result: no progress, no notes."),
            ("verbose", "Print when each stage begins and how long it took."),
        ):
            said = click.Option([f"--{name}"], is_flag=True, expose_value=False, callback=_set_voice, help=words)
            self.params.append(said)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below their headings."""
        options = (option for option in self.get_params(ctx) if isinstance(option, click.Option))
        records = {str(option.name): option.get_help_record(ctx) for option in options}
        placed = {name for names in SECTIONS.values() for name in names}
        groups = {"Options": tuple(name for name in records if name not in placed), **SECTIONS}
        for heading, names in groups.items():
            told = [record for name in names if (record := records.get(name)) is not None]
            if told:
                with formatter.section(heading):
                    formatter.write_dl(told)


def _set_voice(context: click.Context, option: click.Parameter, value: bool) -> None:
    if not value:
        return
    if context.meta.setdefault(_VOICE, option.name) != option.name:
        raise click.UsageError("give --quiet or --verbose, not both")


def _voice() -> object:
    context = click.get_current_context(silent=True)
    return context.meta.get(_VOICE) if context else None


def is_quiet() -> bool:
    """Whether the user wants to be told what was asked for only."""
    return _voice() == "quiet"


def is_verbose() -> bool:
    """Whether the user wants to be told every stage."""
    return _voice() == "verbose"
