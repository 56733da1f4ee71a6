"""The selector language against semantics 2c, case by case."""

import pickle

import pytest

from reference.errors import InvalidInputError
from reference.selectors import (
    ALL,
    All,
    And,
    Equals,
    In,
    Not,
    Or,
    Selector,
    SelectorError,
    conjunction,
    negation,
    parse,
    required,
    with_label_prefix,
)

CANONICAL = [
    ("", "all()"),
    (" \t ", "all()"),
    ("all( \t)", "all()"),
    ("global( )", "global()"),
    ("has( x )", "has(x)"),
    ("a=='b'", 'a == "b"'),
    ("a!= 'b'", 'a != "b"'),
    ("""a == 'say "b"'""", """a == 'say "b"'"""),
    ('''a == "it's"''', '''a == "it's"'''),
    (r"a == '\'", r'a == "\"'),
    ("a == ''", 'a == ""'),
    ('a contains"x"', 'a contains "x"'),
    ("a  starts \t with'x'", 'a starts with "x"'),
    ("a startswith 'x'", 'a starts with "x"'),
    ("a endswith 'x'", 'a ends with "x"'),
    ('a in{"x"}', 'a in {"x"}'),
    ("a in { 'y','x' ,'y', }", 'a in {"x", "y"}'),
    ("a in {}", "a in {}"),
    ("a notin {'b'}", 'a not in {"b"}'),
    ("a not \t in {'b'}", 'a not in {"b"}'),
    ("! ! has(a)", "has(a)"),
    ("!!!has(a)", "!has(a)"),
    ("!(!(has(a)))", "has(a)"),
    ("!a == 'b'", '!a == "b"'),
    ("!(a == 'b')", '!a == "b"'),
    ("((a == 'b'))", 'a == "b"'),
    ("a=='1'&&b=='2'||c=='3'", '((a == "1" && b == "2") || c == "3")'),
    ("a=='1'&&(b=='2'||c=='3')", '(a == "1" && (b == "2" || c == "3"))'),
    ("has(a) && has(b) && has(c)", "(has(a) && has(b) && has(c))"),
    ("!(has(a) || has(b)) && has(c)", "(!(has(a) || has(b)) && has(c))"),
    ("in in {'x'}", 'in in {"x"}'),
    ("not not in {'x'}", 'not not in {"x"}'),
    ("contains contains 'x'", 'contains contains "x"'),
    ("has == 'x' && has(has)", '(has == "x" && has(has))'),
    ("all == 'x' && has(all)", '(all == "x" && has(all))'),
    ("starts starts with 'x'", 'starts starts with "x"'),
    ("global != 'x'", 'global != "x"'),
    ("allx == 'x'", 'allx == "x"'),
    ("-a./b_ == 'x'", '-a./b_ == "x"'),
    ("a" * 512 + " == 'x'", "a" * 512 + ' == "x"'),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_canonical_text(text: str, canonical: str) -> None:
    """Every spelling has one canonical text, which parses to the same tree (SEL-1 … SEL-3, SEL-7)."""
    selector = parse(text)
    assert selector.canonical == canonical
    assert parse(canonical).node == selector.node


ERRORS = [
    # text, offset of the fault, what the message says was found, what it says was expected
    ("a", 1, "the end", "an operator"),
    ("a == b", 5, "'b'", "a quoted value"),
    ("'a' == 'b'", 0, "'", "a label"),
    ("a == 'b", 5, "never closed", "a quoted value"),
    ("a == \"b'", 5, "never closed", "a quoted value"),
    ("()", 1, "')'", "a label"),
    ("(a == 'b'", 9, "the end", "')'"),
    ("a == 'b')", 8, "')'", "the end"),
    ("a == 'b' c", 9, "'c'", "'&&' or '||'"),
    ("a == 'b' &&", 11, "the end", "a label"),
    ("|| a == 'b'", 0, "'||'", "a label"),
    ("a == 'b' && || has(c)", 12, "'||'", "a label"),
    ("a = 'b'", 2, "'='", "an operator"),
    ("a == 'b' & has(c)", 9, "'&'", "'&&'"),
    ("a == 'b' | has(c)", 9, "'|'", "'||'"),
    ("a ! = 'b'", 2, "'!'", "an operator"),
    ("!", 1, "the end", "a label"),
    ("has()", 4, "')'", "a label"),
    ("has(a", 5, "the end", "')'"),
    ("has (a)", 4, "'('", "an operator"),
    ("all ()", 4, "'('", "an operator"),
    ("all", 3, "the end", "an operator"),
    ("global ()", 7, "'('", "an operator"),
    ("a in 'b'", 5, "'", "'{'"),
    ("a in {,}", 6, "','", "'}' or a quoted value"),
    ("a in {'b',,}", 10, "','", "a quoted value"),
    ("a in {'b' 'c'}", 10, "'", "',' or '}'"),
    ("a in {'b'", 9, "the end", "',' or '}'"),
    ("a in {b}", 6, "'b'", "a quoted value"),
    ("a inx {'b'}", 2, "'inx'", "an operator"),
    ("a in x", 2, "'in'", "an operator"),
    ("a containsx 'b'", 2, "'containsx'", "an operator"),
    ("a not {'b'}", 2, "'not'", "an operator"),
    ("a starts 'b'", 2, "'starts'", "an operator"),
    ("a\n== 'b'", 1, "a line break", "an operator"),
    ("a == 'b'\n", 8, "a line break", "'&&'"),
    ("\r\na == 'b'", 0, "a line break", "a label"),
    ("é == 'b'", 0, "'é'", "a label"),
    ("a" * 513 + " == 'b'", 0, "513 characters", "a label"),
    ("has(" + "a" * 513 + ")", 4, "513 characters", "a label"),
]


@pytest.mark.parametrize(("text", "position", "found", "expected"), ERRORS)
def test_errors_say_where_and_what(text: str, position: int, found: str, expected: str) -> None:
    """A broken selector is refused with its column, what stands there and what should (SEL-1 … SEL-3, SEL-5)."""
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert (caught.value.text, caught.value.position) == (text, position)
    message = str(caught.value)
    assert f"column {position + 1}: found " in message
    assert found in message.partition(": found ")[2].partition(", expected ")[0]
    assert expected in message.partition(", expected ")[2]


def test_an_error_is_the_callers() -> None:
    """A broken selector is invalid input, which the command line answers with exit code 2."""
    assert issubclass(SelectorError, InvalidInputError)


def test_nesting_beyond_reason_is_an_error() -> None:
    """Nesting deeper than the interpreter's stack is refused in words, not with a stack trace."""
    deep = "(has(a) || has(b) && " * 5000 + "has(c)" + ")" * 5000
    with pytest.raises(SelectorError, match="nested too deeply"):
        parse(deep)


MATCHES = [
    ("all()", {}, True),
    ("global()", {"projectcalico.org/namespace": "a"}, True),
    ("has(a)", {"a": ""}, True),
    ("has(a)", {"b": "a"}, False),
    ("a == 'x'", {"a": "x"}, True),
    ("a == 'x'", {"a": "X"}, False),
    ("a == 'x'", {}, False),
    ("a == ''", {}, False),
    ("a == ''", {"a": ""}, True),
    ("a != 'x'", {}, True),
    ("a != 'x'", {"a": "x"}, False),
    ("a != 'x'", {"a": "y"}, True),
    ("a in {'x', 'y'}", {"a": "y"}, True),
    ("a in {'x'}", {}, False),
    ("a in {}", {"a": ""}, False),
    ("a not in {}", {"a": "x"}, True),
    ("a not in {'x'}", {}, True),
    ("a not in {'x'}", {"a": "x"}, False),
    ("a contains 'ell'", {"a": "hello"}, True),
    ("a contains 'ell'", {}, False),
    ("a contains ''", {"a": ""}, True),
    ("a contains ''", {}, False),
    ("a starts with 'he'", {"a": "hello"}, True),
    ("a starts with 'lo'", {"a": "hello"}, False),
    ("a starts with ''", {}, False),
    ("a ends with 'lo'", {"a": "hello"}, True),
    ("a ends with 'he'", {"a": "hello"}, False),
    ("a ends with ''", {}, False),
    ("!has(a)", {}, True),
    ("!a == 'x' && b == 'y'", {"b": "y"}, True),
    ("!(a == 'x' && b == 'y')", {"a": "x", "b": "y"}, False),
    ("has(a) || has(b) && has(c)", {"a": ""}, True),
    ("(has(a) || has(b)) && has(c)", {"a": ""}, False),
    ("has(a) && has(b) && has(c)", {"a": "", "b": ""}, False),
    ("has(a) || has(b) || has(c)", {"c": ""}, True),
]


@pytest.mark.parametrize(("text", "labels", "matches"), MATCHES)
def test_matching(text: str, labels: dict[str, str], matches: bool) -> None:
    """A selector matches as SEL-4, SEL-6 and SEL-10 say, absent labels and empty values included."""
    assert parse(text).matches(labels) is matches


def test_unique_id_is_a_digest_of_the_canonical_text() -> None:
    """The id is `s:` and 38 characters of base64url, equal exactly for equal canonical texts (SEL-8)."""
    one, same, other = parse("a in {'y','x'}"), parse('a in {"x", "y", "x"}'), parse("a in {'x'}")
    assert one.unique_id == same.unique_id != other.unique_id
    assert ALL.unique_id == "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"  # computed with openssl
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != one.canonical


def test_parse_caches_by_text() -> None:
    """Parsing one text twice gives the same object."""
    assert parse("cached == 'x'") is parse("cached == 'x'")


def test_selectors_pickle() -> None:
    """A selector survives a trip to another process, match function included."""
    copy: Selector = pickle.loads(pickle.dumps(parse("a in {'x'} || has(b)")))
    assert copy == parse("a in {'x'} || has(b)")
    assert copy.matches({"b": ""})


def test_conjunction() -> None:
    """A conjunction keeps the order, drops `all()`, and of nothing is `all()`."""
    assert conjunction() is ALL
    assert conjunction(ALL, parse("has(a)"), ALL) == parse("has(a)")
    assert conjunction(parse("has(b)"), parse("has(a) || has(c)")).canonical == "(has(b) && (has(a) || has(c)))"


def test_negation() -> None:
    """A negation is written with one `!`, and the negation of a negation is the selector itself (RULE-7)."""
    selector = parse("a == 'x' || has(b)")
    assert negation(selector).canonical == '!(a == "x" || has(b))'
    assert negation(negation(selector)) == selector


def test_with_label_prefix() -> None:
    """Every label name gets the prefix, values and `all()` do not (RULE-9)."""
    selector = parse("all() || a == 'x' && !has(b) && c not in {'d'} && e starts with 'f' || global()")
    expected = '(all() || (pcns.a == "x" && !has(pcns.b) && pcns.c not in {"d"} && pcns.e starts with "f") || global())'
    assert with_label_prefix(selector, "pcns.").canonical == expected


REQUIRED = [
    ("all()", {}),
    ("global()", {}),
    ("a == 'x'", {"a": {"x"}}),
    ("a != 'x'", {}),
    ("!(a != 'x')", {"a": {"x"}}),
    ("a in {'x','y'}", {"a": {"x", "y"}}),
    ("!(a not in {'x','y'})", {"a": {"x", "y"}}),
    ("a not in {'x'}", {}),
    ("has(a)", {"a": None}),
    ("!has(a)", {}),
    ("a contains 'x'", {"a": None}),
    ("a in {'x','y'} && a in {'y','z'}", {"a": {"y"}}),
    ("has(a) && a == 'x' && b == 'y'", {"a": {"x"}, "b": {"y"}}),
    ("a == 'x' || a == 'y'", {"a": {"x", "y"}}),
    ("a == 'x' || has(a)", {"a": None}),
    ("a == 'x' || b == 'y'", {}),
    ("(a == 'x' && has(b)) || (a == 'y' && c == 'z')", {"a": {"x", "y"}}),
    ("!(a != 'x' || !has(c))", {"a": {"x"}, "c": None}),
    ("a in {} || a == 'x'", {"a": {"x"}}),
]


@pytest.mark.parametrize(("text", "conditions"), REQUIRED)
def test_required(text: str, conditions: dict[str, set[str] | None]) -> None:
    """The conditions of a selector are those that each match must meet, one per label."""
    expected = {(label, None if values is None else frozenset(values)) for label, values in conditions.items()}
    assert required(parse(text)) == expected


def test_trees_are_plain_data() -> None:
    """The tree says what was written, with precedence resolved: && before ||, ! on one operand."""
    tree = Or((And((Equals("a", "x"), Not(In("b", frozenset("y"))))), All()))
    assert parse("a == 'x' && !b in {'y'} || all()").node == tree
