"""Which dataplanes this machine and this user can run: each is tried on a small cluster of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from emulator.session import Session
from reference.errors import EnvironmentLacksError


def sort_out(
    names: Iterable[str], make: Callable[..., Session] = Session, say: Callable[[str], None] = lambda _: None
) -> tuple[list[str], dict[str, str]]:
    """Those that work, in their order, and the others with one line each that says what is lacking."""
    able: list[str] = []
    lacking: dict[str, str] = {}
    for name in names:
        say(f"trying the {name} dataplane")
        session = make(topology="single", nodes=1, dataplane=name)
        try:
            session.start()
            able.append(name)
        except EnvironmentLacksError as error:
            lacking[name] = " ".join(str(error).split())
        finally:
            session.close()
    return able, lacking
