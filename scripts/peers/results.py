"""Results files (docs/results-format.md) written by peers, so that `sable show`, `compare` and the report read them like sable's own.

    with results.File("peers.h5") as file:
        file.run("value_iteration/model", "mdpsolver", seconds=[0.31, 0.30], items=6.4e6, fom=("transitions", "Gtransition/s", 1e9),
                 threads=2, parameters={"tol": 1e-8}, input="garnet.h5", checks=[results.at_most("bound of max |V - V*|", 3e-9, 1e-8)],
                 outputs={"v": v}, facts={"mdpsolver": "0.9.9"})

As sable does: PATH.partial grows, flushed after every run, and is renamed to PATH at the end; a run without a check is SKIPPED, never
PASS; NaN fails; the interval of the median is non-parametric and exists from six repetitions on. Needs h5py and NumPy."""

import datetime
import math
import os
import pathlib
import platform
import re
import shlex
import socket
import subprocess
import sys

import h5py
import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDEST_INTERVAL = 0.10  # of the median, on each side: beyond it a time is not trusted (harness/share.c)
FEWEST = 6  # repetitions from which an interval of the median exists


def text(size):
    """A text in a compound: HDF5 converts none of another character set."""
    return h5py.string_dtype("utf-8", size)


COUNTERS = numpy.dtype(
    [("rank", "<i4")]
    + [(name, "<f8") for name in ("items", "flops_fp64", "operations_fp64", "operations_int32", "flops_fp32", "flops_bf16", "bytes_memory", "random_accesses")]
    + [(name, "<f8") for name in ("bytes_sent", "messages", "bytes_network_model", "messages_model", "memory_model")]
    + [("peak_rss", "<i8"), ("involuntary_switches", "<i8")]
    + [(name, "<f8") for name in ("steal_seconds", "clock_ghz_low", "clock_ghz_high")]
)
CHECKS = numpy.dtype([("name", text(64)), ("value", "<f8"), ("expected", "<f8"), ("tolerance", "<f8"), ("pass", "<i4")])
BINDING = numpy.dtype([("rank", "<i4"), ("host", text(64)), ("thread", "<i4"), ("cpuset", text(256))])
CEILINGS = numpy.dtype(
    [("name", text(32)), ("value", "<f8"), ("unit", text(16)), ("ranks", "<i4"), ("threads", "<i4"), ("nodes", "<i4"), ("low", "<f8"), ("high", "<f8")]
)


def near(name, value, expected, tolerance):
    """A check |value − expected| ≤ tolerance; a NaN anywhere fails."""
    return name, value, expected, tolerance, bool(abs(value - expected) <= tolerance)


def at_most(name, value, limit):
    """A check value ≤ limit; NaN fails."""
    return name, value, limit, 0.0, bool(value <= limit)


def median_interval(values):
    """(low, median, high): the 95 % non-parametric interval of the median, [least, most] below six values (harness/stats.c)."""
    ordered = numpy.sort(numpy.asarray(values, "f8"))
    tail, low = 0.0, 0
    for k in range(len(ordered) // 2):
        tail += math.comb(len(ordered), k) / 2 ** len(ordered)
        if tail > 0.025:
            break
        low = k
    return ordered[low], float(numpy.median(ordered)), ordered[len(ordered) - 1 - low]


def put(place, name, value):
    """An attribute as sable writes it: texts of fixed length, 64-bit integers, float64."""
    if isinstance(value, str):
        encoded = value.encode()
        place.attrs.create(name, numpy.array(encoded + b"\0"), dtype=text(len(encoded) + 1))
    else:
        place.attrs[name] = numpy.int64(value) if isinstance(value, (bool, int, numpy.integer)) else numpy.float64(value)


def version():
    return re.search(r"project\(sable VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)


def revision():
    told = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return told.stdout.strip() if told.returncode == 0 else "unknown"


def machine_facts():
    """The facts of `sable info` that can be told without it."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {"hosts": "1", "host_names": socket.gethostname(), "cpu_model": cpu.group(1) if cpu else platform.processor() or "unknown"}
    facts |= {"cores": str(os.cpu_count()), "memory": f"{memory:.0f} GiB", "kernel": f"{platform.system()} {platform.release()} {platform.machine()}"}
    facts |= {"python": platform.python_version(), "numpy": numpy.__version__, "hdf5": h5py.version.hdf5_version}
    return facts | {name: value for name, value in os.environ.items() if name.startswith("OMP_")}


class File:
    """A results file being written; a context manager, which leaves PATH.partial behind where its body fails."""

    def __init__(self, path, force=False, command_line=None):
        self.path, self.partial, self.order = os.fspath(path), f"{os.fspath(path)}.partial", 0
        if not force:
            for taken in (self.path, self.partial):
                if os.path.exists(taken):
                    raise FileExistsError(f"{taken} exists: choose another output, or force to replace it")
        self.file = h5py.File(self.partial, "w", libver=("v108", "v110"))
        root = {"format": "sable-results", "format_version": 1, "sable_version": version(), "git_revision": revision()}
        root["created"] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        root["command_line"] = command_line or shlex.join(sys.argv)
        for name, value in (root | {"complete": 0}).items():
            put(self.file, name, value)
        machine = self.file.create_group("machine")
        for name, value in (machine_facts() | {"guard": "", "notice": ""}).items():
            put(machine, name, value)
        machine["binding"] = numpy.zeros(0, BINDING)
        machine["ceilings"] = numpy.zeros(0, CEILINGS)
        self.file.create_group("runs")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            put(self.file, "complete", 1)
        self.file.close()
        if kind is None:
            os.replace(self.partial, self.path)

    def run(
        self, workload, variant, *, seconds, items, fom, threads=1, class_name="S", parameters=None, seed=0, input="", strategy="",
        warmups=0, phases=None, checks=(), outputs=None, warnings=(), facts=None, peer=True, growth=1,
    ):  # fmt: skip
        """Adds a run of family/workload. seconds: [repetition] or [repetition × rank], raw. items: of all ranks in a repetition.
        fom: (name, unit, items/s of one unit). phases: {name: [repetition (× rank)] seconds}; by default all is `compute`.
        checks: of near() and at_most(). outputs: {name: array or (array, unit, help)}. facts: {name: text} of the machine, such as
        the peer's version. growth: by how many times the problem has grown for weak scaling. Returns the group's name."""
        seconds = numpy.atleast_1d(numpy.asarray(seconds, "f8"))
        seconds = seconds[:, None] if seconds.ndim == 1 else seconds
        if seconds.ndim != 2 or not seconds.size or not (seconds > 0).all():
            raise ValueError(f"{workload} {variant}: seconds must be positive, [repetition] or [repetition × rank]")
        group = self._new_group(f"runs/{workload}/{variant}")
        for name, fact in (facts or {}).items():
            put(self.file["machine"], name, str(fact))
        put(group, "complete", 0)
        parameters = dict(parameters or {})
        for name, value in parameters.items():
            put(group, name, value if isinstance(value, (str, float)) else int(value))
        identity = {"parameters": "\n".join(f"{name}={value}" for name, value in parameters.items()), "class": class_name, "seed": seed}
        identity |= {"growth": growth, "peer": int(peer)}
        identity |= {"ranks": seconds.shape[1], "threads": threads, "strategy": strategy, "input": os.fspath(input), "order": self.order}
        for name, value in (identity | self._outcome(seconds, items, fom, checks, list(warnings))).items():
            put(group, name, value)
        self._put_times(group, seconds, warmups, phases or {"compute": seconds})
        counters = numpy.zeros(seconds.shape[1], COUNTERS)
        counters["rank"], counters["items"] = numpy.arange(len(counters)), items / len(counters)
        group["counters"] = counters
        group["checks"] = numpy.array([(name[:63].encode(), *rest) for name, *rest in checks], CHECKS)
        group.create_group("outputs")
        for name, output in (outputs or {}).items():
            data, unit, help_text = output if isinstance(output, tuple) else (output, "", "")
            group["outputs"][name] = numpy.atleast_1d(data)
            put(group["outputs"][name], "unit", unit)
            put(group["outputs"][name], "help", help_text)
        put(group, "complete", 1)
        self.file.flush()
        self.order += 1
        return group.name

    def _new_group(self, name):
        """`name`, or with the first free suffix of .2, .3, …"""
        k = 1
        while (free := name if k == 1 else f"{name}.{k}") in self.file:
            k += 1
        return self.file.create_group(free)

    @staticmethod
    def _outcome(seconds, items, fom, checks, warnings):
        """The figure of merit from the slowest rank of each repetition, and the verdict."""
        slowest = seconds.max(axis=1)
        low, median, high = median_interval(slowest)
        name, unit, scale = fom
        rate, rate_low, rate_high = (items / time / scale for time in (median, high, low))
        verified = "SKIPPED" if not checks else "PASS" if all(check[4] for check in checks) else "FAIL"
        noise = (rate_high - rate_low) / (2 * rate)
        noisy = len(slowest) >= FEWEST and noise > WIDEST_INTERVAL
        if noisy:
            warnings.append(f"noise: the median is known to ± {100 * noise:.0f} % only")
        verdict = "UNTRUSTED" if noisy and verified == "PASS" else verified
        reals = {"fom": rate, "fom_ci_low": rate_low, "fom_ci_high": rate_high}
        reals |= dict.fromkeys(("ceiling_value", "share_of_ceiling", "ratio", "ratio_ci_low", "ratio_ci_high"), math.nan)
        texts = {"fom_name": name, "fom_unit": unit, "ceiling": "", "ratio_to": "", "verified": verified, "verdict": verdict, "digest": ""}
        return reals | texts | {"warnings": "\n".join(warnings), "layout_invariant": 0}

    @staticmethod
    def _put_times(group, seconds, warmups, phases):
        group["seconds"] = seconds
        attributes = {"unit": "s", "dimensions": "repetition, rank", "clock": "of the peer", "warmups": warmups, "stopped": "asked"}
        for name, value in attributes.items():
            put(group["seconds"], name, value)
        group["phases"] = numpy.stack([numpy.asarray(phase, "f8").reshape(seconds.shape) for phase in phases.values()], axis=2)
        put(group["phases"], "unit", "s")
        put(group["phases"], "dimensions", "repetition, rank, phase")
        size = max(len(name.encode()) for name in phases) + 1
        group["phases"].attrs.create("phases", numpy.array([name.encode() for name in phases]), dtype=text(size))
