"""The HTML page: self-contained, well-formed, harmless, complete."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from reports.html import page

VOID = {"meta", "br", "link", "img", "hr"}


class Nesting(HTMLParser):
    """Reads a page and remembers what a browser would have to mend."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.ids, self.links, self.tags, self.data = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):  # noqa: D102
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):  # noqa: D102
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):  # noqa: D102
        self.data.append(data)


def read(result):
    """The page of a result, parsed."""
    parser = Nesting()
    parser.feed(page(result))
    parser.close()
    return parser


def test_elements_are_closed_in_order(results):
    """Every element that is opened is closed, innermost first; ids are unique and links lead to them."""
    parsed = read(results.everything())
    assert parsed.faults == []
    assert parsed.open == []
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)


def test_nothing_comes_from_elsewhere(results):
    """No script, no style sheet, no image, no address of another machine."""
    text = page(results.everything())
    parsed = read(results.everything())
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert all(link.startswith("#") for link in parsed.links)
    assert not re.search(r"https?:|//\w|@import|url\(", text)
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]


def test_hostile_names_are_harmless(results):
    """Whatever a pod, a reason or a file is called, it is text; and it is all shown."""
    text = page(results.everything())
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 15
    assert "".join(read(results.everything()).data).count(results.evil) >= 12


def test_a_mismatch_has_line_and_both_traces(results):
    """Each mismatch shows the three voices, file and line, the line's text, the oracle's trace and the kernel's."""
    text = "".join(read(results.run(results.scenario(results.mismatch()))).data)
    for said in (
        "shop.yaml:19", "- action: Deny", "np:shop/db", "the oracle's walk", "the kernel's way", "dropped on node-1",
        "ingress of shop/db",
    ):  # fmt: skip
        assert said in text
    assert re.search(r"expects\s+allowed.*oracle says\s+denied.*kernel:\s+denied", text, re.S)


def test_a_cell_leads_to_its_mismatch(results):
    """The cell of a mismatch is a link to its explanation; other cells are not."""
    parsed = read(results.run(results.scenario(results.check(destination="shop/api"), results.mismatch())))
    links = [attributes for tag, attributes in parsed.tags if tag == "a" and "mismatch" in attributes["href"]]
    assert [link["href"] for link in links] == ["#mismatch-1"]
    assert "mismatch-1" in parsed.ids


def test_a_matrix_per_step(results):
    """Each step that looked has its own matrix under its own words, the others a line; all but the last are folded."""
    scenario = results.scenario(results.check(), results.check(step=2), steps=("all is open", "shut it"))
    parsed = read(results.run(scenario))
    assert [("open" in attributes) for tag, attributes in parsed.tags if tag == "details"] == [False, True]
    text = "".join(parsed.data)
    assert text.index("Step 1: all is open") < text.index("Step 2: shut it") < text.index("At the end")


def test_names_of_the_endpoints_head_rows_and_columns(results):
    """A column is headed by the name it stands for, not by a number."""
    parsed = read(results.run(results.scenario(results.check(), results.check(source="shop/api"))))
    heads = [attributes.get("scope") for tag, attributes in parsed.tags if tag == "th"]
    assert heads == [None, "col", "row", "row"]
    text = "".join(parsed.data)
    assert all(name in text for name in ("shop/web", "shop/db", "shop/api"))


def test_empty_run_is_a_page(results):
    """A run without a check is still a page that says so."""
    text = "".join(read(results.run(results.scenario(status="unknown", error="no kernel", fault="run"))).data)
    assert "no kernel" in text
    assert "broke off" in text
