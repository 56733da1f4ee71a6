"""Where a command's manifests come from: paths, folders, and standard input as `-`."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from reference.errors import InvalidInputError
from reference.resources import manifests


def load(paths: tuple[str, ...]) -> manifests.Loaded:
    """Everything the paths hold, in order.

    Raises:
        InvalidInputError: something is not readable or not valid; nothing is returned then.
    """
    if not paths:
        raise InvalidInputError("no manifests given; name files or folders with -f PATH")
    parts = [
        manifests.parse(sys.stdin.read(), "<stdin>") if path == "-" else manifests.load(Path(path)) for path in paths
    ]
    return manifests.Loaded.join(parts)


def is_scenario(path: Path) -> bool:
    """Report whether a file is a scenario and not a manifest: a mapping with `lesson` or `expect`, without a kind."""
    try:
        document = next(
            iter(yaml.load_all(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))), None
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # whatever is wrong with it, the manifest loader says it best
    return (
        isinstance(document, dict) and "kind" not in document and bool({"lesson", "expect", "steps"} & document.keys())
    )
