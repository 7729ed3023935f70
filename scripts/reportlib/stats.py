"""Non-parametric statistics of repetition times, as in harness/stats.h (docs/measuring.md, docs/compare.md)."""

import math

import numpy


def interval_rank(n):
    """Order statistic (counted from 0) that bounds the median from below with at least 95 %; None below six."""
    tail, rank = 0.0, None
    for i in range(n // 2):
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2))
        if tail > 0.025:
            break
        rank = i
    return rank


def median_interval(values):
    """(low, median, high); the ends are NaN where no interval of 95 % exists."""
    values = numpy.sort(numpy.asarray(values, dtype=float))
    rank = interval_rank(len(values))
    middle = float(numpy.median(values)) if len(values) else math.nan
    if rank is None:
        return math.nan, middle, math.nan
    return float(values[rank]), middle, float(values[-1 - rank])


def ratio_interval(above, below):
    """(low, ratio, high) of two independent quantities, each (low, middle, high): on logarithms the distances to the ends
    add in squares (MOVER: Zou & Donner, Stat. Med. 27, 2008)."""
    (al, am, ah), (bl, bm, bh) = above, below
    if not (am > 0 and bm > 0):
        return math.nan, math.nan, math.nan
    ratio = am / bm
    if not (al > 0 and bl > 0 and ah > 0 and bh > 0):
        return math.nan, ratio, math.nan
    down = math.hypot(math.log(am / al), math.log(bh / bm))
    up = math.hypot(math.log(ah / am), math.log(bm / bl))
    return ratio * math.exp(-down), ratio, ratio * math.exp(up)


def scaled(interval, factor):
    """An interval times a factor above 0."""
    return tuple(value * factor for value in interval)
