"""The ``sancodec`` command; every verb is loaded when it is called, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import click

_COMMANDS = {
    "compress": ("sancodec.cli.compress", "Compress records to .san files."),
    "decompress": ("sancodec.cli.decompress", "Restore records from .san files."),
    "batch": ("sancodec.cli.batch", "Compress whole trees of records, or restore them."),
    "info": ("sancodec.cli.info", "Tell what is inside .san files."),
    "verify": ("sancodec.cli.verify", "Check .san files, decoding everything."),
    "compare": ("sancodec.cli.compare", "Tell what was lost."),
    "events": ("sancodec.cli.events", "Write the beats of .san files as WFDB annotations, without decoding."),
    "plot": ("sancodec.cli.plot", "Draw what is inside .san files and models (needs the plot extra)."),
    "models": ("sancodec.cli.models", "List the kernel models that ship."),
    "export": ("sancodec.cli.export", "Write or check a deployment kit of ONNX graphs."),
    "train": ("sancodec.cli.train", "Train kernel models and networks (needs the train extra)."),
    "select": ("sancodec.cli.select", "Train networks of many kinds and keep the best (needs the train extra)."),
}


class _LazyGroup(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _version() -> str:
    from importlib.metadata import version

    return version("sancodec")


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"sancodec {_version()}")
        ctx.exit()


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def group() -> None:
    """Compress physiological recordings with Sparsely Activated Networks.

    \b
    sancodec compress 100.dat              writes 100.san, no sample of an ECG lead off by more than 20 uV
    sancodec decompress 100.san -o copy    writes copy/100.dat and copy/100.hea
    sancodec compare 100.hea 100.san       tells what was lost
    """


class _Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, so that it tidies up."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def main() -> None:
    """Entry point: errors of the input end in one line and exit status 1, usage errors in 2."""
    with suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # channels run in threads of our own
    from sancodec.errors import SancodecError

    try:
        # Outside its standalone mode click returns the status that a command exits with.
        status = group(standalone_mode=False, prog_name="sancodec")
        if status:
            sys.exit(status)
    except (click.Abort, KeyboardInterrupt) as error:
        is_terminated = isinstance(error, _Terminated) or isinstance(error.__cause__, _Terminated)
        click.echo(f"sancodec: {'terminated' if is_terminated else 'interrupted'}", err=True)
        sys.exit(128 + (signal.SIGTERM if is_terminated else signal.SIGINT))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SancodecError as error:
        click.echo(f"sancodec: error: {error}", err=True)
        sys.exit(1)
