"""The syntax of names, labels and port names, as the Kubernetes API server has it. Each says what is wrong, or None."""

from __future__ import annotations

import re
from functools import lru_cache

from reference.resources.faults import shown

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
CALICO_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


def dns_label(name: str) -> str | None:
    """A DNS-1123 label: at most 63 of a-z, 0-9 and `-`, with a letter or digit at both ends."""
    if len(name) > 63:
        return f"{shown(name)} is {len(name)} characters long; at most 63"
    if not _LABEL.fullmatch(name):
        return f"{shown(name)} is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)"
    return None


def dns_subdomain(name: str) -> str | None:
    """A DNS-1123 subdomain: labels joined by dots, at most 253 characters."""
    if len(name) > 253:
        return f"{shown(name)} is {len(name)} characters long; at most 253"
    if not _SUBDOMAIN.fullmatch(name):
        return f"{shown(name)} is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)"
    return None


@lru_cache(maxsize=4096)
def qualified_name(key: str) -> str | None:
    """A label or annotation key: `name` or `prefix/name`."""
    prefix, slash, name = key.rpartition("/")
    if slash and (not prefix or dns_subdomain(prefix)):
        return f"{shown(key)} is not a key: the part before the slash must be a DNS name"
    if not name or len(name) > 63:
        return f"{shown(key)} is not a key: a name of 1 to 63 characters is needed"
    if not _QUALIFIED.fullmatch(name):
        return f"{shown(key)} is not a key (letters, digits, -, _ and ., a letter or digit at both ends)"
    return None


@lru_cache(maxsize=4096)
def label_value(value: str) -> str | None:
    """A label's value: empty, or at most 63 characters like a key's name."""
    if len(value) > 63:
        return f"{shown(value)} is {len(value)} characters long; at most 63"
    if value and not _QUALIFIED.fullmatch(value):
        return f"{shown(value)} is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)"
    return None


def port_name(name: str) -> str | None:
    """An IANA service name: at most 15 of a-z, 0-9 and `-`, one letter at least, no two dashes together."""
    if name.isdecimal():
        return f"{shown(name)} is a number in quotes; remove the quotes"
    if len(name) > 15:
        return f"{shown(name)} is {len(name)} characters long; a port name has at most 15"
    if not _PORT_NAME.fullmatch(name) or "--" in name or not re.search("[a-z]", name):
        return f"{shown(name)} is not a port name (a-z, 0-9 and single -, at least one letter)"
    return None


def is_number(text: str) -> bool:
    """Report whether a text is a plain decimal number of a sane length."""
    return text.isascii() and text.isdecimal() and len(text) < 20
