"""The same bits for any ranks × threads, any run, and any SIMD path (docs/determinism.md)."""

import itertools

import h5py
import numpy
import pytest

from launcher import ONCE

LAYOUTS = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (5, 1), (7, 1)]
SIMD_PATHS = ["base", "v2", "v3", "v4"]
# Sizes that no layout of the matrix divides; test_sums_of_any_length_* takes the long vectors.
SETTINGS = ("-c", "T")


@pytest.fixture(scope="module")
def invariant(workloads):
    return [name for name, workload in workloads.items() if workload["layout_invariant"]]


def bits_of(sable, folder, names, variants, ranks, threads, env=None):
    """{run or output: what must not change} of one launch: digests, checked values, and every stored byte."""
    path = folder / f"{ranks}x{threads}-{'-'.join((env or {}).values())}.h5"
    told = sable(
        *["run", *names, *ONCE, *SETTINGS, "-V", variants, "--keep", "full", "-o", path],
        ranks=ranks,
        threads=threads,
        cwd=folder,
        env=env,
        timeout=900,
    )
    assert told.code == 0, told
    bits = {}

    def collect(name, item):
        run = "/".join(name.split("/")[:3])  # family, workload, variant
        if file["runs"][run].attrs.get("peer", 0):
            return  # another project's code: its bits are its own
        if isinstance(item, h5py.Dataset) and "/outputs/" in name:
            bits[name] = (item.shape, item.dtype.str, item[()].tobytes())
        elif "digest" in item.attrs:
            bits[name] = item.attrs["digest"]

    with h5py.File(path, "r") as file:
        file["runs"].visititems(collect)
    path.unlink()
    return bits


def assert_same(expected, bits, what):
    assert bits.keys() == expected.keys(), what
    assert [name for name in expected if bits[name] != expected[name]] == [], what


@pytest.fixture(scope="module")
def first_layout(sable, invariant, tmp_path_factory):
    return bits_of(sable, tmp_path_factory.mktemp("first"), invariant, "all", *LAYOUTS[0])


def test_the_comparison_sees_digests_and_outputs_of_every_workload(first_layout, invariant, workloads):
    assert {"null/sleep", "null/sum"} <= set(invariant)
    for name, variant in ((n, v) for n in invariant for v in workloads[n]["variants"]
                          if v not in workloads[n]["peers"]):
        assert int(first_layout[f"{name}/{variant}"], 16) != 0, "no digest"
        stored = {key.rsplit("/", 1)[1] for key in first_layout if key.startswith(f"{name}/{variant}/outputs/")}
        assert stored, f"{name}/{variant} stores no outputs: the comparison would see nothing"
    assert len(first_layout["null/sum/sable/outputs/x"][2]) == 8 * 100003


@pytest.mark.parametrize("ranks, threads", LAYOUTS[1:], ids=lambda n: str(n))
def test_bits_do_not_depend_on_the_layout(sable, tmp_path, invariant, first_layout, ranks, threads):
    assert_same(first_layout, bits_of(sable, tmp_path, invariant, "all", ranks, threads), f"{ranks} × {threads}")


def test_bits_do_not_depend_on_the_run(sable, tmp_path, invariant, first_layout):
    assert_same(first_layout, bits_of(sable, tmp_path, invariant, "all", *LAYOUTS[0]), "a second run")


@pytest.mark.parametrize("path", SIMD_PATHS)
def test_bits_do_not_depend_on_the_simd_path(sable, run, tmp_path, invariant, first_layout, path):
    if run("run", "null/sum", "--dry-run", env={"SABLE_ISA": path}).code == 2:
        pytest.skip(f"this processor or build has no {path}")
    bits = bits_of(sable, tmp_path, invariant, "all", 2, 2, env={"SABLE_ISA": path})
    assert_same(first_layout, bits, path)


def test_bits_do_not_depend_on_scheduling_or_binding(sable, tmp_path, invariant, first_layout):
    for number, env in enumerate(({"OMP_SCHEDULE": "dynamic,1", "SABLE_BIND": "none"}, {"OMP_WAIT_POLICY": "active"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        names = [name for name in invariant if name.startswith("null")] if number else invariant
        bits = bits_of(sable, folder, names, "all", 1, 2, env=env)
        assert_same({key: first_layout[key] for key in bits}, bits, env)


def test_another_seed_gives_other_bits(run):
    def digest(seed):
        return run("run", "null/sum", *ONCE, "--seed", seed, "--json").json["runs"][0]["digest"]

    assert len({digest(seed) for seed in (1, 2, 3)}) == 3


def test_sums_of_any_length_do_not_depend_on_the_layout(run, tmp_path):
    """Around the edges of blocks and of the tree above them; ranks that hold nothing."""
    lengths = [1, 2, 4095, 4096, 4097, 8191, 8193, 4096 * 7, 4096 * 8 + 1]
    totals = {}
    for n, ranks in itertools.product(lengths, (1, 7)):
        path = tmp_path / f"{n}-{ranks}.h5"
        assert run("run", "null/sum", *ONCE, "-V", "all", "-s", f"n={n}", "-o", path, ranks=ranks).code == 0, (n, ranks)
        with h5py.File(path, "r") as file:
            for variant in ("reference", "sable"):
                totals[n, ranks, variant] = file[f"runs/null/sum/{variant}/outputs/total"][0]
    for n in lengths:
        assert len({total for (length, *_), total in totals.items() if length == n}) == 1, n
    assert numpy.all(numpy.diff([totals[n, 1, "sable"] for n in lengths]) > 0)
