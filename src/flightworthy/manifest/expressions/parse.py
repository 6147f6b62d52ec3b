"""Text to typed tree. Python's own parser reads the syntax; only the node kinds below are let through."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NoReturn

from flightworthy.ground.errors import nearest
from flightworthy.manifest.expressions.tree import (
    BOOLEAN,
    NULL,
    NUMBER,
    TEXT,
    TIME,
    Call,
    Const,
    Expr,
    Name,
    Type,
    category,
)

Scope = Mapping[str, Type]
MAX_LENGTH, MAX_DEPTH, MAX_NODES = 4000, 40, 2000

# name: (argument types, result); "same" = all arguments and the result share one type.
FUNCTIONS: dict[str, tuple[tuple[Type | str, ...], Type | str]] = {
    "abs": ((NUMBER,), NUMBER), "floor": ((NUMBER,), NUMBER), "ceil": ((NUMBER,), NUMBER),
    "sqrt": ((NUMBER,), NUMBER), "log": ((NUMBER,), NUMBER), "exp": ((NUMBER,), NUMBER),
    "min": ((NUMBER, NUMBER), NUMBER), "max": ((NUMBER, NUMBER), NUMBER),
    "hour": ((TIME,), NUMBER), "weekday": ((TIME,), NUMBER),
    "coalesce": (("same", "same"), "same"), "is_null": (("any",), BOOLEAN),
}
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_COMPARE = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}


class ExpressionError(ValueError):
    """A mistake in an expression; ``offset`` counts characters from the start of its text."""

    def __init__(self, message: str, offset: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.offset, self.hint = offset, hint


def parse(text: str, scope: Scope, expect: Type | None = None) -> Expr:
    """Parse and type-check an expression over the names in ``scope``.

    Raises `ExpressionError` with the offset of the mistake and the nearest known name.

    >>> parse("amount / 2 > 10", {"amount": NUMBER}, BOOLEAN).op
    'gt'
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    try:
        root = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"not an expression: {getattr(error, 'msg', error)}",
                              max(0, (getattr(error, "offset", 1) or 1) - 1)) from None
    tree = _Parser(text, scope).build(root, 0)
    if tree.type == TEXT:
        raise ExpressionError("a quoted word only makes sense beside a category")
    if expect is not None and tree.type != expect:
        raise ExpressionError(f"expected {expect}, this is {tree.type}")
    return tree


def names(tree: Expr) -> Iterator[str]:
    """Names an expression reads, in order of appearance, with repetition."""
    if isinstance(tree, Name):
        yield tree.name
    elif isinstance(tree, Call):
        for arg in tree.args:
            yield from names(arg)


def _plain(text: str) -> Decimal | None:
    """The exact value of a decimal literal of ordinary size."""
    if text.lower().startswith(("0x", "0b", "0o")):
        return None
    try:
        number = Decimal(text.replace("_", ""))
    except ArithmeticError:
        return None
    return number if number.is_finite() and (number == 0 or -300 < number.adjusted() < 300) else None


class _Parser:
    def __init__(self, text: str, scope: Scope) -> None:
        self.text, self.lead, self.scope, self.nodes = text.strip(), len(text) - len(text.lstrip()), scope, 0

    def build(self, node: ast.expr, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            self.fail(node, f"nested deeper than {MAX_DEPTH}")
        self.nodes += 1  # a chained comparison reads its middle part twice
        if self.nodes > MAX_NODES:
            self.fail(node, f"more than {MAX_NODES} parts")
        method = getattr(self, "on_" + type(node).__name__.lower(), None)
        if method is None:
            self.fail(node, f"'{ast.unparse(node)}' is not part of the language")
        result: Expr = method(node, depth + 1)
        return result

    def fail(self, node: ast.expr, message: str, hint: str = "") -> NoReturn:
        before = self.text.splitlines()[node.lineno - 1].encode()[: node.col_offset] if self.text else b""
        raise ExpressionError(message, self.lead + len(before.decode(errors="ignore")), hint)

    def number(self, node: ast.expr, depth: int) -> Expr:
        return self.of_type(node, self.build(node, depth), NUMBER)

    def boolean(self, node: ast.expr, depth: int) -> Expr:
        return self.of_type(node, self.build(node, depth), BOOLEAN)

    def of_type(self, node: ast.expr, tree: Expr, wanted: Type) -> Expr:
        if tree.type == NULL:
            return Const(None, wanted)
        if tree.type != wanted:
            self.fail(node, f"'{ast.unparse(node)}' is {tree.type}, expected {wanted}")
        return tree

    def on_constant(self, node: ast.Constant, depth: int) -> Expr:
        value = node.value
        if isinstance(value, bool):
            self.fail(node, f"write {str(value).lower()}, not {value}")
        if isinstance(value, int | float):
            text = ast.get_source_segment(self.text, node) or repr(value)
            number = _plain(text)
            if number is None:
                self.fail(node, f"{text} is not a plain number")
            return Const(number, NUMBER)
        if isinstance(value, str):
            return Const(value, TEXT)
        return self.fail(node, f"'{ast.unparse(node)}' is not a number or a quoted word")

    def on_name(self, node: ast.Name, depth: int) -> Expr:
        literal = {"true": Const(True, BOOLEAN), "false": Const(False, BOOLEAN), "null": Const(None, NULL)}
        return literal[node.id] if node.id in literal else self.look_up(node, node.id)

    def on_attribute(self, node: ast.Attribute, depth: int) -> Expr:
        if not isinstance(node.value, ast.Name):
            self.fail(node, f"'{ast.unparse(node)}': names have at most one dot")
        return self.look_up(node, f"{node.value.id}.{node.attr}")

    def look_up(self, node: ast.expr, name: str) -> Expr:
        if name not in self.scope:
            self.fail(node, f"unknown name '{name}'", nearest(name, self.scope))
        return Name(name, self.scope[name])

    def on_binop(self, node: ast.BinOp, depth: int) -> Expr:
        op = _BINARY.get(type(node.op))
        if op is None:
            self.fail(node, f"'{ast.unparse(node)}': only + - * / are known")
        return Call(op, (self.number(node.left, depth), self.number(node.right, depth)), NUMBER)

    def on_unaryop(self, node: ast.UnaryOp, depth: int) -> Expr:
        if isinstance(node.op, ast.Not):
            return Call("not", (self.boolean(node.operand, depth),), BOOLEAN)
        if isinstance(node.op, ast.UAdd):
            return self.number(node.operand, depth)
        if isinstance(node.op, ast.USub):
            return Call("neg", (self.number(node.operand, depth),), NUMBER)
        return self.fail(node, f"'{ast.unparse(node)}' is not part of the language")

    def on_boolop(self, node: ast.BoolOp, depth: int) -> Expr:
        op = "and" if isinstance(node.op, ast.And) else "or"
        tree = self.boolean(node.values[0], depth)
        for value in node.values[1:]:
            tree = Call(op, (tree, self.boolean(value, depth)), BOOLEAN)
        return tree

    def on_ifexp(self, node: ast.IfExp, depth: int) -> Expr:
        left, right = self.alike(node, self.build(node.body, depth), self.build(node.orelse, depth))
        return Call("select", (self.boolean(node.test, depth), left, right), left.type)

    def on_compare(self, node: ast.Compare, depth: int) -> Expr:
        tree: Expr | None = None
        left_node = node.left
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            op = _COMPARE.get(type(operator))
            if op is None:
                self.fail(node, f"'{ast.unparse(node)}': compare with < <= > >= == !=")
            left, right = self.alike(node, self.build(left_node, depth), self.build(right_node, depth))
            if op not in ("eq", "ne") and left.type not in (NUMBER, TIME):
                self.fail(node, f"'{ast.unparse(node)}': {left.type} has no order")
            step: Expr = Call(op, (left, right), BOOLEAN)
            tree = step if tree is None else Call("and", (tree, step), BOOLEAN)
            left_node = right_node
        if tree is None:
            self.fail(node, "empty comparison")
        return tree

    def alike(self, node: ast.expr, left: Expr, right: Expr) -> tuple[Expr, Expr]:
        """Give two operands one type; a quoted word takes the category it is compared with."""
        if left.type.name == "category" and right.type == TEXT:
            return left, self.word(node, right, left.type)
        if right.type.name == "category" and left.type == TEXT:
            return self.word(node, left, right.type), right
        if TEXT in (left.type, right.type):
            self.fail(node, f"'{ast.unparse(node)}': a quoted word only makes sense beside a category")
        if left.type == NULL and right.type != NULL:
            return Const(None, right.type), right
        if right.type == NULL and left.type != NULL:
            return left, Const(None, left.type)
        if left.type != right.type:
            self.fail(node, f"'{ast.unparse(node)}' mixes {left.type} and {right.type}")
        return left, right

    def word(self, node: ast.expr, tree: Expr, kind: Type) -> Expr:
        value = tree.value if isinstance(tree, Const) else None
        if value not in kind.values:
            self.fail(node, f"'{value}' is not one of {list(kind.values)}", nearest(str(value), kind.values))
        return Const(value, category(kind.values))

    def on_call(self, node: ast.Call, depth: int) -> Expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in FUNCTIONS:
            self.fail(node, f"unknown function '{name}'", nearest(name, FUNCTIONS))
        wanted, result = FUNCTIONS[name]
        if node.keywords or len(node.args) < len(wanted) or (len(node.args) > len(wanted) and name not in
                                                              ("min", "max", "coalesce")):
            self.fail(node, f"{name}() takes {len(wanted)} argument{'s' if len(wanted) > 1 else ''}")
        args = [self.build(arg, depth) for arg in node.args]
        if name == "is_null" and args[0].type == TEXT:
            self.fail(node, "a quoted word is never null")
        if name in ("min", "max", "coalesce"):
            return self.fold(node, name, args)
        if wanted != ("any",):
            args = [self.of_type(n, a, w) for n, a, w in zip(node.args, args, wanted, strict=True)
                    if isinstance(w, Type)]
        return Call(name, tuple(args), result if isinstance(result, Type) else NUMBER)

    def fold(self, node: ast.Call, name: str, args: list[Expr]) -> Expr:
        tree = args[0]
        for arg in args[1:]:
            left, right = self.alike(node, tree, arg)
            if name != "coalesce":
                left, right = self.of_type(node, left, NUMBER), self.of_type(node, right, NUMBER)
            tree = Call(name, (left, right), left.type)
        return tree
