"""Six significant digits, so that reports stay readable."""

from mechunlearn.records import Interval


def short(value: float) -> float:
    """A number to six significant digits.

    Example:
        >>> short(1 / 3)
        0.333333
    """
    return float(f"{value:.6g}")


def short_interval(ends: Interval) -> Interval:
    """Both ends of an interval to six significant digits."""
    return short(ends[0]), short(ends[1])
