"""Format numbers, shares, durations, times and money as text for people.

A share is shown as 0 % or 100 % only if it is exactly that; the other formats round, as they document.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from math import isinf

MISSING = "–"
"""The text for a value that is missing."""

_SMALLEST_SHARE = 0.0001  # 0.01 %, the last place that is shown
_MIN_PER_S = 0.1  # lower rates are shown per hour
_PRICE_PLACES = 6  # of the prices in a price list
# ISO 4217 (the list of 2024): the decimal places of currencies that don't have 2.
_CURRENCY_PLACES = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"), 0),
    **dict.fromkeys(("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
# Up to a number of seconds: the larger unit in seconds, its name, the smaller unit in seconds, its name.
_DURATION_UNITS = (
    (3_600, (60, "min", 1, "s")),
    (48 * 3_600, (3_600, "h", 60, "min")),
    (float("inf"), (86_400, "days", 3_600, "h")),
)


def share(ratio: float | None) -> str:
    """Format a ratio, 0..1, in percent.

    >>> share(0.1234), share(0.99999), share(1)
    ('12.34 %', '> 99.99 %', '100.00 %')
    """
    if ratio is None:
        return MISSING
    if 0 < ratio < _SMALLEST_SHARE:
        return f"< {_SMALLEST_SHARE:.2%}".replace("%", " %")
    if 1 - _SMALLEST_SHARE < ratio < 1:
        return f"> {1 - _SMALLEST_SHARE:.2%}".replace("%", " %")
    return f"{ratio:.2%}".replace("%", " %")


def milliseconds(value: float) -> str:
    """Format a time in ms with at least three significant digits and without the unit.

    >>> milliseconds(1.234), milliseconds(1234.5)
    ('1.23', '1,234')
    """
    places = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{places}f}"


def duration(seconds: float) -> str:
    """Format a duration in one or two units.

    >>> duration(0.85), duration(12.34), duration(63), duration(3600), duration(190_000)
    ('850 ms', '12.3 s', '1 min 03 s', '1 h', '2 days 05 h')
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    large_s, large, small_s, small = next(units for limit_s, units in _DURATION_UNITS if round(seconds) < limit_s)
    whole, rest = divmod(round(seconds / small_s), large_s // small_s)
    return f"{whole:,} {large}" + (f" {rest:02} {small}" if rest else "")


def precise_number(value: float) -> str:
    """Format a measured value, without the unit, in six significant digits.

    All its digits are shown if six would make it look like a whole number that it is not.

    >>> precise_number(12.3456789), precise_number(99.9999999), precise_number(1_234_567.0)
    ('12.3457', '99.9999999', '1,234,567')
    """
    text = f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    looks_whole = float(text.replace(",", "")) == round(value) != value
    return repr(value) if looks_whole else text


def measured(value: float | None, unit: str, limit: float) -> str:
    """Format a value that is compared with a limit, in ms, % or /s, with its unit.

    It is rounded as a share, a time or a rate is everywhere else. More digits are shown if the rounded value would be
    on another side of the limit than the exact one.

    >>> measured(31.57, "ms", 250), measured(0.5, "%", 1), measured(0.9999, "%", 1)
    ('31.6 ms', '0.50 %', '0.9999 %')
    """
    if value is None:
        return MISSING
    text = (
        share(value / 100).removesuffix(" %") if unit == "%" else milliseconds(value) if unit == "ms" else rate(value)
    )
    # A text such as "< 0.01" stands for all values down to 0.
    ends = [float(text.strip("<> ").replace(",", "")), *([0.0] if "<" in text else [100.0] if ">" in text else [])]
    is_same_side = all((end > limit, end < limit) == (value > limit, value < limit) for end in ends)
    return f"{text if is_same_side else precise_number(value)} {unit}"


def probability(p_value: float) -> str:
    """Format a p-value to three decimal places; a smaller one is never shown as 0.

    >>> probability(0.0412), probability(0.0004)
    ('0.041', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def short_number(value: float, sign: str = "") -> str:
    """Format a number in three significant digits, or in all digits before its decimal point.

    ``sign``: "+" also marks positive numbers.

    >>> short_number(0.012345), short_number(1234.5), short_number(2, "+"), short_number(float("inf"))
    ('0.0123', '1,234', '+2', '∞')
    """
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:{sign},.3g}" if abs(value) < 999.5 else f"{value:{sign},.0f}"


def timestamp(time: datetime) -> str:
    """Format a UTC time to the second, or to the millisecond if it has a fraction of a second.

    >>> timestamp(datetime(2026, 11, 1, 8, 30)), timestamp(datetime(2026, 11, 1, 8, 30, 0, 250_000))
    ('2026-11-01 08:30:00', '2026-11-01 08:30:00.250')
    """
    return f"{time:%Y-%m-%d %H:%M:%S}" + (f".{time.microsecond // 1000:03}" if time.microsecond else "")


def rate(per_s: float | None) -> str:
    """Format a rate per second, without the unit; a rate above 0 is never shown as 0.

    >>> rate(12.34), rate(1), rate(0.004)
    ('12.3', '1.00', '0.004')
    """
    if per_s is None:
        return MISSING
    return f"{per_s:,.1f}" if per_s >= 9.995 else f"{per_s:,.2f}" if per_s >= 0.995 else f"{per_s:.3g}"


def rate_scale(per_s: float | None) -> tuple[int, str]:
    """Return the unit in which a rate is shown, as its factor to a rate per second and its name.

    The unit is the hour if there is less than a call in 10 s.

    >>> rate_scale(12.34), rate_scale(0.02)
    ((1, 'second'), (3600, 'hour'))
    """
    return (3_600, "hour") if per_s and per_s < _MIN_PER_S else (1, "second")


def moment(time: datetime) -> str:
    """Format a time to the minute, or to the second if it has seconds.

    >>> moment(datetime(2026, 11, 1, 8, 30)), moment(datetime(2026, 11, 1, 8, 30, 5))
    ('2026-11-01 08:30', '2026-11-01 08:30:05')
    """
    return f"{time:%Y-%m-%d %H:%M:%S}" if time.second else f"{time:%Y-%m-%d %H:%M}"


def money(amount: Decimal | float, currency: str) -> str:
    """Format an amount with the decimal places of its currency, halves rounded up; an amount is never shown as 0.

    >>> money(1234.565, "CNY"), money(1234.5, "JPY"), money(0.0045, "CNY")
    ('1,234.57 CNY', '1,235 JPY', '0.0045 CNY')
    """
    return f"{amount_text(amount, currency)} {currency}".rstrip()


def unit_price(amount: Decimal | float, currency: str) -> str:
    """Format the price of a message to the millionth, with the decimal places of its currency at least.

    >>> unit_price(0.045, "CNY"), unit_price(8, "JPY")
    ('0.045 CNY', '8 JPY')
    """
    return f"{amount_text(amount, currency, is_price=True)} {currency}".rstrip()


def amount_text(amount: Decimal | float, currency: str, sign: str = "", *, is_price: bool = False) -> str:
    """Format an amount as ``money`` or ``unit_price`` do, without the currency.

    ``sign``: "+" also marks positive amounts.
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(f"{amount:.{_PRICE_PLACES}f}")
    places = _CURRENCY_PLACES.get(currency, 2)
    rounded = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    if is_price or (exact and not rounded):
        needed = -int(exact.normalize().as_tuple().exponent)
        rounded = exact.quantize(Decimal(1).scaleb(-max(places, min(needed, _PRICE_PLACES))), ROUND_HALF_UP)
    return f"{rounded:{sign},f}"


def plural(count: int, noun: str, ending: str = "s") -> str:
    """Format a count with its noun.

    >>> plural(1, "message"), plural(1200, "message"), plural(2, "prefix", "es")
    ('1 message', '1,200 messages', '2 prefixes')
    """
    return f"{count:,} {noun}{'' if count == 1 else ending}"
