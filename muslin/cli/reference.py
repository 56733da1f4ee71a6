"""The reference page of the command line, written from the commands themselves: `python -m muslin.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from muslin.cli import COMMANDS, cli

_HEAD = """\
# The command line

Written by `python -m muslin.cli.reference > docs/cli.md` from what `--help` says; a test sees that it is up to date.

Every command that answers takes `--json`: one JSON document on standard output. Errors are one line on standard error.

| exit code | meaning |
|---|---|
| 0 | fine |
| 1 | a mismatch, or no evidence; a denial, where asked; a damaged log |
| 2 | bad input: a manifest, a scenario, an option, a name nobody has |
| 3 | the machine lacks something; `muslin doctor` says what |

`muslin exec` exits with the code of the command it ran.
"""


def page() -> str:
    """The page, in Markdown."""
    context = click.Context(cli, info_name="muslin")
    index = "\n".join(f"- [`muslin {name}`](#muslin-{name}): {text}" for name, (_, text) in COMMANDS.items())
    return "\n".join([_HEAD, index, "", *(_section(context, name) for name in COMMANDS)])


def _section(parent: click.Context, name: str) -> str:
    command = cli.get_command(parent, name)
    assert command is not None, "the table names commands that exist"
    context = click.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    prose, _, example = (command.help or "").partition("\b\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.strip().split("\n\n")]
    parts = [f"## muslin {name}", f"```text\n{usage}\n```", *paragraphs]
    parts += ["Examples:", f"```console\n{_prompted(example)}\n```", "| option | meaning |\n|---|---|"]
    return "\n\n".join(parts) + "\n" + "\n".join(_rows(command)) + "\n"


def _prompted(example: str) -> str:
    return "\n".join(f"$ {line.strip()}" for line in example.strip().splitlines())


def _rows(command: click.Command) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option):
            names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
            value = "" if option.is_flag else f" {_value(option)}"
            facts = ["required"] if option.required else []
            if option.show_default and option.default not in (None, ()):
                facts.append(f"default: `{option.default}`")
            yield f"| {names}{value} | {option.help}{' (' + ', '.join(facts) + ')' if facts else ''} |"
    yield "| `-h`, `--help` | Show the help. |"


def _value(option: click.Option) -> str:
    text = option.metavar or (
        "\\|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.type.name.upper()
    )
    return text.replace("|", "\\|") if option.metavar else text


if __name__ == "__main__":
    click.echo(page(), nl=False)
