"""Help: every command has one, with an example; nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from muslin.cli import COMMANDS, cli

RUNNER = CliRunner()


def command(name: str) -> click.Command:
    """A command by name."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def test_overview_lists_every_command():
    """`muslin --help` has a line per command, examples and the exit codes."""
    text = RUNNER.invoke(cli, ["--help"]).output
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in text
        assert line in text
    assert "Exit codes: 0 fine, 1 mismatch" in text
    assert "muslin verify scenarios/" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    """What it does in a sentence, an example to copy, and a word on each option."""
    result = RUNNER.invoke(cli, [name, "--help"], prog_name="muslin")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: muslin {name} ")
    assert f"  muslin {name}" in result.output.partition("\n\n")[2]
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"--{parameter.name} of {name} is not explained"


@pytest.mark.parametrize("name", COMMANDS)
def test_short_help_option(name):
    """-h is --help."""
    assert RUNNER.invoke(cli, [name, "-h"]).exit_code == 0


def test_everything_that_answers_has_json():
    """--json is on every command that answers."""
    silent = {"down", "exec", "completion"}
    for name in set(COMMANDS) - silent:
        assert any("--json" in parameter.opts for parameter in command(name).params), name


HEAVY = ("msgspec", "yaml", "rich", "lark", "scapy", "mininet", "pyroute2", "hypothesis", "jinja2", "reference.state")


def modules(*arguments: str) -> set[str]:
    """What is imported by a call."""
    code = (
        "import sys\n"
        f"sys.argv = {['muslin', *arguments]!r}\n"
        "from muslin.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_help_imports_nothing_heavy():
    """The overview comes before any library of ours is needed."""
    assert not modules("--help") & set(HEAVY)


def test_offline_commands_import_nothing_of_the_machine():
    """`evaluate` needs the reference alone: no emulator, no terminal library, no packets."""
    loaded = modules("evaluate", "-f", "scenarios/manifests/shop.yaml", "--from", "shop/web", "--to", "shop/db")
    assert "reference.state" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {
        "emulator", "topologies", "encryption", "rich", "scapy", "mininet", "pyroute2", "hypothesis", "jinja2",
    }  # fmt: skip
