"""What is compiled from C, and what is said where that cannot be done."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from emulator.dataplane.ebpf import build, encode
from reference.errors import EnvironmentLacksError


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An installation in which nothing is compiled yet, and a cache of the user's own."""
    here = tmp_path / "installed"
    here.mkdir()
    for source in (*build.HERE.glob("*.c"), *build.HERE.glob("*.h")):
        (here / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(build, "HERE", here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return here


def test_what_is_compiled_lies_beside_its_source_until_that_changes(elsewhere):
    """Whoever may read the source may use it; an outdated one goes."""
    first = build._compiled(build._ASSEMBLER)
    assert first.parent == elsewhere
    assert stat.S_IMODE(first.stat().st_mode) == 0o644
    assert build._compiled(build._ASSEMBLER) == first
    with (elsewhere / "instructions.h").open("a") as header:
        header.write("/* changed */\n")
    second = build._compiled(build._ASSEMBLER)
    assert second != first
    assert sorted(elsewhere.glob("assembler.*.so")) == [second]


def test_where_the_installation_may_not_be_written_it_lies_in_the_users_cache(elsewhere, tmp_path, monkeypatch):
    """And where neither may, that is said with both places."""
    link = build.os.link

    def refused(source, target):
        if Path(target).is_relative_to(elsewhere):
            raise PermissionError
        link(source, target)

    monkeypatch.setattr(build.os, "link", refused)
    assert build._compiled(build._ASSEMBLER).parent == tmp_path / "cache" / "muslin"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentLacksError, match=r"neither .*installed nor .*file/muslin can be written;"):
        build._compiled(build._ASSEMBLER)


@pytest.mark.parametrize("target", [build._PROGRAMS, build._ASSEMBLER], ids=lambda target: target.source)
def test_what_is_missing_is_said_in_one_line(elsewhere, monkeypatch, target):
    """Without the compiler, and without what the source includes."""
    broken = target._replace(options=("-nostdinc", *target.options))
    with pytest.raises(
        EnvironmentLacksError, match=f"could not compile {target.what}: .*; are these installed:"
    ) as said:
        build._compiled(broken)
    assert "\n" not in str(said.value)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentLacksError, match=r"clang is not installed, .*apt install clang"):
        build._compiled(target)


def test_what_is_no_list_of_rules_is_refused():
    """Nothing is read as what it is not, and nothing of it is left out."""
    assembler, match = encode._assembler(), encode.Match(source_sets=["n1"])
    for lists, firsts, said in (
        ([[]], [0], "list where a tuple belongs"),
        ([("rule",)], [0], "str among rules"),
        ([(encode.ProgramRule(action="allow", index=0, match=match),)], [0], "list where a tuple belongs"),
        ([(encode.ProgramRule(action="allow", index="0", match=encode.Match()),)], [0], "int"),
        ([()], [], "not as many first numbers as lists"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            assembler.assemble(lists, firsts, {"n1": 1}, True)
    with pytest.raises(TypeError, match="str among rules"):
        assembler.highest([("rule",)])
    rule = encode.ProgramRule(action="allow", index=0, match=encode.Match(source_sets=("n1",)))
    with pytest.raises(KeyError, match="n1"):
        assembler.assemble([(rule,)], [0], {}, True)


def test_structs_that_are_not_what_the_assembler_reads_are_refused():
    """It reads fields where a struct keeps them: anything else is told when it is loaded, not when it is read."""

    class Property:
        cover = items = property(lambda self: ())

    assembler = encode._assembler()
    with pytest.raises(TypeError, match=r"Property\.cover is no field of a struct"):
        assembler.know(encode.ProgramRule, encode.Match, encode.PortRange, Property, encode.ACTIONS)
    with pytest.raises(AttributeError, match="low"):
        assembler.know(encode.ProgramRule, encode.Match, encode.Match, encode.Block, encode.ACTIONS)
    assembler.know(encode.ProgramRule, encode.Match, encode.PortRange, encode.Block, encode.ACTIONS)
