"""Files given by --input that are none, of another kind, or not ours to read: one line, exit 2, and no file is left."""

import itertools
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with


def write_inputs(folder):
    """Files that are no input of any workload, by what is wrong with them."""
    (folder / "empty.h5").write_bytes(b"")
    (folder / "text.h5").write_text("not HDF5\n" * 1000)
    (folder / "folder.h5").mkdir()
    with h5py.File(folder / "good.h5", "w") as file:
        file["data"] = numpy.arange(100_000, dtype="f8")
    whole = (folder / "good.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "header_only.h5").write_bytes(whole[:64])
    (folder / "corrupt.h5").write_bytes(whole[:8] + bytes(255 - b for b in whole[8:2048]) + whole[2048:])
    return ["empty.h5", "text.h5", "folder.h5", "truncated.h5", "header_only.h5", "corrupt.h5", "absent.h5"]


def test_input_that_cannot_be_read_is_refused_by_name(run, tmp_path, workloads):
    readers = [name for name, workload in workloads.items() if workload["inputs"]]
    if not readers:
        pytest.skip("no workload reads a file")
    bad = write_inputs(tmp_path)
    before = sorted(tmp_path.iterdir())
    with ThreadPoolExecutor(4) as pool:
        def refused(case):
            workload, name = case
            failed_with(run("run", workload, *ONCE, "-i", name, "-o", f"{workload}-{name}".replace("/", "-")), 2, name)

        list(pool.map(refused, itertools.product(readers, bad)))
    for workload in readers:
        failed_with(run("run", workload, *ONCE, "-i", "truncated.h5", ranks=3), 2, "truncated.h5", alone=False)
    assert sorted(tmp_path.iterdir()) == before


def test_input_arrays_of_a_wrong_kind_are_refused_and_leave_no_file(run, tmp_path, workloads):
    kinds = {
        "text": lambda file, name: file.create_dataset(name, data=["land", "sea"]),
        "group": lambda file, name: file.create_group(name),
        "scalar": lambda file, name: file.create_dataset(name, data=1.0),
        "empty": lambda file, name: file.create_dataset(name, shape=(0, 0, 0), dtype="f8"),
        "many_dimensions": lambda file, name: file.create_dataset(name, data=numpy.zeros((1,) * 9)),
        "dangling": lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    }
    def refused(workload, name, kind):
        path = tmp_path / f"{workload}-{name}-{kind}.h5".replace("/", "-")
        with h5py.File(path, "w") as file:
            kinds[kind](file, name)
        ranks = 2 if kind == "scalar" else None
        told = run("run", workload, *ONCE, "-c", "T", "-i", path.name, "-o", f"{path.name}.out", ranks=ranks)
        failed_with(told, 2, path.name, alone=ranks is None)
        path.unlink()

    takes_one = {
        (name, field["name"], "scalar")
        for name, workload in workloads.items()
        for field in workload["inputs"]
        if "or one" in field["shape"]
    }
    # All kinds for each workload, two for each of its arrays: a launch takes a quarter of a second.
    cases = []
    for name, workload in workloads.items():
        turn = itertools.cycle(kinds)
        fields = [field["name"] for field in workload["inputs"]]
        cases += [(name, field, next(turn)) for _ in range(max(2, math.ceil(len(kinds) / max(1, len(fields))))) for field in fields]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda case: refused(*case), sorted(set(cases) - takes_one)))
    assert list(tmp_path.iterdir()) == []


def test_input_without_permission_is_refused(run, tmp_path, workloads):
    readers = [name for name, workload in workloads.items() if workload["inputs"]]
    if not readers:
        pytest.skip("no workload reads a file")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = 1.0
    prefix = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv") or pytest.skip("root may read everything, and setpriv is not here")
        prefix = (setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups")
        for folder in (tmp_path, *tmp_path.parents[:3]):
            if folder.name.startswith(("pytest", "test_")):
                folder.chmod(0o755)
        if not run("list", prefix=prefix).code == 0:
            pytest.skip("another user can't reach the binary")
    (tmp_path / "secret.h5").chmod(0)
    told = run("run", readers[0], *ONCE, "-i", "secret.h5", "-o", "out.h5", prefix=prefix)
    failed_with(told, 2, "secret.h5")


def test_an_input_that_holds_nothing_of_use_is_refused(run, tmp_path, workloads):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["nothing_known"] = numpy.ones(3)
    for name in (name for name, workload in workloads.items() if workload["inputs"]):
        failed_with(run("run", name, *ONCE, "-c", "T", "-i", "other.h5", "-o", "out.h5"), 2, "other.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["other.h5"]
