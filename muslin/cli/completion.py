"""`muslin completion`: the script that teaches a shell our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    muslin completion bash >> ~/.bashrc
    muslin completion zsh  >> ~/.zshrc
    muslin completion fish > ~/.config/fish/completions/muslin.fish
    """
    from muslin.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "muslin", "_MUSLIN_COMPLETE").source())
