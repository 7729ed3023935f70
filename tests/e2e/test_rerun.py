"""`sable rerun` repeats what a file holds and compares the digests."""

import h5py
import numpy

from launcher import ONCE, failed_with


def test_rerun_finds_the_same_answers_on_another_layout(run, tmp_path):
    assert run("run", "null/sum", "value_iteration/gridworld", *ONCE, "-c", "T", "-V", "all", "-o", "all.h5").code == 0
    told = run("rerun", "all.h5", ranks=3, threads=2)
    assert (told.code, told.errors) == (0, [])
    assert sorted(line.split(":")[0].split() for line in told.out.splitlines()) == [
        ["SAME", workload, variant]
        for workload in ("null/sum", "value_iteration/gridworld")
        for variant in ("reference", "sable")
    ]
    some = run("rerun", "all.h5", "null", "--json").json
    assert [(one["workload"], one["outcome"]) for one in some] == [("null/sum", "SAME")] * 2


def test_rerun_tells_another_answer(run, tmp_path):
    assert run("run", "null/sum", *ONCE, "-c", "T", "-o", "out.h5").code == 0
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file["runs/null/sum/sable"].attrs["digest"] = numpy.bytes_(b"0123456789abcdef")
    told = run("rerun", "out.h5")
    assert (told.code, told.errors) == (1, [])
    assert told.out.startswith("DIFFERENT null/sum sable: stored digest 0123456789abcdef")


def test_rerun_takes_the_stored_input_and_settings(run, tmp_path):
    cells = numpy.zeros((5, 7), dtype="u1")
    cells[1, 2] = 4
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["cells"] = cells
    assert run("run", "value_iteration/gridworld", *ONCE, "-s", "gamma=0.8", "-i", "in.h5", "-o", "out.h5").code == 0
    assert run("rerun", "out.h5").out.startswith("SAME value_iteration/gridworld")
    (tmp_path / "in.h5").rename(tmp_path / "moved.h5")
    failed_with(run("rerun", "out.h5"), 2, "in.h5")
    assert run("rerun", "out.h5", "-i", "moved.h5").code == 0


def test_rerun_refuses_what_it_can_not_repeat(run, tmp_path):
    assert run("run", "null/sum", *ONCE, "-c", "T", "-o", "out.h5").code == 0
    failed_with(run("rerun"), 2, "results file")
    failed_with(run("rerun", "absent.h5"), 2, "absent.h5")
    failed_with(run("rerun", "out.h5", "value_iteration"), 2, "value_iteration")
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file["runs/null/sum/sable"].attrs["parameters"] = numpy.bytes_(b"n=9999999999999999999")
    failed_with(run("rerun", "out.h5"), 2, "n=9999999999999999999")
    failed_with(run("rerun", "out.h5", ranks=3), 2, "n=9999999999999999999", alone=False)
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file.move("runs/null/sum", "runs/null/unknown")
    failed_with(run("rerun", "out.h5"), 2, "unknown")
