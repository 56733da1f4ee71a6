"""What is in the maps, disassembled: names for numbers, paths for places. Equal programs give equal listings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.encode import words
from emulator.dataplane.ebpf.tables import Tables


def listing(tables: Tables, interface: Callable[[int], str], reference: Callable[[int], str]) -> Mapping[str, object]:
    """The walks and addresses of every interface and the members of every set, of the generation that decides."""
    endpoints: dict[str, dict[str, object]] = {}
    for name, attached in sorted(tables.programmed.endpoints.items()):
        walks: dict[str, object] = {}
        for direction in layout.DIRECTIONS:
            start = tables.maps["endpoints"].get(layout.endpoint_key(attached.interface, direction, tables.current))
            walks[direction] = [] if start is None else list(_code(tables, layout.NUMBER.unpack(start)[0], reference))
        endpoints[name] = {**walks, "sources": []}
    by_index = {attached.interface: name for name, attached in tables.programmed.endpoints.items()}
    for key, bits in tables.maps["sources"].items():
        index, address = layout.source_text(key)
        if layout.NUMBER.unpack(bits)[0] >> tables.current & 1 and index in by_index:
            known = endpoints[by_index[index]]["sources"]
            assert isinstance(known, list)
            known.append(address)
            known.sort()
    return {
        "endpoints": endpoints,
        "hosts": dict(sorted(_hosts(tables, interface, reference))),
        "sets": dict(sorted(tables.sets.listed(tables.current).items())),
    }


def _hosts(
    tables: Tables, interface: Callable[[int], str], reference: Callable[[int], str]
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """The lists of host endpoints, by interface and direction."""
    for key, value in tables.maps["hosts"].items():
        index, direction, generation = layout.endpoint_of(key)
        if generation == tables.current:
            places = zip(layout.LIST_NAMES, layout.LISTS.unpack(value)[:-1], strict=True)
            said = {name: list(_code(tables, place - 1, reference)) for name, place in places if place}
            yield f"{direction} of {interface(index)}", said


def _code(tables: Tables, place: int, reference: Callable[[int], str]) -> Iterator[str]:
    """A walk, its policies in place; it ends where nothing matched."""
    while True:
        what, _, _, skip, argument = words(tables.code.instruction(place))
        if what == "policy":
            yield f"policy {tables.code.policy_name(argument)}, when it passes {skip} on"
            yield from (
                f"  {line}" for line in _policy(tables, tables.code.policy_start(argument, tables.current), reference)
            )
        elif what == "deny":
            yield f"deny: {reference(argument)}"
            if argument == layout.NO_PROFILE:
                return
        elif what == "go on":
            yield what
            return
        else:  # a rule of a failsafe list, which stands by itself
            yield f"  {_rule_part(tables, place, reference)}"
        place += 1


def _policy(tables: Tables, place: int, reference: Callable[[int], str]) -> Iterator[str]:
    while True:
        if words(tables.code.instruction(place))[0] == "end":
            return
        yield _rule_part(tables, place, reference)
        place += 1


def _rule_part(tables: Tables, place: int, reference: Callable[[int], str]) -> str:
    what, leaves_when_true, of_destination, skip, argument = words(tables.code.instruction(place))
    if what in ("allow", "deny", "pass", "log"):
        return f"{what}: {reference(argument)}"
    value = tables.sets.name(argument * 2).removesuffix("4") if "address" in what else f"{argument:#x}"
    side = " of destination" if of_destination else ""
    return f"{what}{side} {value}, {'when true' if leaves_when_true else 'when false'} {skip} on"
