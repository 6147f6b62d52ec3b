"""The typed tree an expression is parsed into."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Type:
    """``number``, ``boolean``, ``time``, ``text``, ``null`` or ``category`` with its values in order (code = index)."""

    name: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"category {list(self.values)}" if self.values else self.name


NUMBER, BOOLEAN, TIME, NULL, TEXT = Type("number"), Type("boolean"), Type("time"), Type("null"), Type("text")


def category(values: tuple[str, ...]) -> Type:
    """The type of a closed set of words."""
    return Type("category", values)


@dataclass(frozen=True)
class Const:
    """A literal; a category literal holds the word, a number its exact decimal value."""

    value: Decimal | bool | str | None
    type: Type


@dataclass(frozen=True)
class Name:
    """A field, feature, model output or outcome."""

    name: str
    type: Type


@dataclass(frozen=True)
class Call:
    """An operation on one to three arguments."""

    op: str
    args: tuple[Expr, ...]
    type: Type


Expr = Const | Name | Call
