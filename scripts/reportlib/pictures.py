"""Outputs that a person would look at: the sea chart, maps, curves, histograms; one picture a workload."""

import numpy

from . import seachart, style
from .figures import Figure

MOST_CELLS = 2_000_000


def numbers(value):
    return value.dtype.kind in "fiu" and value.size > 0


def sea(run):
    found = {name: run.output(name) for name in seachart.NEEDED if name in run.outputs}
    if any(name not in found or found[name] is None for name in seachart.NEEDED):
        return None
    data = {name: value[0] for name, value in found.items()}
    if not numpy.isfinite(data["hours"]).any():
        return None
    drawn = seachart.draw(data, run.attrs, size=(9, 4.9), small=True)
    rows = [[float(a), float(b), float(data["hours"][i, j])] for i, a in enumerate(data["lat"][::4])
            for j, b in enumerate(data["lon"][::4])]
    return Figure("output-sea", "value_iteration/sea", f"Days to {run.text('port', 'the port')} from every "
                  f"sea at {run.number('speed'):g} knots, and five routes by the best headings; hatched: no way.", drawn,
                  ["lat", "lon", "hours"], rows)


def title_of(name, unit):
    return f"{name} [{unit}]" if unit else name


def heat_map(axes, drawn, name, value, labels, unit):
    step = max(1, int(numpy.ceil(max(value.shape) / 400)))
    image = axes.imshow(numpy.ma.masked_invalid(value[::step, ::step].astype(float)), aspect="auto", cmap="viridis",
                        interpolation="nearest", rasterized=True)
    axes.grid(visible=False)
    axes.set(xlabel=labels[1] or "column", ylabel=labels[0] or "row")
    drawn.colorbar(image, ax=axes, label=title_of(name, unit))


def plot_lines(axes, name, value, labels, unit):
    """A 1-D output, or the few rows of a 2-D one that is long."""
    lines = value[None] if value.ndim == 1 else value.T if value.shape[0] > value.shape[1] else value
    for look, line in zip(style.looks(), lines):
        if len(line) > 500:
            look |= {"marker": "", "linewidth": 0.7}
        axes.plot(range(len(line)), line, **look, markevery=max(1, len(line) // 12), markersize=5)
    positive = numpy.isfinite(lines).all() and (lines > 0).all() and lines.max() > 1000 * lines.min()
    axes.set(xlabel=(labels[0] if value.ndim == 1 or value.shape[0] > value.shape[1] else labels[1]) or "index",
             ylabel=title_of(name, unit), yscale="log" if positive else "linear")


def generic(run):
    """The most telling stored output: a map before a curve, the larger first."""
    best = None
    for name in run.outputs[:40]:
        found = run.output(name)
        if found is None or not numbers(found[0]) or found[0].size > MOST_CELLS or found[0].size < 8:
            continue
        value = found[0]
        if not numpy.isfinite(value).any() or value.min() == value.max() or name in ("lat", "lon", "sums"):
            continue
        shape = tuple(s for s in value.shape if s > 1)
        rank = (2 if len(shape) == 2 and min(shape) >= 8 else 1 if len(shape) == 1 or len(shape) == 2 else 0, value.size)
        if rank[0] and (best is None or rank > best[0]):
            best = rank, name, value.reshape(shape), found[1], found[2]
    if not best:
        return None
    (kind, _), name, value, labels, attrs = best
    labels = (list(labels) + ["", ""])[:2]
    drawn, axes = style.figure()
    unit = str(attrs.get("unit", ""))
    if kind == 2:
        heat_map(axes, drawn, name, value, labels, unit)
    else:
        plot_lines(axes, name, value, labels, unit)
    axes.set_title(f"{run.workload}: {name}", loc="left")
    index = [list(map(int, i)) for i in numpy.ndindex(*value.shape)][:5000]
    rows = [[*i, float(value[tuple(i)])] for i in index]
    columns = [f"index_{d}" for d in range(value.ndim)] + [name]
    return Figure(f"output-{run.workload.replace('/', '-')}", run.workload, str(attrs.get("help", name)), drawn, columns, rows)


def pictures_of(runs):
    """One of each workload: from the run of the largest stored answer, `sable` first."""
    chosen = {}
    for run in runs:
        if not run.simulated and not run.is_peer and run.outputs:
            known = chosen.get(run.workload)
            if known is None or (run.variant == "sable", run.growth) > (known.variant == "sable", known.growth):
                chosen[run.workload] = run
    drawn = []
    for workload, run in chosen.items():
        try:
            picture = sea(run) if workload.endswith("/sea") else None
            drawn.append(picture or generic(run))
        except (KeyError, OSError, ValueError, IndexError) as problem:  # an output that is not as the workload says
            print(f"report: no picture of {workload}: {problem}")
    return [picture for picture in drawn if picture]
