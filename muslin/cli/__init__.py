"""The command line. One module per family of commands; each is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from reference.errors import EnvironmentLacksError, InvalidInputError, MuslinError

# command -> (module, one line for the overview); the order is the order of `muslin --help`
COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("doctor", "What this machine can do, what is missing, how to get it."),
    "check": ("offline", "Validate manifests and scenarios."),
    "evaluate": ("offline", "Ask the oracle about one flow: verdict and trace, offline."),
    "lint": ("lint", "What is legal in manifests and probably not meant."),
    "matrix": ("offline", "All pairs, offline."),
    "preview": ("preview", "What committing the staged policies would change."),
    "verify": ("verify", "Run scenarios with real packets and compare with the oracle."),
    "up": ("clusters", "Bring up a cluster that stays."),
    "down": ("clusters", "Take a cluster down."),
    "ls": ("clusters", "List the running clusters."),
    "dataplane": ("dataplane", "Show the nodes' dataplanes, or go over to another one."),
    "apply": ("objects", "Apply manifests to a running cluster."),
    "delete": ("objects", "Delete what manifests name from a running cluster."),
    "get": ("objects", "Show resources of a running cluster."),
    "exec": ("live", "Run a command in a pod."),
    "probe": ("live", "Send a real packet and say what became of it."),
    "explain": ("live", "Model and kernel side by side for one flow."),
    "log": ("logs", "Show or follow the event log of a cluster."),
    "replay": ("logs", "Replay an event log, and verify it."),
    "fuzz": ("fuzz", "Search for differences between model, program and kernel."),
    "completion": ("completion", "Print the shell's completion script."),
}

HELP = ["-h", "--help"]
FINE, MISMATCH, BAD_INPUT, LACKING = 0, 1, 2, 3
FAULT = 70  # a bug of ours: none of the four above


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"muslin.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name if cmd_name != "exec" else "exec_")
        command.context_settings.setdefault("help_option_names", HELP)  # also when it is invoked without its group
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:  # noqa: ANN401 - click's own type
        """Say which command was meant when one is misspelt."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no command is named {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": HELP},
    epilog="Exit codes: 0 fine, 1 mismatch (or denied, where asked), 2 bad input, 3 the environment lacks something.",
)
@click.version_option(package_name="muslin")
def cli() -> None:
    """Muslin: a whole Calico-style cluster on one laptop.

    Every change is an event, every packet is explained, every claim is checked against real packets.

    \b
    muslin verify scenarios/default-deny.yaml       run a scenario and see it proved
    muslin evaluate -f manifests/ --from shop/web --to shop/db --port 5432/TCP
    muslin up -f manifests/ && muslin explain shop/web shop/db 5432/TCP
    """


def main() -> None:
    """The `muslin` command: run, and turn errors into one line and an exit code."""
    try:
        code = cli.main(prog_name="muslin", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        click.echo(_one_line(error), err=True)
        code = BAD_INPUT
    except MuslinError as error:
        click.echo(f"muslin: {error}", err=True)
        code = exit_code_of(error)
    except BrokenPipeError:
        # the reader of our output went away; say nothing, and keep the interpreter from saying it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FINE
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if os.environ.get("MUSLIN_DEBUG"):
            raise
        click.echo(f"muslin: a fault in Muslin itself: {error!r}; set MUSLIN_DEBUG=1 to see where", err=True)
        code = FAULT
    sys.exit(code if isinstance(code, int) else FINE)


def _one_line(error: click.ClickException) -> str:
    """What was wrong with the command line, and where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "muslin"
    if not sys.argv[1:]:
        return error.format_message()  # called without anything: what it can do
    message = error.format_message().rstrip(".").replace("\n", " ")
    message = message[:1].lower() + message[1:]
    hint = "" if "did you mean" in message.lower() else f"; see: {command} --help"
    return f"{command}: {message}{hint}"


def exit_code_of(error: MuslinError) -> int:
    """The exit code for an error a user may see."""
    if isinstance(error, EnvironmentLacksError):
        return LACKING
    return BAD_INPUT if isinstance(error, InvalidInputError) else MISMATCH
