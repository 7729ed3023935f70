"""The figures of a report: each a function that draws and gives its numbers as rows for the CSV."""

import math
from dataclasses import dataclass

import numpy

from . import style


@dataclass
class Figure:
    name: str  # of its files
    title: str
    caption: str
    drawn: object  # matplotlib figure
    columns: list
    rows: list


def bars_of(interval):
    """Error bars (2 × 1) of (low, middle, high); none where there is no interval."""
    low, middle, high = interval
    return [[middle - low if low == low else 0], [high - middle if high == high else 0]]


# ---- Scaling ----


def split_by_threads(points):
    """Points with as many threads a rank form a line; a lone one joins the line of its ranks."""
    lines = {}
    for point in points:
        lines.setdefault(point.run.threads, []).append(point)
    return sorted(lines.items())


def draw_points(axes, curves, value, looks):
    """Measured points with their intervals, one look a line; predicted ones hollow, without intervals, behind."""
    for curve in curves:
        for threads, points in split_by_threads(curve.points):
            look = next(looks)
            x, y = [p.processors for p in points], [value(p)[1] for p in points]
            many = "s" if threads > 1 else ""
            if curve.simulated:
                axes.plot(x, y, color=style.FAINT, marker=look["marker"], markerfacecolor="white", linestyle=":",
                          label=f"{curve.kind}, PREDICTED{network_of(curve)}", zorder=1)
                continue
            errors = numpy.hstack([bars_of(value(p)) for p in points])
            axes.errorbar(x, y, yerr=errors, capsize=3, **look, label=f"{curve.kind}, {threads} thread{many} a rank")
            untrusted = [p for p in points if p.run.verdict == "UNTRUSTED"]
            axes.plot([p.processors for p in untrusted], [value(p)[1] for p in untrusted], linestyle="",
                      marker=look["marker"], color=look["color"], markerfacecolor="white", zorder=3)
            for point, place in zip(points, y):
                if point.superlinear and curve.kind == "strong":
                    axes.annotate("superlinear", (point.processors, place), xytext=(0, 9), textcoords="offset points",
                                  ha="center", fontsize=8)


def network_of(curve):
    """How ranks share a prediction's problem, and on which network."""
    words = [curve.base.text("strategy"), curve.base.text("topology")]
    return "".join(f", {word}" for word in words if word)


def legend_below(drawn, axes):
    """Below the axes, where no data is: two columns where the labels leave room for them."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) <= 30 else 1
    drawn.set_figheight(drawn.get_figheight() + 0.19 * math.ceil(len(handles) / columns))
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.17), ncol=columns)


def note_assumptions(drawn, axes, curves):
    texts = sorted({c.base.assumptions for c in curves if c.simulated and c.base.assumptions})
    if not texts:
        return
    lines = [line for text in texts for line in wrap("Predicted: " + text, 62)]
    drawn.set_figheight(drawn.get_figheight() + 0.16 * len(lines))
    axes.set_title("\n".join(lines), fontsize=8, loc="left", color=style.INK)


def wrap(text, width):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return lines + [line]


def speedup(name, curves, fits):
    """Strong curves of one workload with the laws fitted to the measured ones."""
    strong = [c for c in curves if c.kind == "strong"]
    drawn, axes = style.figure()
    processors = sorted({p.processors for c in strong for p in c.points})
    span = numpy.geomspace(processors[0], processors[-1], 100)
    axes.plot(span, span / strong[0].base.processors, color=style.FAINT, linewidth=1, label="ideal")
    draw_points(axes, strong, lambda p: p.speed, style.looks())
    for curve, laws in fits:  # not beyond the points that they were fitted to
        own = numpy.geomspace(curve.base.processors, max(p.processors for p in curve.points), 60)
        for fit, dash in zip(laws, [(0, (6, 2)), (0, (1, 1.5))]):
            values = ", ".join(f"{n.split()[-1]} = {v:.3g}" for n, v in zip(fit.names, fit.values))
            axes.plot(own, fit.speed(own / curve.base.processors), color=style.INK, linewidth=1, linestyle=dash,
                      label=f"{fit.law}: {values}")
    wide = processors[-1] > 8 * processors[0]
    axes.set(xscale="log" if wide else "linear", yscale="log" if wide else "linear", ylabel="speed-up",
             xlabel="processors (ranks × threads)")
    style.plain_ticks(axes.xaxis, processors)
    legend_below(drawn, axes)
    axes.set_ylim(bottom=None if wide else 0)
    axes.margins(y=0.15)
    note_assumptions(drawn, axes, strong)
    return Figure(f"{name}-speedup", "Strong scaling: speed-up", "One problem on more processors, against the smallest "
                  "layout; bars are 95 % intervals, hollow points untrusted.", drawn, *scaling_rows(strong))


def efficiency(name, curves):
    drawn, axes = style.figure()
    processors = sorted({p.processors for c in curves for p in c.points})
    axes.axhline(100, color=style.FAINT, linewidth=1)
    draw_points(axes, curves, lambda p: tuple(100 * v for v in p.efficiency), style.looks())
    axes.set(xscale="log" if processors[-1] > 8 * processors[0] else "linear", ylabel="efficiency [%]",
             xlabel="processors (ranks × threads)")
    style.plain_ticks(axes.xaxis, processors)
    top = max([100, *(100 * e for c in curves for p in c.points for e in p.efficiency[1:] if math.isfinite(e))])
    axes.set_ylim(0, 1.08 * top)
    legend_below(drawn, axes)
    note_assumptions(drawn, axes, curves)
    return Figure(f"{name}-efficiency", "Efficiency, strong and weak", "Strong: speed-up over processors. Weak: the rate "
                  "of work over that of the smallest layout and processors.", drawn, *scaling_rows(curves))


def scaling_rows(curves):
    columns = ["workload", "variant", "class", "kind", "simulated", "ranks", "threads", "processors", "seconds",
               "speed", "speed_low", "speed_high", "efficiency", "efficiency_low", "efficiency_high", "karp_flatt",
               "verdict"]
    rows = []
    for curve in curves:
        for p in curve.points:
            low, middle, high = p.speed
            e_low, e_middle, e_high = p.efficiency
            rows.append([curve.workload, curve.variant, curve.size, curve.kind, int(curve.simulated), p.run.ranks,
                         p.run.threads, p.processors, p.run.time[1], middle, low, high, e_middle, e_low, e_high,
                         p.serial_fraction[1] if curve.kind == "strong" else math.nan, p.run.verdict])
    return columns, rows


# ---- Time by phase, imbalance ----


def phases(name, runs):
    """Share of each phase in a repetition: over all ranks and repetitions."""
    runs = [r for r in runs if r.phases is not None and r.phases.sum() > 0][:14]
    if not runs or all(len(r.phase_names) < 2 for r in runs):
        return None
    names = list(dict.fromkeys(n for r in runs for n in r.phase_names))
    drawn, axes = style.figure(height=0.9 + 0.36 * len(runs) + 0.2 * math.ceil(len(names) / 3))
    rows, left = [], numpy.zeros(len(runs))
    for i, phase in enumerate(names):
        shares = numpy.array([100 * r.phases[:, :, r.phase_names.index(phase)].sum() / r.phases.sum()
                              if phase in r.phase_names else 0 for r in runs])
        axes.barh(range(len(runs)), shares, left=left, color=style.COLOURS[i % 8], hatch=style.HATCHES[i % 8],
                  edgecolor="white", height=0.7, label=phase)
        left += shares
        rows += [[r.workload, r.variant, r.layout, r.growth, phase, s] for r, s in zip(runs, shares)]
    axes.set_yticks(range(len(runs)), [f"{r.text('class')} {r.layout}{' weak' if r.growth > 1 else ''}" for r in runs])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="share of the ranks' time [%]")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncol=3)
    return Figure(f"{name}-phases", "Time by phase", "Of all ranks and repetitions together; class and layout (ranks × threads).",
                  drawn, ["workload", "variant", "layout", "growth", "phase", "percent"], rows)


def imbalance_of(run):
    """Each rank's median time over the mean of all ranks', in the phases in which it computes (not: communicate, wait)."""
    waits = [i for i, n in enumerate(run.phase_names) if any(w in n for w in ("wait", "communicat", "halo", "agree", "allreduce", "exchange"))]
    busy = run.seconds
    if run.phases is not None and 0 < len(waits) < len(run.phase_names):
        busy = run.phases.sum(axis=2) - run.phases[:, :, waits].sum(axis=2)
    ranks = numpy.median(busy, axis=0)
    return ranks / ranks.mean() if ranks.mean() > 0 else ranks


def imbalance(runs):
    """One line a run on several ranks: a dot a rank."""
    latest = {(r.workload, r.variant, r.layout, r.growth > 1): r for r in runs if r.ranks > 1 and not r.simulated}
    runs = [r for r in latest.values() if r.variant == "sable"] or list(latest.values())
    runs = sorted(runs, key=lambda r: -imbalance_of(r).max())[:24]
    if not runs:
        return None
    drawn, axes = style.figure(width=6.2, height=1.0 + 0.26 * len(runs))
    rows = []
    for i, run in enumerate(runs):
        ranks = imbalance_of(run)
        axes.plot([ranks.min(), ranks.max()], [i, i], color=style.FAINT, linewidth=2, zorder=1)
        axes.plot(ranks, [i] * len(ranks), linestyle="", marker="o", markersize=5, color=style.COLOURS[0], alpha=0.8)
        axes.plot(ranks.max(), i, marker="D", color=style.COLOURS[1], markersize=6)
        rows += [[run.workload, run.variant, run.layout, run.growth, rank, value] for rank, value in enumerate(ranks)]
    axes.axvline(1, color=style.INK, linewidth=1)
    axes.set_yticks(range(len(runs)), [f"{r.workload} {r.variant} {r.layout}{' weak' if r.growth > 1 else ''}" for r in runs],
                    fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("a rank's computing time over the mean of all ranks")
    return Figure("imbalance", "Imbalance across ranks", "A dot is a rank's median over repetitions, the diamond the "
                  "slowest rank: where it lies is by how much the others wait. The most unbalanced come first.", drawn,
                  ["workload", "variant", "layout", "growth", "rank", "relative_time"], rows)


# ---- Peers ----


def peers(groups):
    """groups: [(label, [(variant, ratio interval: its speed over the best peer's, is_best_peer)])]."""
    if not groups:
        return None
    lines = sum(len(items) + 1 for _, items in groups)
    drawn, axes = style.figure(width=6.2, height=0.9 + 0.28 * lines)
    place, ticks, labels, rows = 0, [], [], []
    for label, items in groups:
        ticks.append(place)
        labels.append(label)
        place += 1
        for variant, ratio, best in items:
            own = variant == "sable"
            axes.errorbar(ratio[1], place, xerr=bars_of(ratio), capsize=3, marker="D" if own else "o",
                          markerfacecolor=style.COLOURS[0] if own else "white", color=style.COLOURS[0] if own else style.INK)
            ticks.append(place)
            labels.append(variant + (" (best peer)" if best else ""))
            rows.append([label, variant, *ratio])
            place += 1
    axes.axvline(1, color=style.INK, linewidth=1)
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.xaxis.set_minor_formatter(lambda v, _: f"{v:g}" if f"{v:e}"[0] in "25" else "")
    axes.set_xlabel("speed over the best peer's (right of 1: faster)")
    return Figure("peers", "Peers side by side", "Same cores, and the same problem but where a peer is marked as not like for "
                  "like, of which rates are compared; bars are 95 % intervals of the ratio.", drawn,
                  ["problem", "variant", "ratio_low", "ratio", "ratio_high"], rows)
