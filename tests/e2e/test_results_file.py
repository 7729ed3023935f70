"""The results file as docs/results-format.md promises it to h5py, and where it lands."""

import re
import time

import h5py
import numpy
import pytest

from contents import complete_runs, stored_runs, text
from launcher import ONCE, failed_with

RANKS, THREADS, REPS, WARMUPS = 3, 2, 7, 2


@pytest.fixture(scope="module")
def stored(sable, tmp_path_factory):
    """A file of all variants of the null workloads on 3 × 2, and what the launch said of it as JSON."""
    folder = tmp_path_factory.mktemp("stored")
    arguments = ["run", "null", "-V", "reference,sable", "-s", "n=50000", "--seed", "7", "--inject-fault", "wrong"]
    arguments += ["--keep", "full", "-n", str(REPS), "-w", str(WARMUPS), "-o", "stored.h5", "--json"]
    told = sable(*arguments, ranks=RANKS, threads=THREADS, cwd=folder)
    assert told.code == 1, told
    with h5py.File(folder / "stored.h5", "r") as file:
        yield file, told.json, arguments


# ---- The format ----


def test_root_tells_format_version_origin_and_completeness(stored):
    file, told, arguments = stored
    attrs = file.attrs
    assert text(attrs["format"]) == "sable-results"
    assert attrs["format_version"] == 1 and attrs["complete"] == 1
    assert text(attrs["sable_version"]) == told["sable_version"]
    assert text(attrs["git_revision"])
    created = time.strptime(text(attrs["created"]), "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.time() - time.mktime(created) + time.timezone) < 3600
    assert text(attrs["command_line"]).split()[1:] == arguments


def test_machine_holds_every_fact_binding_and_ceiling(stored, run):
    file, told, _ = stored
    machine = file["machine"]
    facts = run("info", "--json", ranks=RANKS, threads=THREADS).json["machine"]
    assert facts.keys() <= machine.attrs.keys()
    assert all(text(machine.attrs[name]) for name in facts if facts[name])
    binding = machine["binding"][()]
    assert binding.dtype.names == ("rank", "host", "thread", "cpuset")
    assert [(b["rank"], b["thread"]) for b in binding] == [(r, t) for r in range(RANKS) for t in range(THREADS)]
    ceilings = machine["ceilings"][()]
    assert {"name", "value", "unit", "ranks", "threads"} <= set(ceilings.dtype.names)
    assert [text(c["name"]) for c in ceilings] == [c["name"] for c in told["ceilings"]] and len(ceilings) > 0
    assert [c["value"] for c in ceilings] == [c["value"] for c in told["ceilings"]]
    assert all(c["ranks"] == RANKS and c["threads"] == THREADS for c in ceilings)


def test_every_run_is_stored_at_its_path_with_all_attributes(stored):
    file, told, _ = stored
    groups = stored_runs(file)
    assert groups.keys() == {f"{run['workload']}/{run['variant']}" for run in told["runs"]} and len(groups) == 4
    for run in told["runs"]:
        attrs = groups[f"{run['workload']}/{run['variant']}"].attrs
        for name in "class fom_name fom_unit ceiling verified digest warnings".split():
            assert text(attrs[name]) == run[name], name
        for name in "seed ranks threads fom fom_ci_low fom_ci_high".split():
            assert attrs[name] == run[name], name
        assert attrs["complete"] == 1 and "strategy" in attrs
        if run["share_of_ceiling"] is None:
            assert numpy.isnan(attrs["share_of_ceiling"])
        else:
            assert attrs["share_of_ceiling"] == run["share_of_ceiling"]
        for name, value in run["parameters"].items():
            assert attrs[name] == value and numpy.issubdtype(type(attrs[name]), numpy.number), name
        assert re.fullmatch("[0-9a-f]{16}", run["digest"])


def test_raw_seconds_of_every_repetition_and_rank_are_kept(stored):
    file, told, _ = stored
    for name, run in stored_runs(file).items():
        seconds = run["seconds"]
        assert (seconds.shape, seconds.dtype) == ((REPS, RANKS), numpy.float64), name
        assert text(seconds.attrs["unit"]) == "s" and text(seconds.attrs["clock"])
        assert seconds.attrs["warmups"] == WARMUPS
        assert (seconds[()] > 0).all() and len(numpy.unique(seconds)) > REPS
    reported = {f"{run['workload']}/{run['variant']}": run["seconds"] for run in told["runs"]}
    for name, run in stored_runs(file).items():
        assert reported[name] == numpy.median(run["seconds"][()].max(axis=1)), name


def test_phases_add_up_to_the_seconds(stored, workloads):
    file, _, _ = stored
    for name, run in stored_runs(file).items():
        phases = run["phases"]
        assert phases.shape[:2] == (REPS, RANKS) and phases.dtype == numpy.float64
        names = [value for key, value in phases.attrs.items() if isinstance(value, numpy.ndarray) and len(value)]
        assert any(len(value) == phases.shape[2] for value in names), f"{name}: no attribute names the phases"
        assert (phases[()] >= 0).all()
        numpy.testing.assert_allclose(phases[()].sum(axis=2), run["seconds"][()], rtol=1e-9, atol=2e-9)


def test_counters_tell_the_work_and_disturbance_of_each_rank(stored):
    file, _, _ = stored
    wanted = {"rank", "items", "bytes_memory", "bytes_sent", "messages", "peak_rss", "involuntary_switches"}
    for name, run in stored_runs(file).items():
        counters = run["counters"][()]
        assert wanted <= set(counters.dtype.names) and counters["rank"].tolist() == list(range(RANKS)), name
        assert (counters["peak_rss"] > 1e6).all() and (counters["involuntary_switches"] >= 0).all()
    for variant in ("reference", "sable"):
        counters = file[f"runs/null/sum/{variant}/counters"][()]
        assert counters["items"].sum() == 50000
        assert counters["messages"].tolist() == [0, 1, 1] == counters["messages_model"].tolist()
        assert counters["bytes_sent"].tolist() == counters["bytes_network_model"].tolist()


def test_checks_hold_value_expectation_and_tolerance(stored):
    file, _, _ = stored
    checks = file["runs/null/sleep/sable/checks"][()]
    assert checks.dtype.names == ("name", "value", "expected", "tolerance", "pass")
    assert [(text(c["name"]), c["value"], c["expected"], c["pass"]) for c in checks] == [("answer", 43, 42, 0)]
    assert text(file["runs/null/sleep/sable"].attrs["verified"]) == "FAIL"
    (check,) = file["runs/null/sum/sable/checks"][()]
    assert check["pass"] == 1 and abs(check["value"] - check["expected"]) <= check["tolerance"]


def test_outputs_carry_values_units_and_dimension_labels(stored):
    file, _, _ = stored
    outputs = file["runs/null/sum/sable/outputs"]
    assert outputs.keys() == {"x", "total"}
    x, total = outputs["x"], outputs["total"]
    assert (x.shape, x.dtype, total.shape) == ((50000,), numpy.float64, (1,))
    assert [dim.label for dim in x.dims] == ["index"]
    assert "unit" in x.attrs
    assert ((x[()] >= 0) & (x[()] < 1)).all() and len(numpy.unique(x)) == 50000 and abs(numpy.mean(x) - 0.5) < 0.01
    assert total[0] == file["runs/null/sum/sable/checks"][0]["value"]


@pytest.mark.parametrize("keep, kept", [("none", set()), ("summary", {"total"}), ("full", {"x", "total"})])
def test_keep_chooses_the_outputs_and_not_the_digest(run, tmp_path, stored, keep, kept):
    told = run("run", "null/sum", *ONCE, "-s", "n=50000", "--seed", "7", "--keep", keep, "-o", "kept.h5")
    assert told.code == 0, told
    with h5py.File(tmp_path / "kept.h5", "r") as file:
        group = file["runs/null/sum/sable"]
        assert set(group.get("outputs", {})) == kept
        assert text(group.attrs["digest"]) == text(stored[0]["runs/null/sum/sable"].attrs["digest"])


def test_runs_of_one_workload_in_one_launch_get_suffixes(run, tmp_path):
    assert run("run", "null/sum", *ONCE, "--ranks", "1,2,1", "-o", "sets.h5", ranks=2).code == 0
    with h5py.File(tmp_path / "sets.h5", "r") as file:
        runs = {name: group.attrs["ranks"] for name, group in stored_runs(file).items()}
    assert runs == {"null/sum/sable": 1, "null/sum/sable.2": 2, "null/sum/sable.3": 1}


def test_large_outputs_read_the_same_through_the_file(run, tmp_path):
    """12 M doubles are more than what lies in the results file itself."""
    n = 12_000_000
    told = run("run", "null/sum", *ONCE, "-s", f"n={n}", "--keep", "full", "-o", "large.h5", "--no-verify", ranks=2)
    assert told.code == 0, told
    small = run("run", "null/sum", *ONCE, "-s", "n=100000", "--keep", "full", "-o", "small.h5")
    assert small.code == 0
    with h5py.File(tmp_path / "large.h5", "r") as file, h5py.File(tmp_path / "small.h5", "r") as first:
        x = file["runs/null/sum/sable/outputs/x"]
        assert x.shape == (n,)
        assert (x[:100_000] == first["runs/null/sum/sable/outputs/x"][()]).all()
        assert len(numpy.unique(x[n // 2 - 1000 : n // 2 + 1000])) == 2000 and x[-1] != 0


# ---- Where it lands ----


def test_default_name_tells_what_class_time_and_layout(run, tmp_path):
    assert run("run", "null/sum", *ONCE, "-c", "S", ranks=3, threads=2).code == 0
    (path,) = tmp_path.rglob("*.h5")
    assert re.fullmatch(r"results/null_sum-S-\d{8}T\d{6}Z-3x2\.h5", str(path.relative_to(tmp_path)))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_an_existing_file_is_kept_unless_forced(run, tmp_path):
    path = tmp_path / "kept.h5"
    path.write_text("precious")
    told = run("run", "null/sum", *ONCE, "-o", "kept.h5")
    failed_with(told, 2, "kept.h5", "--force")
    failed_with(run("run", "null/sum", *ONCE, "-o", "kept.h5", ranks=3), 2, "kept.h5", alone=False)
    assert path.read_text() == "precious" and list(tmp_path.iterdir()) == [path]
    assert run("run", "null/sum", *ONCE, "-o", "kept.h5", "--force").code == 0
    assert complete_runs(path) == {"null/sum/sable"} and list(tmp_path.iterdir()) == [path]


def test_a_partial_file_is_kept_unless_forced(run, tmp_path):
    path = tmp_path / "kept.h5.partial"
    path.write_text("precious")
    failed_with(run("run", "null/sum", *ONCE, "-o", "kept.h5"), 2, "kept.h5.partial")
    assert path.read_text() == "precious"
    assert run("run", "null/sum", *ONCE, "-o", "kept.h5", "--force").code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["kept.h5"]


def test_a_folder_is_not_replaced_even_by_force(run, tmp_path):
    (tmp_path / "folder.h5").mkdir()
    told = run("run", "null/sum", *ONCE, "-o", "folder.h5", "--force")
    assert told.code in (2, 3)
    failed_with(told, told.code, "folder.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.h5"]


def test_the_folder_of_the_output_must_exist(run, tmp_path):
    failed_with(run("run", "null/sum", *ONCE, "-o", "absent/out.h5"), 3, "absent/out.h5")
    failed_with(run("run", "null/sum", *ONCE, "-o", "absent/out.h5", ranks=3), 3, "absent/out.h5", alone=False)
    assert list(tmp_path.iterdir()) == []


def test_names_of_any_bytes_do_not_break_lines_or_json(run, tmp_path):
    told = run("run", "null/sum", *ONCE, "-o", b"\xff\n.h5".decode(errors="surrogateescape"), "--json")
    if told.code == 0:
        assert told.json["runs"][0]["verified"] == "PASS"
    else:
        failed_with(told, 2)
        assert list(tmp_path.iterdir()) == []
