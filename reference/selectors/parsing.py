"""Text to syntax tree, by the declared grammar in `grammar.lark`; and errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from reference.errors import InvalidInputError
from reference.selectors.nodes import (
    All,
    And,
    Contains,
    EndsWith,
    Equals,
    Global,
    Has,
    In,
    Node,
    Not,
    NotEquals,
    NotIn,
    Or,
    StartsWith,
)

_WORD = re.compile(r"[A-Za-z0-9_./-]+|\|\||&&|[!=]=|.", re.DOTALL)
_OPERAND = "a label, has(…), all(), global(), '!' or '('"
_OPERATOR = "an operator (==, !=, in, not in, contains, starts with, ends with)"
_NAMES = {
    "OR": "'||'",
    "AND": "'&&'",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "STRING": "a quoted value",
    "LABEL": "a label",
    "$END": "the end",
}


class SelectorError(InvalidInputError):
    """A selector that does not parse: its text, and the offset (from 0) where it went wrong."""

    def __init__(self, text: str, position: int, complaint: str) -> None:
        super().__init__(f"selector {text!r}, column {position + 1}: {complaint}")
        self.text = text
        self.position = position


def negated(node: Node) -> Node:
    """The negation of a tree; two negations cancel (2c: repeated `!` collapse pairwise)."""
    return node.operand if isinstance(node, Not) else Not(node)


@v_args(inline=True)
class _Tree(Transformer[Token, Node]):
    """Builds nodes while the parser reduces, so that deep nesting costs no recursion here."""

    def start(self, selector: Node | None = None) -> Node:
        return All() if selector is None else selector

    def selector(self, *operands: Node) -> Node:
        return operands[0] if len(operands) == 1 else Or(operands)

    def conjunction(self, *operands: Node) -> Node:
        return operands[0] if len(operands) == 1 else And(operands)

    def negatable(self, *marks_and_operand: Node) -> Node:
        *marks, operand = marks_and_operand
        return negated(operand) if len(marks) % 2 else operand

    def all(self) -> Node:
        return All()

    def everywhere(self) -> Node:
        return Global()

    def has(self, label: Token) -> Node:
        return Has(str(label))

    def equals(self, label: Token, string: Token) -> Node:
        return Equals(str(label), _unquoted(string))

    def not_equals(self, label: Token, string: Token) -> Node:
        return NotEquals(str(label), _unquoted(string))

    def contains(self, label: Token, string: Token) -> Node:
        return Contains(str(label), _unquoted(string))

    def starts_with(self, label: Token, string: Token) -> Node:
        return StartsWith(str(label), _unquoted(string))

    def ends_with(self, label: Token, string: Token) -> Node:
        return EndsWith(str(label), _unquoted(string))

    def in_(self, label: Token, values: frozenset[str]) -> Node:
        return In(str(label), values)

    def not_in(self, label: Token, values: frozenset[str]) -> Node:
        return NotIn(str(label), values)

    def values(self, *strings: Token) -> frozenset[str]:
        return frozenset(map(_unquoted, strings))


def _unquoted(string: Token) -> str:
    return str(string[1:-1])


@cache
def _parse() -> Callable[[str], Node]:
    lark = Lark.open("grammar.lark", rel_to=__file__, parser="lalr", lexer="contextual", transformer=_Tree())
    return lark.parse  # type: ignore[return-value]  # lark does not know what its transformer returns


def parse_tree(text: str) -> Node:
    """The tree of a selector text (2c, SEL-1 … SEL-6).

    Raises:
        SelectorError: the text is no selector.
    """
    try:
        return _parse()(text)
    except UnexpectedInput as error:
        raise _explained(text, error) from None


def _explained(text: str, error: UnexpectedInput) -> SelectorError:
    """Say what was found, at which column, and what was expected there."""
    position = len(text) if error.pos_in_stream is None else error.pos_in_stream
    expected: set[str] = set()
    if isinstance(error, UnexpectedToken):
        expected = error.accepts or error.expected
        if error.token.type == "$END":
            position = len(text)
    elif isinstance(error, UnexpectedCharacters):
        expected = error.allowed
    return SelectorError(text, position, f"found {_found(text, position)}, expected {_expected(expected)}")


def _found(text: str, position: int) -> str:
    word = _WORD.match(text, position)
    if word is None:
        return "the end"
    found = word.group()
    if found in "\r\n":
        return "a line break (only spaces and tabs may stand between words)"
    if found in "\"'" and found not in text[word.end() :]:
        return f"a string that is never closed by another {found}"
    if len(found) > 512:
        return f"a word of {len(found)} characters (a label has at most 512)"
    return repr(found)


def _expected(terminals: set[str]) -> str:
    if "_HAS" in terminals:
        return _OPERAND
    if "_IN" in terminals:
        return _OPERATOR
    return " or ".join(sorted(_NAMES[terminal] for terminal in terminals if terminal in _NAMES))
