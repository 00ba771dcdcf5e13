"""Quantiles of the beta and of Student's t distribution, which exact and small-sample intervals need.

>>> round(t_quantile(0.975, 10), 6)
2.228139
"""

from __future__ import annotations

import math

_TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction.

    Parameters
    ----------
    x
        In [0, 1].
    a, b
        Positive.

    Returns
    -------
    float
        In [0, 1].

    References
    ----------
    DLMF 8.17.22, evaluated by the method of Lentz 1976, doi 10.1364/AO.15.000668
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image converges fast
        return 1 - beta_cdf(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _away(1 + term * d), _away(1 + term / c)
            fraction *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * fraction / a


def beta_quantile(q: float, a: float, b: float) -> float:
    """Return the quantile of a beta distribution.

    Parameters
    ----------
    q
        Probability, in [0, 1].
    a, b
        Positive.

    Returns
    -------
    float
        In [0, 1].
    """
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if beta_cdf(middle, a, b) < q:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_quantile(q: float, df: float) -> float:
    """Return the quantile of Student's t distribution.

    Parameters
    ----------
    q
        Probability, in [0.5, 1).
    df
        Degrees of freedom, positive.
    """
    if q == 0.5:
        return 0.0
    x = beta_quantile(2 * (1 - q), df / 2, 0.5)
    return math.sqrt(df * (1 - x) / x)


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion.

    Parameters
    ----------
    successes, n
        Counts; effective counts of clustered samples need not be whole.
    level
        Of confidence, in (0, 1). A one-sided bound of level 1 − δ is an end at level 1 − 2 δ.

    Returns
    -------
    tuple of float
        Lower and upper end in [0, 1]; (0, 1) if n is 0.

    References
    ----------
    Clopper & Pearson 1934, doi 10.1093/biomet/26.4.404
    """
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else beta_quantile(tail, successes, n - successes + 1)
    high = 1.0 if successes >= n else beta_quantile(1 - tail, successes + 1, n - successes)
    return low, high


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
