"""The chart of value_iteration/sea: days to the port from every sea. Used by scripts/sea-picture and the report."""

import matplotlib

matplotlib.use("Agg")
import numpy  # noqa: E402
from matplotlib import pyplot  # noqa: E402

NEEDED = ("hours", "heading", "lat", "lon", "mask", "port")

# Headings clockwise from north (kernels/value_iteration/sable_sea.h), rows from south to north.
STEPS = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
DEPARTURES = {
    "Shanghai": (31.0, 123.0),
    "Santos": (-24.5, -46.0),
    "New York": (40.2, -73.2),
    "Cape Town": (-34.5, 18.0),
    "Sydney": (-34.0, 152.0),
}


def route(data, lat, lon):
    """Cells from the nearest reachable one to the port, by the best headings."""
    reachable = numpy.isfinite(data["hours"])
    away = (data["lat"][:, None] - lat) ** 2 + (
        ((data["lon"][None, :] - lon + 180) % 360 - 180) * numpy.cos(numpy.radians(lat))
    ) ** 2
    row, column = numpy.unravel_index(numpy.where(reachable, away, numpy.inf).argmin(), away.shape)
    cells = [(row, column)]
    while 0 <= data["heading"][row, column] < 8 and len(cells) < away.size:
        north, east = STEPS[data["heading"][row, column]]
        row, column = row + north, (column + east) % away.shape[1]
        cells.append((row, column))
    return cells


def draw(data, attrs, size=(16, 8.4), small=False):
    """The figure, for the caller to save; `small`: for a page."""
    lat, lon, hours = data["lat"], data["lon"], data["hours"]
    sea = data["mask"] != 0
    days = numpy.ma.masked_invalid(numpy.where(sea, hours, numpy.nan) / 24)
    last = max(1, int(numpy.ceil(days.max())))
    figure, axes = pyplot.subplots(figsize=size, dpi=100)
    axes.set_facecolor("#d8d4cc")
    shades = axes.contourf(lon, lat, days, levels=numpy.linspace(0, last, 2 * last + 1), cmap="viridis_r", extend="max")
    if small:  # one image in an SVG, not a path for every shade
        for part in shades.collections:
            part.set_rasterized(True)
    lines = axes.contour(lon, lat, days, levels=range(5, last + 1, 5), colors="white", linewidths=0.8)
    axes.clabel(lines, fmt="%d d", fontsize=8)
    closed = numpy.ma.masked_where(~(sea & ~numpy.isfinite(hours)), numpy.ones(sea.shape))
    axes.contourf(lon, lat, closed, levels=[0.5, 1.5], colors=["#eef3f7"], hatches=["////"])
    axes.contour(lon, lat, sea.astype(float), levels=[0.5], colors="#4a4a4a", linewidths=0.4)
    for name, place in DEPARTURES.items():
        cells = route(data, *place)
        rows, columns = numpy.array(cells).T
        x, y = lon[columns].astype(float), lat[rows].astype(float)
        x[1:][numpy.abs(numpy.diff(x)) > 180] = numpy.nan  # where a route leaves one edge of the map for the other
        axes.plot(x, y, color="#d1495b", linewidth=1.8)
        axes.plot(x[0], y[0], "o", color="#d1495b", markeredgecolor="white", markersize=7)
        axes.annotate(f"{name}, {hours[cells[0]] / 24:.1f} d", (x[0], y[0]), xytext=(7, -14), textcoords="offset points",
                      fontsize=8 if small else 10, bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5})
    port = numpy.ravel(data["port"])[:2]
    axes.plot((port[1] + 180) % 360 - 180 if lon.min() < 0 else port[1] % 360, port[0], "*", color="#ffd23f",
              markeredgecolor="black", markersize=12 if small else 20)
    axes.set(xlim=(lon.min(), lon.max()), ylim=(-78, 85), xlabel="longitude [°]", ylabel="latitude [°]", aspect=1.15)
    if not small:
        axes.set_title(f"Days at sea to {port[0]:.1f}° N, {port[1]:.1f}° E by the best headings: {attrs['speed']:g} knots, "
                       f"set off with probability {2 * attrs['drift']:g}, certified to {attrs['gap']:g}\n"
                       "red: routes; hatched: no way to the port", fontsize=12)
    figure.colorbar(shades, ax=axes, label="days", fraction=0.024, pad=0.015, ticks=range(0, last + 1, 5))
    if not small:
        figure.tight_layout()
    return figure
