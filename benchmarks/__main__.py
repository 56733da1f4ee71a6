"""`python -m benchmarks [NAME...]`: run the benchmarks and print Markdown."""

from __future__ import annotations

import importlib
import platform
import sys

NAMES = ("log", "oracle", "matrix", "scale", "change", "bring_up", "probes")


def main() -> int:
    """Run the named benchmarks, or all."""
    names = sys.argv[1:] or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(f"<!-- Python {platform.python_version()}, Linux {platform.release()}, {platform.machine()} -->\n")
    for name in names:
        for result in importlib.import_module(f"benchmarks.{name}").run():
            print(result.markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
