"""What a person sees on a terminal, and what a file gets."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reports.terminal import Progress, show

NAMES = tuple(f"namespace-{n}/pod-{n}" for n in range(12))


def shown(result, width=100, **options):
    """The text of a result."""
    stream = io.StringIO()
    show(result, Console(file=stream, width=width, highlight=False, **options))
    return stream.getvalue()


def test_no_colours_in_a_file(results):
    """Output that is no terminal has no escape in it; a terminal has colours."""
    assert "\x1b" not in shown(results.everything())
    assert "\x1b" in shown(results.everything(), force_terminal=True)


def test_twelve_endpoints_are_legible(results):
    """All pairs of twelve pods: a row each with its number and name, a letter per destination, no line too long."""
    checks = [results.check(source=source, destination=to) for source in NAMES for to in NAMES]
    lines = shown(results.run(results.scenario(*checks)), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    (head,) = [line for line in lines if "from \\ to" in line]
    assert head.split()[3:] == [str(number) for number in range(12)]
    for number, name in enumerate(NAMES):
        (row,) = [line.split() for line in lines if name in line]
        assert row == [str(number), name, *"." * 12]


def test_few_destinations_go_by_name(results):
    """Where the names fit across, columns are headed by them."""
    text = shown(results.run(results.scenario(results.check(), results.check(source="shop/api"))))
    assert "from \\ to shop/db" in text


def test_a_mismatch_names_the_policy_and_the_line(results):
    """The flow, the voices, the reason, the manifest line and its text, the kernel's evidence."""
    text = shown(results.run(results.scenario(results.mismatch())))
    assert "MISMATCH shop/web -> shop/db 5432/TCP (IPv4): expected allowed, oracle denied, kernel denied" in text
    assert "rule 1 of np:shop/db (shop.yaml:19)" in text
    assert "- action: Deny" in text
    assert "kernel: dropped on node-1" in text
    assert text.rstrip().splitlines()[-1].startswith("FAILED  1 scenario, 1 check, 1 mismatch")


def test_many_mismatches_are_cut_and_counted(results):
    """Five are shown in full; the rest are counted."""
    text = shown(results.run(results.scenario(*(results.mismatch(port=port) for port in range(1, 9)))))
    assert text.count("MISMATCH") == 5
    assert "and 3 more; --report writes them all" in text


@pytest.mark.parametrize("name", ["[red]x[/]", "[/oops]", ":smile:"])
def test_names_are_not_markup(results, name):
    """A name that looks like the terminal library's markup is printed as it is."""
    wrong = results.mismatch(source=name, evidence=name, oracle_reason=name)
    text = shown(results.run(results.scenario(wrong, error=name, title=name, status="failed")))
    assert text.count(name) >= 5


def test_why_a_run_broke_off(results):
    """The reason is said with the scenario, and in the progress."""
    broken = results.scenario(status="unknown", error="no /dev/net/tun [here]", fault="environment")
    assert "broke off: no /dev/net/tun [here]" in shown(results.run(broken))
    stream = io.StringIO()
    progress = Progress(Console(file=stream, width=100))
    progress.scenario_started("a-lesson", 1, 1)
    progress.step("probing")
    progress.scenario_ended(broken)
    assert stream.getvalue() == "[1/1] a-lesson: unknown, 0 checks, 0 mismatches, 1.5 s\n  no /dev/net/tun [here]\n"


def test_progress_on_a_terminal_is_one_line_in_passing(results):
    """On a terminal steps overwrite one another; elsewhere only the outcome is printed."""
    stream = io.StringIO()
    progress = Progress(Console(file=stream, width=100, force_terminal=True))
    progress.scenario_started("a-lesson", 1, 2)
    progress.step("probing")
    assert stream.getvalue().count("\n") == 0
    assert "\r\x1b[K[1/2] a-lesson: probing" in stream.getvalue()
    progress.scenario_ended(results.scenario(results.check()))
    assert stream.getvalue().count("\n") == 1
