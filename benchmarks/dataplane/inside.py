"""The part that works inside a sandbox: `python -m benchmarks.dataplane.inside ORDER`, started by `command`.

It goes when its standard input is closed; the last line it prints is `done`.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from benchmarks.dataplane import changes
from benchmarks.dataplane import record as records
from benchmarks.dataplane.packets import Measurement, Plan
from emulator import sandbox
from reference.errors import MuslinError

PACKETS, CHANGES = "packets", "changes"
DONE = "done"


class Order(msgspec.Struct, frozen=True):
    """What to measure, and where to keep it; what is there already is gone on with."""

    part: str
    plan: Plan
    path: str


def main() -> None:
    """Measure, and end the sandbox."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sandbox.enter("benchmark")
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        _measure(order)
        _say(DONE)
    except MuslinError as error:
        _say(f"{type(error).__name__}: {error}")
    except BaseException:  # noqa: BLE001 - whatever it is, the sandbox has to end
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(0)


def _measure(order: Order) -> None:
    path = Path(order.path)
    record = records.begin(path, order.plan.milliseconds)
    if order.part == PACKETS:
        Measurement(order.plan, record, _say).run(lambda: records.save(record, path))
    else:
        changes.measure(order.plan, record, _say, lambda: records.save(record, path))


def _say(line: str) -> None:
    print(line, flush=True)


def _end_with_caller() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
