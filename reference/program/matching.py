"""Selectors kept matched against everything that has labels, at a cost that grows with the change (SEL-9).

Both sides are indexed. A new selector looks only at things that have a label value it requires; a changed thing looks
only at selectors that require a label value it has. Who wants to know attaches a listener to a selector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from reference.endpoints import EndpointPort, Family
from reference.selectors import Selector, required

ItemKey = tuple[str, ...]  # (namespace, pod) of an endpoint, or the Key of a network set
Pair = tuple[str, str | None]  # a label and a value of it, or any value; ("", None) for no label at all
_NOTHING: Pair = ("", None)
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A workload endpoint or a network set, as selectors and sets see it."""

    key: ItemKey
    labels: dict[str, str]  # effective: its own over its profiles' (SEL-9)
    nets: tuple[tuple[Family, str], ...]  # canonical CIDRs
    is_endpoint: bool  # policies apply to endpoints only (NS-2)
    ports: tuple[EndpointPort, ...] = ()

    def contributes_as(self, other: Item) -> bool:
        """Report whether it adds the same members to sets."""
        return self.nets == other.nets and self.ports == other.ports


class Listener(Protocol):
    """Told of every item that enters a selector's matches (old None), leaves them (new None), or changes inside."""

    def moved(self, old: Item | None, new: Item | None) -> None:
        """Take note."""
        ...


@dataclass(slots=True, eq=False)
class _Live:
    """A selector somebody listens to, and what it matches now."""

    selector: Selector
    pairs: tuple[Pair, ...]  # where it is filed
    matched: set[ItemKey] = field(default_factory=set)
    listeners: list[Listener] = field(default_factory=list)

    def tell(self, old: Item | None, new: Item | None) -> None:
        for listener in self.listeners:
            listener.moved(old, new)


class Matching:
    """All items, all selectors listened to, and who matches whom."""

    def __init__(self) -> None:
        self._items: dict[ItemKey, Item] = {}
        self._matched_by: dict[ItemKey, set[_Live]] = {}
        self._keys_by_pair: dict[Pair, set[ItemKey]] = {}
        self._live: dict[str, _Live] = {}  # by canonical text
        self._live_by_pair: dict[Pair, set[_Live]] = {}

    def put(self, key: ItemKey, item: Item | None) -> None:
        """Give an item a new value, or take it out; listeners hear of the difference."""
        old = self._items.pop(key, None)
        before = self._matched_by.pop(key, set())
        if old is not None and (item is None or item.labels != old.labels):
            self._file(old, remove=True)
        if item is None:
            after: set[_Live] = set()
        else:
            self._items[key] = item
            if old is None or item.labels != old.labels:
                self._file(item)
                after = {live for live in self._candidates(item) if live.selector.matches(item.labels)}
            else:
                after = before
            self._matched_by[key] = after
        self._tell(key, old, item, before, after)

    def _tell(self, key: ItemKey, old: Item | None, new: Item | None, before: set[_Live], after: set[_Live]) -> None:
        for live in before - after:
            live.matched.discard(key)
            live.tell(old, None)
        for live in after - before:
            live.matched.add(key)
            live.tell(None, new)
        if old is not None and new is not None and not new.contributes_as(old):
            for live in before & after:
                live.tell(old, new)

    def attach(self, selector: Selector, listener: Listener) -> None:
        """Let a listener hear of everything the selector matches, now and later."""
        live = self._live.get(selector.canonical) or self._start(selector)
        live.listeners.append(listener)
        for key in live.matched:
            listener.moved(None, self._items[key])

    def detach(self, selector: Selector, listener: Listener) -> None:
        """Stop listening; the listener sees everything leave."""
        live = self._live[selector.canonical]
        for key in live.matched:
            listener.moved(self._items[key], None)
        live.listeners.remove(listener)
        if not live.listeners:
            self._stop(live)

    def _start(self, selector: Selector) -> _Live:
        pairs, keys = self._best_pairs(selector)
        live = _Live(selector, pairs)
        matches = selector.matches
        live.matched = {key for key in keys if matches(self._items[key].labels)}
        for key in live.matched:
            self._matched_by[key].add(live)
        for pair in pairs:
            self._live_by_pair.setdefault(pair, set()).add(live)
        self._live[selector.canonical] = live
        return live

    def _stop(self, live: _Live) -> None:
        del self._live[live.selector.canonical]
        for pair in live.pairs:
            _discard(self._live_by_pair, pair, live)
        for key in live.matched:
            self._matched_by[key].discard(live)

    def _best_pairs(self, selector: Selector) -> tuple[tuple[Pair, ...], Iterable[ItemKey]]:
        """The required condition that the fewest items meet, and those items; no pair at all if none ever can."""
        best: tuple[Pair, ...] = (_NOTHING,)
        fewest = len(self._items)
        for label, values in required(selector):
            pairs: tuple[Pair, ...] = ((label, None),) if values is None else tuple((label, v) for v in values)
            count = sum(len(self._keys_by_pair.get(pair, ())) for pair in pairs)
            if count < fewest or best == (_NOTHING,):
                best, fewest = pairs, count
        if best == (_NOTHING,):
            return best, self._items
        return best, [key for pair in best for key in self._keys_by_pair.get(pair, ())]

    def _candidates(self, item: Item) -> Iterator[_Live]:
        for pair in _pairs(item.labels):
            yield from self._live_by_pair.get(pair, ())

    def _file(self, item: Item, *, remove: bool = False) -> None:
        for pair in _pairs(item.labels):
            if remove:
                _discard(self._keys_by_pair, pair, item.key)
            elif pair != _NOTHING:
                self._keys_by_pair.setdefault(pair, set()).add(item.key)


def _pairs(labels: dict[str, str]) -> Iterator[Pair]:
    yield _NOTHING
    for label, value in labels.items():
        yield label, value
        yield label, None


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    found = index.get(key)
    if found is not None:
        found.discard(value)
        if not found:
            del index[key]
