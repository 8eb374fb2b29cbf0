"""The command line: global options, lazily imported commands, and errors without tracebacks."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from umedpt_core import __version__
from umedpt_core.errors import ConfigError, Interrupted, UmedptError

if TYPE_CHECKING:
    from umedpt_core.catalogue import Catalogue

INTERRUPTED = 130

COMMANDS = {
    # imported when the command is used or described
    "tasks": "listing:tasks",
    "label-types": "listing:label_types",
    "augmentations": "listing:augmentations",
    "norms": "listing:norms",
    "loggers": "listing:loggers",
    "plugins": "listing:plugins",
    "show": "listing:show",
    "mix": "mix:mix",
    "pretrain": "pretrain:pretrain",
    "adapt": "adapt:adapt",
    "predict": "predict:predict",
    "benchmark": "benchmark:benchmark",
    "report": "report:report",
    "data": "data:data",
    "new-plugin": "new_plugin:new_plugin",
    "check": "check:check",
    "doctor": "doctor:doctor",
}


@dataclass
class Settings:
    """The group's options, as commands get them from ``click.pass_obj``."""

    no_plugin: tuple[str, ...] = ()
    strict: bool = False
    debug: bool = False

    @property
    def speaks(self) -> bool:
        """Whether this is the first of the processes that torchrun has started, or the only one."""
        return os.environ.get("RANK", "0") == "0"

    @cached_property
    def catalogue(self) -> Catalogue:
        """What the installed plugins register, loaded on first use."""
        from umedpt_core.catalogue import load_catalogue

        try:
            return load_catalogue(self.no_plugin, strict=self.strict)
        except ConfigError as error:
            if self.strict and error.__context__:  # a plugin's own exception: show where it arose
                self.debug = True
            raise


class LazyGroup(click.Group):
    """A group that imports its commands when they are needed and words the errors of umedpt.

    Args:
        commands: Name to module of this package and attribute, in the order of ``--help``.
    """

    def __init__(self, *, commands: Mapping[str, str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.lazy = commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a failure becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except UmedptError as error:
            if ctx.obj.debug:
                traceback.print_exc()
            if not isinstance(error, Interrupted):
                click.echo(f"Error: {error}", err=True)
            elif ctx.obj.speaks:
                click.echo(error, err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--strict", is_flag=True, envvar="UMEDPT_STRICT", help="Stop at a broken plugin.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--no-plugin",
    metavar="NAME",
    multiple=True,
    help="Do not import this plugin (a distribution or entry point). Repeatable.",
)
@click.version_option(__version__, prog_name="umedpt")
@click.pass_context
def cli(ctx: click.Context, no_plugin: tuple[str, ...], strict: bool, debug: bool) -> None:
    """Pretrain one medical-imaging model on many small datasets."""
    ctx.obj = Settings(no_plugin, strict, debug)


def main() -> None:
    """The console script ``umedpt``."""
    try:
        cli(prog_name="umedpt")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
