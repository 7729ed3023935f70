"""`--weak`: each workload grows as its driver declares, or is left out and named."""

import h5py
import pytest

from launcher import ONCE, failed_with


def planned(run, *arguments, threads=1):
    """What one rank of `threads` threads would run, by workload, and the text of what is left out."""
    plan = run("run", *arguments, "--dry-run", "--json", threads=threads, env={"SABLE_BIND": "none"}).json[0]
    return {item["workload"]: item for item in plan["would_run"]}, plan["left_out"]


def test_every_growth_names_a_number_of_its_workload(workloads):
    for name, workload in workloads.items():
        numbers = {p["name"] for p in workload["parameters"] if p["type"] in ("integer", "real")}
        for growth in workload["weak"] or []:
            assert growth["parameter"] in numbers, f"{name} grows by {growth['parameter']}"
            assert growth["exponent"] != 0


def test_every_workload_grows_by_its_exponents_or_is_named_as_left_out(run, workloads):
    plan, left_out = planned(run, "all", "-c", "S", "--weak", threads=4)
    base, _ = planned(run, "all", "-c", "S")
    for name in base:
        if name not in plan:
            assert name in left_out
            continue
        assert plan[name]["growth"] == 4
        for growth in workloads[name]["weak"]:
            before, now = (float(p[name]["parameters"][growth["parameter"]]) for p in (base, plan))
            assert now == pytest.approx(before * 4 ** growth["exponent"], rel=0.1)


def test_a_square_grid_doubles_its_side_on_four_processors(run):
    plan, _ = planned(run, "value_iteration/gridworld", "-s", "n=100", "--weak", threads=4)
    parameters = plan["value_iteration/gridworld"]["parameters"]
    assert (parameters["n"], parameters["columns"]) == ("200", "0")


def test_what_cannot_grow_alone_is_refused(run):
    failed_with(run("run", "value_iteration/model", "-c", "T", "--weak", "--dry-run"), 2, "no weak scaling")


def test_a_growth_spoilt_by_rounding_is_refused(run):
    result = run("run", "null/sum", "-s", "n=1", "--weak", "--dry-run", threads=3, env={"SABLE_BIND": "none"})
    assert result.code == 0 and "n=3" in result.out
    failed_with(run("run", "value_iteration/gridworld", "-s", "n=1", "--weak", "--dry-run", threads=2,
                    env={"SABLE_BIND": "none"}), 2, "no integer")


def test_the_growth_is_stored_with_each_set_of_ranks(run, tmp_path):
    result = run("run", "null/sum", "-c", "T", "--weak", "--ranks", "1,3", *ONCE, "-o", "w.h5", ranks=3)
    assert result.code == 0, result.err
    with h5py.File(tmp_path / "w.h5") as file:
        runs = file["runs/null/sum"]
        assert [(r.attrs["ranks"], r.attrs["growth"], r.attrs["n"]) for r in (runs["sable"], runs["sable.2"])] == [
            (1, 1, 100003), (3, 3, 300009)]
