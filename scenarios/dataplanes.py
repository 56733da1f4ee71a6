"""What scenarios are run on: one dataplane, several in turn, or several at once, node by node.

A column of the result is a dataplane's name; names joined by `+`, which the nodes take in turn; or `mixed`, where each
scenario's nodes take what the machine has in another order, so that in a collection every dataplane meets every other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations

from emulator.dataplane import DATAPLANES, require_dataplane
from emulator.session import Session
from reference.errors import EnvironmentLacksError

ALL, MIXED, AND = "all", "mixed", "+"
_STRIDE = 7  # through the orders: neighbours in the list begin with the same two


def require_column(given: str) -> None:
    """Refuse what is no column.

    Raises:
        InvalidInputError: says which dataplanes there are.
    """
    if given not in (ALL, MIXED):
        for name in given.split(AND):
            require_dataplane(name)


def columns(
    given: Iterable[str], sort_out: Callable[[Iterable[str]], tuple[list[str], dict[str, str]]]
) -> tuple[list[str], list[str], dict[str, str]]:
    """(columns, dataplanes to mix, what is left out and why) for what a user asked for.

    The machine is only tried, by `sort_out`, where it decides what a column is.
    """
    wanted = list(dict.fromkeys(given))
    if not {ALL, MIXED} & set(wanted):
        return wanted, [], {}
    able, left_out = sort_out(DATAPLANES)
    if MIXED in wanted and len(able) < 2:
        wanted.remove(MIXED)
        left_out[MIXED] = f"it takes two dataplanes, and here works only {able[0] if able else 'none'}"
    expanded = [name for one in wanted for name in (able if one == ALL else [one])]
    return list(dict.fromkeys(expanded)), able, left_out


def assigned(column: str, able: Sequence[str], number: int, nodes: int) -> tuple[str, ...]:
    """The dataplane of each node of the scenario with that number."""
    names: Sequence[str] = column.split(AND)
    if column == MIXED:
        orders = list(permutations(able))
        names = orders[number * _STRIDE % len(orders)]
    return tuple(names[node % len(names)] for node in range(nodes))


def sort_out(
    names: Iterable[str], make: Callable[..., Session] = Session, say: Callable[[str], None] = lambda _: None
) -> tuple[list[str], dict[str, str]]:
    """The dataplanes this machine and this user can run, in their order, and the others with what is lacking.

    Each is tried on a small cluster of its own.
    """
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
