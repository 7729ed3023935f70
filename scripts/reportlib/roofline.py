"""The roofline (Williams, Waterman & Patterson, CACM 52(4), 2009) of one layout: ceilings measured in the launches, and each
workload at its work model's arithmetic intensity."""

import math

import numpy

from . import style
from .figures import Figure

PEAKS = [("fma_fp64", "FMA fp64", "-"), ("ops_fp64", "no FMA fp64", "--"), ("fma_fp32", "FMA fp32", "-."),
         ("dot_bf16", "bf16 dot", ":")]


def roofs_of(runs):
    """The highest value of each ceiling that these runs' files measured on their layout, by name."""
    roofs = {}
    for run in runs:
        for c in run.file.ceilings:
            if (c["ranks"], c["threads"]) == (run.ranks, run.threads) and c["value"] == c["value"]:
                roofs[c["name"]] = max(roofs.get(c["name"], 0), float(c["value"]))
    return roofs


def spot_of(run):
    """(flops a byte, GFLOP/s); None where the work model counts no flops or no bytes."""
    flops = sum(v for v in (run.counter(n) for n in ("flops_fp64", "flops_fp32", "flops_bf16")) if v > 0)
    moved = run.counter("bytes_memory")
    if not (flops > 0 and moved > 0):
        return None
    return flops / moved, flops / run.time[1] / 1e9


def band_of(roofs):
    """Bandwidths: the slowest and the fastest level that was measured, which enclose all."""
    rates = sorted((value, name) for name, value in roofs.items() if name.split("_")[0] in ("copy", "read", "triad") and value > 0)
    return [rates[0], rates[-1]] if len(rates) > 1 else rates


def label_peaks(axes, peaks):
    """Names on a scale at the right, one below the other where peaks are close."""
    scale = axes.secondary_yaxis("right")
    kept = []
    for value, label, _ in sorted(peaks):
        if kept and value < 1.35 * kept[-1][0]:
            kept[-1] = (kept[-1][0], f"{label}, {value:.4g}\n{kept[-1][1]}")
        else:
            kept.append((value, f"{label}, {value:.4g}"))
    scale.set_yticks([value for value, _ in kept], [label for _, label in kept], fontsize=8)
    scale.yaxis.set_minor_locator(style.matplotlib.ticker.NullLocator())
    scale.spines["right"].set_visible(False)


def roofline(runs):
    """Of the runs of one machine and layout; None if no ceiling or no workload can be placed."""
    spots = [(run, spot) for run in runs if (spot := spot_of(run))]
    roofs, layout = roofs_of(runs), runs[0].layout if runs else ""
    peaks = [(roofs[name], label, dash) for name, label, dash in PEAKS if name in roofs]
    bands = band_of(roofs)
    if not spots or not peaks or not bands:
        return None
    drawn, axes = style.figure(width=6.2, height=4.6 + 0.18 * math.ceil((len(spots) + 2) / 2))
    x = [s[0] for _, s in spots]
    span = numpy.geomspace(min(*x, 0.05) / 2, max(*x, bands[0][0] and peaks[0][0] / bands[0][0]) * 4, 200)
    top = max(p[0] for p in peaks)
    for (rate, name), dash in zip(bands, ["-", (0, (7, 2))]):
        under = rate * span <= top
        axes.plot(span[under], rate * span[under], color=style.INK, linewidth=1.2, linestyle=dash,
                  label=f"{name}, {rate:.3g} GB/s")
    for value, label, dash in peaks:
        over = span * bands[-1][0] >= value
        axes.plot(span[over], numpy.full(over.sum(), value), color=style.INK, linewidth=1.2, linestyle=dash)
    rows, looks = [], style.looks()
    for run, (intensity, rate) in spots:
        look = next(looks)
        axes.plot(intensity, rate, linestyle="", marker=look["marker"], color=look["color"], markersize=8,
                  label=f"{run.workload} {run.variant}")
        rows.append([run.workload, run.variant, run.layout, intensity, rate, run.text("ceiling"), run.number("share_of_ceiling")])
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity of the work model [flop/byte]", ylabel="GFLOP/s")
    axes.set_ylim(min(r for _, (_, r) in spots) / 4, top * 3)
    label_peaks(axes, peaks)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=2, fontsize=8)
    without = sorted({r.workload for r in runs if not spot_of(r) and not r.is_peer})
    caption = (f"Layout {layout} (ranks × threads). Lines are ceilings measured in the same launches, the slowest and the "
               "fastest bandwidth of all working sets; a workload's own ceiling is in the table.")
    if without:
        caption += f" Without flops or bytes in their work model: {', '.join(without)}."
    return Figure("roofline", "Roofline", caption, drawn,
                  ["workload", "variant", "layout", "flop_per_byte", "gflops", "ceiling", "share_of_ceiling"], rows)
