"""The event log: append-only, chained by hash, on SQLite. The one room of the reference that touches a file."""

from __future__ import annotations

from reference.log.eventlog import EventLog
from reference.log.notes import Notice, Observation

__all__ = ["EventLog", "Notice", "Observation"]
