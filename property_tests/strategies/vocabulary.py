"""The few words generated clusters are made of. Few, so that selectors often match and conditions often collide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from property_tests.strategies.choices import Choices

Vocabulary = Mapping[str, Sequence[str]]

NAMESPACES = ("a", "b")
SERVICE_ACCOUNTS = ("", "bot", "default")
NODES = ("node-1", "node-2")
POD_LABELS: Vocabulary = {"app": ("web", "db"), "role": ("x", "xy", "")}
NAMESPACE_LABELS: Vocabulary = {"team": ("red", "blue")}
ACCOUNT_LABELS: Vocabulary = {"trust": ("high", "low")}
ENDPOINT_LABELS: Vocabulary = {
    **POD_LABELS,
    "projectcalico.org/namespace": NAMESPACES,
    "projectcalico.org/serviceaccount": ("bot", "default"),
    "projectcalico.org/orchestrator": ("k8s",),
    "pcns.team": NAMESPACE_LABELS["team"],
    "absent": ("x",),
}
NAMESPACE_SELECTOR_LABELS: Vocabulary = {
    **NAMESPACE_LABELS,
    "kubernetes.io/metadata.name": NAMESPACES,
    "projectcalico.org/name": NAMESPACES,
}
PORT_NAMES = ("http", "dns")


def labels(choices: Choices, vocabulary: Vocabulary) -> dict[str, str]:
    """Some labels of a vocabulary."""
    return {key: choices.pick(values) for key, values in vocabulary.items() if choices.chance(65)}


def selector(choices: Choices, vocabulary: Vocabulary, depth: int = 2) -> str:
    """A selector text over a vocabulary; never empty, never `global()`, which only one place allows (2b.2)."""
    shape = choices.pick(("leaf", "leaf", "leaf", "and", "or", "not")) if depth else "leaf"
    if shape == "leaf":
        return _comparison(choices, vocabulary)
    if shape == "not":
        return f"!({selector(choices, vocabulary, depth - 1)})"
    joint = " && " if shape == "and" else " || "
    return joint.join(f"({selector(choices, vocabulary, depth - 1)})" for _ in range(2))


def _comparison(choices: Choices, vocabulary: Vocabulary) -> str:
    key = choices.pick(tuple(vocabulary))
    value = choices.pick(vocabulary[key])
    match choices.pick(
        ("==", "==", "has", "all", "!=", "!has", "in", "not in", "contains", "starts with", "ends with")
    ):
        case "all":
            return "all()"
        case "has":
            return f"has({key})"
        case "!has":
            return f"!has({key})"
        case "in" | "not in" as operator:
            inside = ", ".join(f"'{other}'" for other in choices.some(vocabulary[key], 0, 2))
            return f"{key} {operator} {{{inside}}}"
        case "contains" | "starts with" | "ends with" as operator:
            return f"{key} {operator} '{value[: choices.integer(0, 1)]}'"
        case operator:
            return f"{key} {operator} '{value}'"
