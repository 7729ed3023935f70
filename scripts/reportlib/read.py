"""Results files (docs/results-format.md), read into plain objects. Anything may be in a file: what is not as the format
says is left out with a reason, links are not followed."""

import hashlib
import pathlib
from dataclasses import dataclass, field

import h5py
import numpy

from . import stats

MOST_BYTES = 256 * 2**20  # of one dataset that is read


class Damaged(Exception):
    pass


@dataclass
class File:
    path: str
    facts: dict  # of /machine, and of the root
    ceilings: list  # dicts: name, value, unit, ranks, threads, nodes
    created: str
    command: str
    complete: bool
    sha256: str
    runs: list = field(default_factory=list)

    @property
    def host(self):
        return self.facts.get("host_names", "unknown host")

    @property
    def cpu(self):
        return self.facts.get("cpu_model", "unknown processor")


@dataclass
class Run:
    file: File
    group: str
    workload: str
    variant: str
    attrs: dict
    seconds: numpy.ndarray  # [repetition, rank]
    phase_names: list
    phases: numpy.ndarray  # [repetition, rank, phase]; or None
    counters: numpy.ndarray  # [rank] compound; or None
    outputs: list  # names

    @property
    def family(self):
        return self.workload.split("/")[0]

    def text(self, name, default=""):
        return str(self.attrs.get(name, default))

    def number(self, name, default=float("nan")):
        value = self.attrs.get(name, default)
        return float(value) if numpy.isscalar(value) and not isinstance(value, (str, bytes)) else default

    @property
    def ranks(self):
        return int(self.attrs["ranks"])

    @property
    def threads(self):
        return int(self.attrs["threads"])

    @property
    def processors(self):
        return self.ranks * self.threads

    @property
    def layout(self):
        return f"{self.ranks}×{self.threads}"

    @property
    def growth(self):
        return int(self.attrs.get("growth", 1))

    @property
    def simulated(self):
        return bool(self.attrs.get("simulated", self.file.facts.get("simulated", 0)))

    @property
    def assumptions(self):
        return self.text("assumptions") or str(self.file.facts.get("assumptions", ""))

    @property
    def is_peer(self):
        return bool(self.attrs.get("peer", self.variant not in ("sable", "reference")))

    @property
    def unlike(self):
        """A peer that solves another problem than it is set beside, and says so."""
        return self.is_peer and "not like for like" in self.text("strategy")

    @property
    def verdict(self):
        return self.text("verdict", "?")

    @property
    def slowest(self):
        """Seconds of each repetition: of its slowest rank."""
        return self.seconds.max(axis=1)

    @property
    def time(self):
        """(low, median, high) seconds of a repetition."""
        return stats.median_interval(self.slowest)

    @property
    def fom(self):
        """(low, figure of merit, high)."""
        middle = self.number("fom")
        low, median, high = self.time
        return middle * median / high, middle, middle * median / low

    @property
    def parameters(self):
        lines = (line.split("=", 1) for line in self.text("parameters").splitlines() if "=" in line)
        return {name: value for name, value in lines}

    @property
    def problem(self):
        """What makes two runs the same problem: how ranks share it does not count."""
        settings = tuple((n, v) for n, v in self.parameters.items() if n != "strategy")
        return self.workload, self.text("class"), settings, self.text("seed"), self.text("input")

    def counter(self, name):
        """Sum over ranks of a counter of one repetition; NaN where there is none."""
        if self.counters is None or name not in (self.counters.dtype.names or ()):
            return float("nan")
        return float(self.counters[name].sum())

    def output(self, name):
        """A stored output, or None if it can't be had."""
        with h5py.File(self.file.path) as file:
            place = f"{self.group}/outputs"
            if not isinstance(file[place].get(name, getlink=True), h5py.HardLink):
                return None
            dataset = file[place][name]
            if not isinstance(dataset, h5py.Dataset) or dataset.nbytes > MOST_BYTES:
                return None
            labels = [dim.label for dim in dataset.dims]
            attrs = {key: plain(value) for key, value in dataset.attrs.items() if key in ("unit", "help")}
            return dataset[()], labels, attrs


def plain(value):
    """An attribute as Python has it: text without control characters, numbers, or what it is."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, numpy.generic):
        value = plain(value.item())
    if isinstance(value, str):
        return "".join(c for c in value if c in "\n\t" or c >= " ")
    return value


def attributes(item):
    found = {}
    for name in item.attrs:
        try:
            found[name] = plain(item.attrs[name])
        except (OSError, TypeError, ValueError):  # a type that NumPy has no word for
            continue
    return found


def own(group, name, kind):
    """A member that is no link elsewhere, of the kind wanted; or None."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    item = group[name]
    if not isinstance(item, kind) or (kind is h5py.Dataset and item.nbytes > MOST_BYTES):
        return None
    return item


def read_run(file, group, place):
    _, _, family, name, variant = place.split("/")
    attrs = attributes(group)
    if attrs.get("complete") != 1:
        return None
    seconds = own(group, "seconds", h5py.Dataset)
    if seconds is None or seconds.ndim != 2 or 0 in seconds.shape or seconds.dtype.kind != "f":
        raise Damaged(f"{place} has no seconds [repetition, rank]")
    for needed in ("ranks", "threads", "fom", "fom_unit", "verdict"):
        if needed not in attrs:
            raise Damaged(f"{place} lacks {needed}")
    if not all(isinstance(attrs[n], int) and attrs[n] > 0 for n in ("ranks", "threads")):
        raise Damaged(f"{place}: ranks and threads must be numbers above 0")
    names, cube = [], own(group, "phases", h5py.Dataset)
    if cube is not None and cube.ndim == 3 and "phases" in cube.attrs:
        names = [plain(value) for value in numpy.ravel(cube.attrs["phases"])]
    counters, outputs = own(group, "counters", h5py.Dataset), own(group, "outputs", h5py.Group)
    good_cube = cube is not None and len(names) == (cube.shape[-1] if cube.ndim == 3 else -1)
    return Run(file, place, f"{family}/{name}", variant.split(".")[0], attrs, seconds[()], names if good_cube else [],
               cube[()] if good_cube else None, counters[()] if counters is not None and counters.ndim == 1 else None,
               sorted(outputs) if outputs is not None else [])


def read_ceilings(machine):
    table = own(machine, "ceilings", h5py.Dataset)
    names = ("name", "value", "unit", "ranks", "threads")
    if table is None or table.ndim != 1 or not set(names) <= set(table.dtype.names or ()):
        return []
    wanted = [name for name in (*names, "nodes") if name in table.dtype.names]
    return [{name: plain(row[name]) for name in wanted} for row in table[()]]


def read_file(path):
    """A File with its complete runs; Damaged with one line if it is none."""
    try:
        with h5py.File(path) as h5:
            attrs = attributes(h5)
            if attrs.get("format") != "sable-results":
                raise Damaged("not a results file of sable")
            if attrs.get("format_version") != 1:
                raise Damaged(f"format_version {attrs.get('format_version')}: this report reads version 1")
            machine, runs = own(h5, "machine", h5py.Group), own(h5, "runs", h5py.Group)
            if runs is None:
                raise Damaged("no group /runs")
            facts = {**{k: v for k, v in attrs.items()}, **(attributes(machine) if machine is not None else {})}
            file = File(str(path), facts, read_ceilings(machine) if machine is not None else [],
                        str(attrs.get("created", "")), str(attrs.get("command_line", "")), attrs.get("complete") == 1,
                        hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest())
            for family in runs:
                for name in own(runs, family, h5py.Group) or ():
                    for variant in own(runs[family], name, h5py.Group) or ():
                        group = own(runs[family][name], variant, h5py.Group)
                        run = group is not None and read_run(file, group, f"/runs/{family}/{name}/{variant}")
                        if run:
                            file.runs.append(run)
            file.runs.sort(key=lambda run: run.number("order", 0))
            return file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, UnicodeError) as problem:
        raise Damaged(str(problem).splitlines()[0] if str(problem) else type(problem).__name__) from problem
