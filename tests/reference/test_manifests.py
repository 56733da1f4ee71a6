"""Loading: sources, documents, lists, YAML as kubectl reads it, and the lines that fields stand on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reference.errors import InvalidInputError
from reference.resources import Key, ManifestError, Metadata, NetworkPolicy, Pod, Tier, load, parse
from reference.resources.documents import read_documents, scalar_tag
from reference.resources.manifests import Loaded, embedded

POLICY = """\
# a comment
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  ingress:
  - action: Allow
    protocol: TCP
    source:
      nets:
      - 10.0.0.0/8
      - 10.1.0.0/16
  - action: Deny
"""


def pod(name: str, **metadata: object) -> dict[str, object]:
    """A pod's manifest."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}}


def names(loaded: Loaded) -> list[str]:
    """The names of what was loaded, in order."""
    return [resource.name for resource in loaded.resources]


# where manifests come from


def test_many_documents(tmp_path: Path) -> None:
    """A file may hold many documents; empty ones are skipped but counted."""
    file = tmp_path / "pods.yaml"
    file.write_text("---\n---\n" + "---\n".join(json.dumps(pod(name)) + "\n" for name in ("a", "b")))

    loaded = load(file)

    assert names(loaded) == ["a", "b"]
    assert [(item.origin.document, str(item.origin)) for item in loaded] == [(2, f"{file}:3"), (3, f"{file}:5")]


def test_directory(tmp_path: Path) -> None:
    """A directory is walked for YAML and JSON files in sorted order; other files are not read."""
    (tmp_path / "sub").mkdir()
    for name in ("z.yml", "sub/b.json", "a.yaml"):
        (tmp_path / name).write_text(json.dumps(pod(Path(name).stem)))
    (tmp_path / "notes.txt").write_text("{")

    assert names(load(tmp_path)) == ["a", "b", "z"]


def test_sources_mix(tmp_path: Path) -> None:
    """Paths, dictionaries, resources and lists of these load in the order given."""
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps(pod("a")))

    loaded = load(str(file), [pod("b"), (pod("c"),)], Pod(metadata=Metadata(name="d")))

    assert names(loaded) == ["a", "b", "c", "d"]
    assert [item.origin.document for item in loaded] == [1, 1, 2, 3]


def test_inline_has_no_lines() -> None:
    """A dictionary has no lines, and its errors name none."""
    (item,) = load(pod("a"))

    assert item.origin.line(("metadata", "name")) is None
    assert item.origin.line_of(("metadata", "name")) == 0
    assert str(item.origin) == "<inline>"


def test_dictionary_is_copied() -> None:
    """Changing a dictionary after loading it changes nothing."""
    source = pod("a", labels={"app": "web"})
    loaded = load(source)

    source["metadata"]["labels"]["app"] = "other"  # type: ignore[index]

    assert loaded.resources[0].metadata.labels == {"app": "web"}


def test_resource_is_checked() -> None:
    """A resource made by a program is validated as its manifest would be."""
    with pytest.raises(ManifestError, match=r"Tier Bad: metadata\.name: \"Bad\" is not a DNS label"):
        load(Tier(metadata=Metadata(name="Bad")))


def test_nothing_of_a_bad_file(tmp_path: Path) -> None:
    """One bad document spoils the whole load."""
    (tmp_path / "a.yaml").write_text(json.dumps(pod("a")))
    (tmp_path / "b.yaml").write_text("kind: Pod\n")

    with pytest.raises(ManifestError) as caught:
        load(tmp_path)

    assert str(caught.value) == f"{tmp_path}/b.yaml:1: document 1, Pod: apiVersion: required, but missing"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such-file.yaml", "no-such-file.yaml: no such file or directory"),
        ("a\0b", "a\0b: cannot be read: embedded null byte"),
        (7, "<inline>: expected a path, a manifest or a list of these, found a Python int"),
        (b"x", "<inline>: expected a path, a manifest or a list of these, found a Python bytes"),
        ({**pod("a"), "spec": {1: 2}}, "<inline>: document 1: spec: key 1 is not a string"),
        ({**pod("a"), "spec": {"tolerations": object()}}, "<inline>: document 1: not a manifest: Encoding objects of "),
        ({**pod("a"), "spec": {"priority": 2**64}}, "<inline>: document 1: spec.priority: a whole number of more than"),
        ({**pod("a"), "spec": {"priority": float("inf")}}, "<inline>: document 1: spec.priority: inf is not a number"),
        (pod("\ud800"), '<inline>: document 1: metadata.name: "\\ud800" is not text: it has half of a surrogate pair'),
        ([pod("a"), pod("B")], '<inline>: document 2, Pod B: metadata.name: "B" is not a DNS name'),
        ([pod("a"), {}], "<inline>: document 2: apiVersion: required, but missing"),
    ],
)
def test_bad_sources(source: object, message: str) -> None:
    """A source that is nothing of the kind is told so."""
    with pytest.raises(ManifestError) as caught:
        load(source)  # type: ignore[arg-type]

    assert str(caught.value).startswith(message)


def test_cyclic_dictionary() -> None:
    """A dictionary that contains itself is refused."""
    cycle: list[object] = []
    cycle.append(cycle)

    with pytest.raises(ManifestError, match="not a manifest: nested too deeply"):
        load({**pod("a"), "spec": {"tolerations": cycle}})


def test_unreadable_files(tmp_path: Path) -> None:
    """An empty directory and a file that is not UTF-8 are told apart from wrong manifests."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(ManifestError, match=r"empty: the directory has no \.yaml, \.yml or \.json file$"):
        load(tmp_path / "empty")
    with pytest.raises(ManifestError, match=r"latin\.yaml:2: not UTF-8: byte 0xe9$"):
        load(tmp_path / "latin.yaml")


# lists


def test_list() -> None:
    """A List holds items of any kind, also other Lists; each is its own resource."""
    inner = {"apiVersion": "v1", "kind": "List", "items": [pod("b")]}
    loaded = load({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [pod("a"), inner]})

    assert names(loaded) == ["a", "b"]


def test_typed_list() -> None:
    """The items of a <Kind>List need not repeat apiVersion and kind."""
    text = "apiVersion: projectcalico.org/v3\nkind: TierList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n"
    loaded = parse(text)

    assert [item.key for item in loaded] == [Key("Tier", "", "a"), Key("Tier", "", "b")]
    assert [item.origin.line(("metadata", "name")) for item in loaded] == [4, 5]


def test_empty_list() -> None:
    """A List without items is no resource at all."""
    assert len(parse("apiVersion: v1\nkind: List\n")) == 0


# the same key twice, joining, embedding


def test_last_wins() -> None:
    """Both manifests of one key are kept in order, and the map of sources names the last."""
    loaded = load(pod("a", labels={"v": "one"}), pod("a", labels={"v": "two"}))

    assert len(loaded) == 2
    assert loaded.sources[Key("Pod", "default", "a")].resource.metadata.labels == {"v": "two"}


def test_join() -> None:
    """Several loads join into one, in order."""
    assert names(Loaded.join([load(pod("a")), load(pod("b"))])) == ["a", "b"]


def test_embedded() -> None:
    """A manifest inside another document keeps that document's lines."""
    text = "name: x\nmanifests:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n"
    (document,) = read_documents(text)
    value = document.value["manifests"][0]  # type: ignore[index, call-overload]
    (item,) = embedded(value, "s.yaml", document, ("manifests", 0))

    assert item.origin.line(("metadata", "name")) == 6
    assert str(item.origin) == "s.yaml:3"

    value["metadata"]["name"] = "B"
    with pytest.raises(ManifestError, match=r"^s\.yaml:6: document 1, Pod B: manifests\[0\]\.metadata\.name: "):
        embedded(value, "s.yaml", document, ("manifests", 0))


# lines


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 3),
        (("kind",), 4),
        (("metadata", "name"), 6),
        (("spec", "ingress"), 9),
        (("spec", "ingress", 0), 10),
        (("spec", "ingress", 0, "action"), 10),
        (("spec", "ingress", 0, "source", "nets", 1), 15),
        (("spec", "ingress", 1), 16),
        (("spec", "ingress", 2), None),
        (("spec", "egress", 0), None),
    ],
)
def test_line_of_field(path: tuple[str | int, ...], line: int | None) -> None:
    """A field's line is where its key or its list item begins; a field not spelled has none."""
    (item,) = parse(POLICY)

    assert item.origin.line(path) == line


def test_nearest_line() -> None:
    """For a field that was defaulted, the line of what holds it."""
    (item,) = parse(POLICY)

    assert item.origin.line_of(("spec", "ingress", 1, "source", "nets", 0)) == 16
    assert item.origin.line_of(("spec", "types", 0)) == 8


def test_lines_after_other_documents() -> None:
    """Lines count from the top of the file, whatever came before: wide characters, CRLF, a byte order mark."""
    text = "\ufeff" + "# é 😀\r\n" + json.dumps(pod("a")).replace(", ", ",\r\n") + "\r\n" + POLICY.replace("\n", "\r\n")
    file_lines = text.split("\r\n")
    loaded = parse(text.removeprefix("\ufeff"))

    line = loaded.items[1].origin.line(("spec", "ingress", 0, "protocol"))

    assert line is not None
    assert file_lines[line - 1].strip() == "protocol: TCP"


def test_line_through_merge() -> None:
    """A field that came by an anchor stands where the anchor's mapping spells it."""
    text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    <<: &common\n      app: web\n    tier: x\n"
    (item,) = parse(text)

    assert item.resource.metadata.labels == {"app": "web", "tier": "x"}
    assert item.origin.line(("metadata", "labels", "app")) == 7


def test_error_attributes() -> None:
    """A program finds in the error what its text says."""
    with pytest.raises(ManifestError) as caught:
        parse(POLICY.replace("10.1.0.0/16", "nonsense"), "shop.yaml")

    error = caught.value
    assert isinstance(error, InvalidInputError)
    assert (error.file, error.document, error.line) == ("shop.yaml", 1, 15)
    assert error.field == "spec.ingress[0].source.nets[1]"
    assert error.path == ("spec", "ingress", 0, "source", "nets", 1)
    assert error.subject == "NetworkPolicy shop/web"


def test_error_in_second_document() -> None:
    """A broken document is named by its number and line, though those before it were fine."""
    with pytest.raises(ManifestError, match=r"^<inline>:\d+: document 2: not YAML: "):
        parse(POLICY + "---\nb: [\n")


# YAML as kubectl reads it


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *[(text, "int") for text in ("0", "-1", "+7", "0x1F", "0o17", "017", "0b11", "1_000")],
        *[(text, "float") for text in ("1.5", "1e3", "-.5", "1.", "08", ".inf", ".NaN", "1_0.5")],
        *[(text, "bool") for text in ("true", "False", "yes", "No", "on", "OFF", "y", "N")],
        *[(text, "null") for text in ("", "~", "null", "NULL")],
        *[
            (text, "str")
            for text in ("20:25", "2001-01-01", "yEs", "0xg", "1.2.3", "10.0.0.0/8", "-", "e3", "tRue", "=")
        ],
    ],
)
def test_plain_scalars(text: str, kind: str) -> None:
    """What an unquoted scalar is follows kubectl: no base 60, no dates, `y` a boolean, `1e3` a number."""
    assert scalar_tag(text) == f"tag:yaml.org,2002:{kind}"


def test_octal_and_huge_numbers() -> None:
    """A leading zero means octal, and a number too large for 64 bits becomes a float."""
    (document,) = read_documents("[017, 08, 0x10, 1_000, 18446744073709551616]")

    assert document.value == [15, 8.0, 16, 1000, 18446744073709551616.0]


def test_nulls() -> None:
    """A null field is an absent one; a null label is an empty one."""
    metadata = "{name: a, labels: {app: }, creationTimestamp: null}"
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec:\nstatus: {{}}\n"
    (item,) = parse(text)

    assert item.resource.metadata.labels == {"app": ""}


def test_numeric_keys() -> None:
    """A whole number as a key is its digits."""
    (item,) = parse("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {1: x}}\n")

    assert item.resource.metadata.labels == {"1": "x"}


def test_json_that_yaml_cannot_read() -> None:
    """JSON with surrogate escapes is read as JSON; its lines are not known."""
    (item,) = parse(
        '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"b": "\\ud83d\\ude00"}}}'
    )

    assert item.resource.metadata.annotations == {"b": "😀"}
    assert item.origin.line(("metadata",)) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "".join(f"{' ' * depth}a:\n" for depth in range(3000)),
        "a: &x [*x, *x]",
        "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" if i else "a0: &a0 [x]" for i in range(9)),
    ],
)
def test_bombs(text: str) -> None:
    """Depth without end, and aliases that grow without end, are refused at once."""
    with pytest.raises(ManifestError, match=r"nested more than 100 levels deep|aliases expand to too much"):
        parse(text)


def test_calico_and_kubernetes_policies_are_told_apart() -> None:
    """The apiVersion says whose NetworkPolicy it is; both Calico groups are accepted."""
    kinds = [
        parse(f"apiVersion: {version}\nkind: NetworkPolicy\nmetadata: {{name: a}}\n").items[0].key.kind
        for version in ("networking.k8s.io/v1", "projectcalico.org/v3", "crd.projectcalico.org/v1")
    ]

    assert kinds == ["KubernetesNetworkPolicy", "NetworkPolicy", "NetworkPolicy"]


def test_types() -> None:
    """Values have the types of the fields, lists become tuples."""
    (item,) = parse(POLICY)

    assert isinstance(item.resource, NetworkPolicy)
    assert item.resource.spec.ingress[0].source.nets == ("10.0.0.0/8", "10.1.0.0/16")
