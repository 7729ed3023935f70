"""Series of scaling points: which runs belong to one curve, speed-up, efficiency and serial fraction with intervals."""

import math
import re
from dataclasses import dataclass

from . import stats

CACHE = re.compile(r"(\d+) x (\d+) (KiB|MiB|GiB) L(\d)")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass
class Point:
    run: object
    speed: tuple  # (low, middle, high): strong speed-up, or weak scaled speed-up, against the base
    scale: float  # processors over those of the base

    @property
    def processors(self):
        return self.run.processors

    @property
    def efficiency(self):
        return stats.scaled(self.speed, 1 / self.scale)

    @property
    def serial_fraction(self):
        """Karp & Flatt's experimentally determined serial fraction, CACM 33(5), 1990; (low, middle, high)."""
        if self.scale <= 1:
            return math.nan, math.nan, math.nan
        low, middle, high = ((1 / s - 1 / self.scale) / (1 - 1 / self.scale) for s in self.speed[::-1])
        return low, middle, high

    @property
    def superlinear(self):
        """The whole interval lies above the ideal."""
        return self.scale > 1 and self.efficiency[0] > 1


@dataclass
class Curve:
    kind: str  # strong or weak
    workload: str
    variant: str
    size: str  # class
    machine: str
    simulated: bool
    base: object
    points: list  # by processors, the base among them

    @property
    def name(self):
        return f"{self.workload} {self.variant} class {self.size}"


def machine_key(run):
    """Curves are drawn over one kind of processor and one build."""
    facts = run.file.facts
    return run.file.cpu, facts.get("git_revision", ""), facts.get("simd", "")


def base_settings(run):
    """The problem without what weak scaling changes, so that all sizes of a weak curve belong together."""
    return run.workload, run.variant, run.text("class"), run.text("seed"), run.text("input"), run.text("strategy"), run.text("topology")


def best_of_layout(runs):
    """One run a layout: the latest, where a point was measured again."""
    latest = {}
    for run in sorted(runs, key=lambda r: (r.file.created, r.number("order", 0))):
        latest[run.ranks, run.threads] = run
    return sorted(latest.values(), key=lambda r: (r.processors, r.ranks))


def make_curve(kind, runs, base):
    """Speed against the base: of time for one problem, of the rate of work where the problem grows."""
    points = []
    for run in runs:
        speed = stats.ratio_interval(base.time, run.time) if kind == "strong" else stats.ratio_interval(run.fom, base.fom)
        points.append(Point(run, speed, run.processors / base.processors))
    return Curve(kind, base.workload, base.variant, base.text("class"), base.file.cpu, base.simulated, base, points)


def curves_of(runs):
    """All strong and weak curves of at least two sizes, measured ones first."""
    groups = {}
    for run in runs:
        if run.text("fom_name") and run.time[1] > 0 and not run.is_peer:
            groups.setdefault((run.simulated, machine_key(run), base_settings(run)), []).append(run)
    curves = []
    for group in groups.values():
        problems = {}
        for run in group:
            problems.setdefault(run.problem, []).append(run)
        for same in problems.values():
            same = best_of_layout([run for run in same if run.growth == 1])
            if len({run.processors for run in same}) > 1:
                curves.append(make_curve("strong", same, same[0]))
        grown = [run for run in group if run.growth > 1]
        whole = [run for run in group if run.growth == 1 and run.processors == 1 and fits_growth(run, grown)]
        weak = best_of_layout(grown + whole[-1:])
        if len({run.processors for run in weak}) > 1:
            curves.append(make_curve("weak", weak, weak[0]))
    return sorted(curves, key=lambda c: (c.simulated, c.workload, c.variant != "sable", c.variant, c.size, c.kind))


def fits_growth(base, grown):
    """Is `base` the problem of one processor that the others grew from? Every parameter that they leave alone is alike."""
    for run in grown:
        changed = [n for n, v in run.parameters.items() if base.parameters.get(n) != v]
        if len(changed) > 3:
            return False
    return bool(grown)


def caches_of(run):
    """[(level, bytes of one cache)] by level, as hwloc told: '2 x 2 MiB L2'."""
    text = str(run.file.facts.get("caches", ""))
    return sorted((int(level), int(size) * UNITS[unit]) for _, size, unit, level in CACHE.findall(text))


def superlinear_reason(curve, point):
    """Which cache a processor's share fits into now and did not at the base; '' if none, so that noise is likelier."""

    def share(run):
        memory = run.counter("memory_model")
        return memory / run.processors if memory > 0 else math.nan

    before, now = share(curve.base), share(point.run)
    for level, size in caches_of(point.run):
        if now <= size < before:
            return f"its share per processor, {now / 2**20:.3g} MiB (was {before / 2**20:.3g}), starts to fit a cache: L{level}"
    return ""
