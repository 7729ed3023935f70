"""How figures look: series are told apart by marker and dash, bars by hatch; colours (Okabe and Ito's, for all eyes) only
help. Text stays text in the SVG."""

import io
import itertools
import re

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#404040", "#8A6D00"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 2)), (0, (3, 3, 1, 3))]
HATCHES = ["", "//", "xx", "\\\\\\\\", "--", "++", "||", "/"]
INK, FAINT = "#222222", "#8a8f98"

pyplot.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "sable", "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK, "axes.labelcolor": INK,
    "axes.grid": True, "grid.color": "#e4e6ea", "grid.linewidth": 0.8, "axes.axisbelow": True, "legend.frameon": False,
    "legend.fontsize": 9, "figure.constrained_layout.use": True, "hatch.linewidth": 0.6, "lines.linewidth": 1.6, "figure.max_open_warning": 0,
})


def looks():
    """Endless: keyword arguments of one series after the other."""
    for i in itertools.count():
        yield {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)],
               "linestyle": DASHES[i % len(DASHES)]}


def figure(width=5.2, height=3.6):
    return pyplot.subplots(figsize=(width, height))


def svg_of(drawn, name):
    """The figure as SVG for a page: no prologue, ids of its own, as wide as what holds it."""
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    width = re.search(r'width="([\d.]+)pt"', text)
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    pixels = float(width.group(1)) * 4 / 3 if width else 500
    return f'{head} role="img" style="max-width:{pixels:.0f}px">{rest}'


def close(drawn):
    pyplot.close(drawn)


def plain_ticks(axis, values):
    """Ticks at the values themselves, as plain numbers; of many, those that keep apart."""
    values = sorted(set(values))
    kept = []
    for value in values:
        if not kept or value >= 1.35 * kept[-1] or len(values) < 6:
            kept.append(value)
    axis.set_major_locator(matplotlib.ticker.FixedLocator(kept))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())
