"""The laws of selectors, for generated trees and labels (semantics section 6, invariants 12 to 14)."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reference.selectors import SelectorError, conjunction, negation, parse, required, with_label_prefix

LABELS = st.sampled_from(["a", "b", "in", "has", "all", "not", "contains", "x.y/z-1_"])
VALUES = st.sampled_from(["", "x", "y", "xy", "it's", 'a "b"', "all()", "}", "||", "é", "\\"])
BLANKS = st.sampled_from(["", " ", "\t", "  ", " \t "])
FEATURES = st.dictionaries(LABELS, VALUES, max_size=4)


@st.composite
def quoted(draw: st.DrawFn) -> str:
    """A value in quotes it does not contain itself."""
    value = draw(VALUES)
    quotes = [quote for quote in "\"'" if quote not in value]
    quote = draw(st.sampled_from(quotes))
    return f"{quote}{value}{quote}"


@st.composite
def sets(draw: st.DrawFn) -> str:
    """A set of quoted values, perhaps with a trailing comma."""
    values = draw(st.lists(quoted(), max_size=3))
    blank = draw(BLANKS)
    comma = draw(st.sampled_from(["", ","])) if values else ""
    return f"{{{blank}{(blank + ',' + blank).join(values)}{comma}{blank}}}"


@st.composite
def leaves(draw: st.DrawFn) -> str:
    """One comparison or function, in any of its spellings."""
    label, gap = draw(LABELS), draw(BLANKS)
    match draw(st.sampled_from(["function", "equality", "substring", "set"])):
        case "function":
            return draw(st.sampled_from([f"has({gap}{label}{gap})", f"all({gap})", f"global({gap})"]))
        case "equality":
            return f"{label}{gap}{draw(st.sampled_from(['==', '!=']))}{gap}{draw(quoted())}"
        case "substring":
            word = draw(st.sampled_from(["contains", "startswith", "starts  with", "ends\twith", "endswith"]))
            return f"{label} {word}{gap}{draw(quoted())}"
        case _:
            return f"{label} {draw(st.sampled_from(['in', 'notin', 'not in', 'not  in']))}{gap}{draw(sets())}"


@st.composite
def combined(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """Smaller selectors, negated, grouped or joined."""
    gap = draw(BLANKS)
    match draw(st.sampled_from(["not", "group", "and", "or"])):
        case "not":
            return f"!{gap}({draw(inner)})"
        case "group":
            return f"({gap}{draw(inner)}{gap})"
        case "and":
            return f"{gap}&&{gap}".join(f"({part})" for part in draw(st.lists(inner, min_size=2, max_size=3)))
        case _:
            return f"{gap}||{gap}".join(draw(st.lists(inner, min_size=2, max_size=3)))


def selectors() -> st.SearchStrategy[str]:
    """Selector texts, valid by construction."""
    return st.recursive(leaves(), combined, max_leaves=6)


@given(text=selectors(), labels=FEATURES)
def test_canonical_text_changes_nothing(text: str, labels: dict[str, str]) -> None:
    """Invariant 12: canonical text re-parses to the same tree, text, id and matches."""
    selector = parse(text)
    again = parse(selector.canonical)
    assert again.node == selector.node
    assert (again.canonical, again.unique_id) == (selector.canonical, selector.unique_id)
    assert again.matches(labels) == selector.matches(labels)


@given(one=selectors(), other=selectors())
def test_ids_are_equal_exactly_when_canonical_texts_are(one: str, other: str) -> None:
    """Invariant 12: the unique id tells canonical texts apart, and nothing else."""
    first, second = parse(one), parse(other)
    assert (first.unique_id == second.unique_id) == (first.canonical == second.canonical)


@given(text=selectors(), labels=FEATURES)
def test_negation_complements(text: str, labels: dict[str, str]) -> None:
    """Invariant 13: exactly one of a selector and its negation matches, written or built."""
    matched = parse(text).matches(labels)
    assert parse(f"!({text})").matches(labels) is not matched
    assert negation(parse(text)).matches(labels) is not matched


@given(label=LABELS, value=quoted(), values=sets(), labels=FEATURES)
def test_negative_operators_are_negations(label: str, value: str, values: str, labels: dict[str, str]) -> None:
    """Invariant 13: `a != x` is `!(a == x)`, and `a not in S` is `!(a in S)`, absent labels included."""
    assert parse(f"{label} != {value}").matches(labels) == parse(f"!({label} == {value})").matches(labels)
    assert parse(f"{label} not in {values}").matches(labels) == parse(f"!({label} in {values})").matches(labels)


@given(one=selectors(), other=selectors(), labels=FEATURES)
def test_de_morgan(one: str, other: str, labels: dict[str, str]) -> None:
    """Invariant 14: a negated conjunction is the disjunction of negations, and the other way round."""
    for joint, dual in (("&&", "||"), ("||", "&&")):
        together = parse(f"!(({one}) {joint} ({other}))")
        apart = parse(f"!({one}) {dual} !({other})")
        assert together.matches(labels) == apart.matches(labels)


@given(text=selectors(), blank=BLANKS, depth=st.integers(0, 4))
def test_parentheses_and_blanks_do_not_matter(text: str, blank: str, depth: int) -> None:
    """Invariant 14: any number of parentheses, spaces and tabs around a selector leave its canonical text as it is."""
    wrapped = blank + f"({blank}" * depth + text + f"{blank})" * depth + blank
    assert parse(wrapped).canonical == parse(text).canonical


@given(text=selectors(), breaks=st.sampled_from(["\n", "\r", "\r\n", "\f", "\v", "\u00a0"]), data=st.data())
def test_other_white_space_is_an_error(text: str, breaks: str, data: st.DataObject) -> None:
    """Invariant 14: a newline, and any blank but space and tab, is an error anywhere outside a string (SEL-1)."""
    outside = [0, *(match.end() for match in re.finditer(r"""\"[^"]*\"|'[^']*'|[^"']""", text))]
    place = data.draw(st.sampled_from(outside))
    with pytest.raises(SelectorError):
        parse(text[:place] + breaks + text[place:])


@given(text=st.text(alphabet="ab \t!=&|(){},'\"\nhaslinot", max_size=30))
@example("a in {'b'}}")
@example("!!!")
def test_any_text_parses_or_is_refused_in_words(text: str) -> None:
    """Whatever the text, the answer is a selector or an error that names a column inside it, or right after its end."""
    try:
        selector = parse(text)
    except SelectorError as refusal:
        error = refusal
    else:
        assert parse(selector.canonical) == selector
        return
    assert 0 <= error.position <= len(text)
    assert re.search(r"column \d+: found .+, expected .+", str(error), re.DOTALL)


@given(one=selectors(), other=selectors(), labels=FEATURES)
def test_conjunction_matches_what_both_match(one: str, other: str, labels: dict[str, str]) -> None:
    """A built conjunction matches exactly what both parts match, and survives its own canonical text."""
    first, second = parse(one), parse(other)
    both = conjunction(first, second)
    assert both.matches(labels) == (first.matches(labels) and second.matches(labels))
    assert parse(both.canonical).node == both.node


@given(text=selectors(), labels=FEATURES)
def test_prefixed_selectors_match_prefixed_labels(text: str, labels: dict[str, str]) -> None:
    """Prefixing a selector and the labels it looks at changes no answer (RULE-9)."""
    prefixed = {f"pcns.{label}": value for label, value in labels.items()}
    assert with_label_prefix(parse(text), "pcns.").matches(prefixed) == parse(text).matches(labels)


@given(text=selectors(), labels=FEATURES)
def test_what_matches_meets_the_required_conditions(text: str, labels: dict[str, str]) -> None:
    """An index that skips whatever misses a required condition never skips a match."""
    selector = parse(text)
    assume(selector.matches(labels))
    for label, values in required(selector):
        assert label in labels
        assert values is None or labels[label] in values
