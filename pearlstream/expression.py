"""Reading the text of terms and formulas: one bounded SQL expression, and errors that name what is wrong.

Both are parsed by sqlglot in its generic dialect (backslash is an ordinary character, double quotes enclose
names) and then walked against an allow-list by their own modules. This module keeps out what the parser would
take without a word, or choke on: comments, endless nesting, endless text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from functools import lru_cache

import sqlglot
from sqlglot import exp

from pearlstream.errors import TermError

MAX_CHARS = 2_000
"""Longest text of a term or formula."""
MAX_DEPTH = 64
"""Deepest nesting of a term or formula."""
_MAX_PARENS = 24
_MAX_TOKENS = 600
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@lru_cache(maxsize=4096)
def parse_expression(text: str, what: str) -> exp.Expr:
    """Read one bounded SQL expression. Raises TermError; `what` is `term` or `formula`, for the message.

    The tree belongs to all who ask for the same text: walk it, do not change it.
    """
    if not text.strip():
        raise TermError(f"{what} is empty", remedy="write an expression, for example 1")
    if len(text) > MAX_CHARS:
        raise TermError(f"{what} has {len(text)} characters", remedy=f"keep it under {MAX_CHARS}")
    try:
        _check_tokens(text, what)
        tree = sqlglot.parse_one(text)
    except sqlglot.errors.SqlglotError as error:
        raise TermError(f"{what} {text!r} cannot be read: {_reason(error)}", remedy="check it") from error
    except RecursionError as error:
        raise TermError(f"{what} {text!r} is nested too deeply", remedy="split it") from error
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in node.iter_expressions()]
    if depth > MAX_DEPTH:
        raise TermError(f"{what} is nested {depth} levels deep", remedy=f"keep it under {MAX_DEPTH}")
    for number in tree.find_all(exp.Literal):  # the parser takes 5e for a number
        if not number.is_string and not _NUMBER.match(number.this):
            raise TermError(f"{what} {text!r}: {number.this!r} is not a number", remedy="write 5, 0.5 or 5e3")
    return tree


def _check_tokens(text: str, what: str) -> None:
    """Refuse what the parser would swallow or choke on: comments (`a --3` would read as `a`), endless nesting."""
    tokens = sqlglot.tokenize(text)
    depth = deepest = 0
    for token in tokens:
        if token.comments:
            raise TermError(f"{what} {text!r} holds a comment", remedy="put a space between two minus signs")
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.token_type.name.endswith("PAREN") else 0
        deepest = max(deepest, depth)
    if deepest > _MAX_PARENS or len(tokens) > _MAX_TOKENS:
        raise TermError(f"{what} {text!r} is too big", remedy=f"at most {_MAX_PARENS} nested brackets")


def _reason(error: Exception) -> str:
    """The parser's complaint in one plain line."""
    details = getattr(error, "errors", None)
    if details:
        return f"{details[0].get('description')} near {details[0].get('highlight')!r}"
    return str(error).splitlines()[0]


def unknown_name(text: str, name: str, names: Collection[str]) -> TermError:
    """The error for a name that nobody declared, with the nearest one that is."""
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names)) or 'none'}"
    return TermError(f"{text!r} names {name!r}, which is not known here", remedy=remedy)


def plain_name(text: str, node: exp.Column) -> str:
    """The name of a column node. Raises TermError if it is qualified, a star, or not a plain word."""
    name = str(node.name)
    if node.args.get("table") or isinstance(node.this, exp.Star) or not _NAME.match(name):
        raise TermError(f"{text!r}: {node.sql()!r} is not a plain name", remedy="letters, digits, underscore")
    return name
