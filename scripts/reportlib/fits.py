"""Laws of scalability fitted to a curve, each parameter with a 95 % interval by bootstrap over the repetitions.

Amdahl (1967):      S(p) = 1 / (σ + (1 − σ)/p)                 strong
Gustafson (1988):   S(p) = p − σ (p − 1)                       weak, scaled speed-up
USL (Gunther 1993): S(p) = p / (1 + σ (p − 1) + κ p (p − 1))   strong; σ contention, κ coherency

All three are linear in their parameters after division: x = 1/S or p/S on the left, least squares with weights for equal
relative errors of the measured speed-up. Parameters are bounded below by 0."""

import math
from dataclasses import dataclass

import numpy

DRAWS = 400


@dataclass
class Fit:
    law: str
    names: list
    values: list
    low: list
    high: list
    sizes: int  # distinct numbers of processors

    def speed(self, p):
        return LAWS[self.law][1](numpy.asarray(p, dtype=float), *self.values)


def amdahl(p, sigma):
    return 1 / (sigma + (1 - sigma) / p)


def gustafson(p, sigma):
    return p - sigma * (p - 1)


def usl(p, sigma, kappa):
    return p / (1 + sigma * (p - 1) + kappa * p * (p - 1))


def fit_amdahl(p, s):
    """1/S − 1/p = σ (1 − 1/p); a relative error of S is one of 1/S: rows are weighted by S."""
    a, b = s * (1 - 1 / p), s * (1 / s - 1 / p)
    return [max(0.0, float(a @ b / (a @ a)))]


def fit_gustafson(p, s):
    a, b = (p - 1) / s, (p - s) / s
    return [max(0.0, float(a @ b / (a @ a)))]


def fit_usl(p, s):
    """p/S − 1 = σ (p − 1) + κ p (p − 1), both not negative: the better of the bounds where the free fit leaves them."""
    weight = s / p
    columns, right = numpy.stack([(p - 1) * weight, p * (p - 1) * weight]).T, (p / s - 1) * weight
    free = numpy.linalg.lstsq(columns, right, rcond=None)[0]
    if (free >= 0).all():
        return [float(v) for v in free]
    candidates = [numpy.zeros(2)]
    for k in range(2):
        alone = numpy.zeros(2)
        alone[k] = max(0.0, columns[:, k] @ right / (columns[:, k] @ columns[:, k]))
        candidates.append(alone)
    return [float(v) for v in min(candidates, key=lambda c: float(((columns @ c - right) ** 2).sum()))]


LAWS = {
    "Amdahl": ("strong", amdahl, fit_amdahl, ["serial fraction σ"], 2),
    "USL": ("strong", usl, fit_usl, ["contention σ", "coherency κ"], 3),
    "Gustafson": ("weak", gustafson, fit_gustafson, ["serial fraction σ"], 2),
}


def draws_of(curve, generator):
    """Medians of resampled repetitions: speed-ups [draw, point] against resampled bases."""

    def medians(run):
        times = run.slowest
        return numpy.median(generator.choice(times, (DRAWS, len(times))), axis=1)

    base = medians(curve.base)
    rows = []
    for point in curve.points:
        if point.run is curve.base:
            rows.append(numpy.ones(DRAWS))
            continue
        ratio = base / medians(point.run)
        if curve.kind == "weak":  # rates: the work of each run is what its figure of merit and time say
            work = point.run.number("fom") * point.run.time[1] / (curve.base.number("fom") * curve.base.time[1])
            ratio = ratio * work
        rows.append(ratio)
    return numpy.array(rows).T


def fits_of(curve):
    """The laws of the curve's kind that its points can tell apart."""
    p = numpy.array([point.scale for point in curve.points])
    s = numpy.array([point.speed[1] for point in curve.points])
    sizes = len(set(p))
    good = []
    draws = draws_of(curve, numpy.random.default_rng(1)) if not curve.simulated else None
    beyond = p > 1
    for law, (kind, _, solve, names, least) in LAWS.items():
        if kind != curve.kind or sizes < least or not (s > 0).all():
            continue
        values = solve(p[beyond], s[beyond])
        if draws is not None:
            spread = numpy.array([solve(p[beyond], row[beyond]) for row in draws])
            low, high = (list(q) for q in numpy.quantile(spread, [0.025, 0.975], axis=0))
        else:
            low, high = [math.nan] * len(values), [math.nan] * len(values)
        good.append(Fit(law, names, values, low, high, sizes))
    return good
