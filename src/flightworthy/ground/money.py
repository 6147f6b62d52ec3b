"""Money is exact: `Decimal` in sums, rounded half-even to the currency's minor unit once per priced decision."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

# Minor-unit digits that differ from 2 (ISO 4217).
_EXPONENTS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "XAF": 0, "XOF": 0, "XPF": 0, "PYG": 0, "UGX": 0,
              "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3}
CONTEXT = Context(prec=34, rounding=ROUND_HALF_EVEN)


def minor_digits(currency: str) -> int:
    """Digits after the decimal point of a currency (ISO 4217).

    >>> minor_digits("USD"), minor_digits("JPY")
    (2, 0)
    """
    return _EXPONENTS.get(currency, 2)


def settle(amount: Decimal, currency: str) -> Decimal:
    """Round an exact amount half-even to the currency's minor unit.

    >>> settle(Decimal("2.345"), "USD"), settle(Decimal("2.355"), "USD")
    (Decimal('2.34'), Decimal('2.36'))
    """
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), context=CONTEXT)


def say(amount: Decimal, currency: str) -> str:
    """Amount with thousands separators, for people.

    >>> say(Decimal("-1234567.5"), "USD")
    '−1,234,567.50 USD'
    """
    text = f"{abs(settle(amount, currency)):,}"
    return f"{'−' if amount < 0 else ''}{text} {currency}"
