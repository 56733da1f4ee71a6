"""The errors Muslin raises on purpose; each says what was asked, what was found, and what to do.

The subclass says whose fault it is. The command line turns them into exit codes; nothing else reaches a user.
"""

from __future__ import annotations


class MuslinError(Exception):
    """Base of every error a user may see."""


class InvalidInputError(MuslinError):
    """The caller's input is wrong: a manifest, a selector, a scenario, an argument. Exit code 2."""


class RefusedError(InvalidInputError):
    """The input is well formed, but the state forbids it (a tier that still owns policies, an exhausted pool)."""


class EnvironmentLacksError(MuslinError):
    """The machine or the user lacks something: a capability, a program, a permission. Exit code 3."""


class LogCorruptError(MuslinError):
    """The event log does not verify: a row was changed, lost or half written."""
