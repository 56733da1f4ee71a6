"""`muslin doctor`: what this machine can do."""

from __future__ import annotations

import click

from muslin.cli import output


@click.command()
@output.json_option
def doctor(as_json: bool) -> int:
    """Say what this machine can do, what is missing, and how to get it. Exit code 3: live clusters cannot run.

    \b
    muslin doctor
    """
    from emulator.doctor import diagnose

    report = diagnose()
    if as_json:
        output.print_json(report)
    else:
        console = output.console()
        for finding in report.findings:
            style = "green" if finding.found else "red" if finding.required else "yellow"
            console.print("ok  " if finding.found else "none", style=style, end=" ")
            console.print(f"{finding.name}: {finding.detail}")
            if not finding.found:
                console.print(f"     needed for {finding.needed_for}; {finding.remedy}")
    return 0 if report.able else 3
