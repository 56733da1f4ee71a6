"""The members of sets, counted, so that one comes and goes without looking at the others (NS-1)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from reference.endpoints import Family
from reference.program.descent import descends
from reference.program.matching import Item
from reference.program.nets import Cover, Net, net
from reference.program.sets import SetSpec
from reference.program.types import IPSet

FAMILIES: tuple[Family, ...] = (4, 6)


class SetMembers:
    """Who is in one set, of both families. Hears of items from its selector; `render` gives the sets."""

    def __init__(self, spec: SetSpec, changed: Callable[[SetMembers], None]) -> None:
        self.spec = spec
        self.rendered: dict[Family, IPSet] = {}
        self._changed = changed
        self._families = {family: _Nets(family) if spec.kind == "nets" else _Plain() for family in FAMILIES}

    def moved(self, old: Item | None, new: Item | None) -> None:
        """Count an item out, and in."""
        if old is not None:
            for family, member in self._members(old):
                self._families[family].discard(member)
        if new is not None:
            for family, member in self._members(new):
                self._families[family].add(member)
        self._changed(self)

    def _members(self, item: Item) -> list[tuple[Family, str]]:
        """An endpoint or network set contributes its nets; to a set of ports, an endpoint the ports of that name."""
        spec = self.spec
        if spec.kind == "nets":
            return list(item.nets)
        return [
            (family, f"{address.partition('/')[0]},{port.protocol},{port.port}")
            for port in item.ports
            if port.name == spec.port and spec.protocol in (None, port.protocol)
            for family, address in item.nets
        ]

    def render(self) -> bool:
        """Bring `rendered` up to date; report whether anything in it is a new object."""
        fresh = False
        for family, counted in self._families.items():
            members = counted.members()
            known = self.rendered.get(family)
            if known is None or known.members is not members:
                name = f"{self.spec.id}{family}"
                self.rendered[family] = IPSet(id=name, kind=self.spec.kind, family=family, members=members)
                fresh = True
        return fresh


class _Plain:
    """A multiset: a member leaves when its last contributor does."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._touched: set[str] = set()  # since the last look
        self._last: frozenset[str] = frozenset()  # what was seen then

    def add(self, member: str) -> bool:
        """Count one in; report whether it is the first."""
        count = self._counts.get(member, 0)
        self._counts[member] = count + 1
        self._touched.add(member)
        return count == 0

    def discard(self, member: str) -> bool:
        """Count one out; report whether it was the last."""
        count = self._counts[member] - 1
        self._touched.add(member)
        if count:
            self._counts[member] = count
        else:
            del self._counts[member]
        return count == 0

    def members(self) -> frozenset[str]:
        """Those counted at least once; while they are the same, the same object."""
        present = self._present()
        differing = {member for member in self._touched if (member in present) != (member in self._last)}
        self._touched = set()
        if differing:
            self._last = descends(frozenset(present), self._last, differing)
        return self._last

    def _present(self) -> Collection[str]:
        return self._counts


class _Nets(_Plain):
    """CIDRs of one family without those contained in another.

    Single addresses, which are most of them, are kept visible or hidden one by one; a change of a wider CIDR, which is
    rare, looks at all again.
    """

    def __init__(self, family: Family) -> None:
        super().__init__()
        self._family = family
        self._cover = Cover(family, ())
        self._visible: set[str] = set()
        self._stale = False

    def add(self, member: str) -> bool:
        first = super().add(member)
        if first:
            self._note(net(member), came=True)
        return first

    def discard(self, member: str) -> bool:
        last = super().discard(member)
        if last:
            self._note(net(member), came=False)
        return last

    def _note(self, member: Net, *, came: bool) -> None:
        if not member.is_host:
            self._stale = True
        elif not came:
            self._visible.discard(member.text)
        elif not self._cover.contains(member):
            self._visible.add(member.text)

    def _present(self) -> Collection[str]:
        """The CIDRs that no other contains."""
        if self._stale:
            nets = [net(text) for text in self._counts]
            self._cover = Cover(self._family, [each for each in nets if not each.is_host])
            self._visible = {each.text for each in nets if not self._cover.contains(each)}
            self._touched |= self._visible.symmetric_difference(self._last)
            self._stale = False
        return self._visible
