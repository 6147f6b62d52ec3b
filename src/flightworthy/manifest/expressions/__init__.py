"""The small typed language of manifests: parsed and checked once, then compiled; nothing is ever `eval`-ed.

Syntax follows Python's: ``+ - * /``, comparisons (also chained), ``and or not``, ``x if condition else y``, names with
dots (``card.mean_amount_7d``), numbers, quoted categories, ``true false null`` and the functions of `FUNCTIONS`.

Missing values (null): arithmetic with null gives null; division by zero gives null; any comparison with null is
false; null counts as false in ``and or not if``; ``coalesce(x, y)`` gives y where x is null.
"""

from flightworthy.manifest.expressions.exact import evaluate
from flightworthy.manifest.expressions.parse import FUNCTIONS, ExpressionError, Scope, names, parse
from flightworthy.manifest.expressions.tree import BOOLEAN, NUMBER, TIME, Expr, Type, category

__all__ = ["BOOLEAN", "FUNCTIONS", "NUMBER", "TIME", "Expr", "ExpressionError", "Scope", "Type", "category", "evaluate",
           "names", "parse"]
