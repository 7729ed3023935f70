"""Every fault that a workload knows must turn its verdict to FAIL, in every variant and layout; nothing else may."""

import concurrent.futures
import os

import h5py
import pytest

from launcher import ONCE, failed_with

RAISES_AN_ERROR = {("null/sleep", "error")}
LAYOUTS = [None, 3]


def verdicts(told):
    return {(run["workload"], run["variant"]): run["verified"] for run in told.json["runs"]}


def faults_of(workloads):
    return [(name, fault) for name, workload in workloads.items() for fault in workload["faults"]]


def file_of(name, fault):
    return f"{name}-{fault}.h5".replace("/", "-")


def missed_by(check, workloads, ranks=None):
    """What check(name, fault) says of each fault, without None. Answers count here and no times, so launches share the
    machine; but ranks that spin while they wait for a core are slow enough alone."""
    faults = [fault for fault in faults_of(workloads) if fault not in RAISES_AN_ERROR]
    with concurrent.futures.ThreadPoolExecutor(max(1, os.cpu_count() // (ranks or 1))) as pool:
        return [told for told in pool.map(lambda fault: check(*fault), faults) if told]


def test_every_workload_knows_faults(workloads):
    assert [name for name, workload in workloads.items() if not workload["faults"]] == []


@pytest.mark.parametrize("ranks", LAYOUTS)
def test_without_a_fault_every_answer_passes(run, workloads, ranks):
    told = run("run", *workloads, *ONCE, "-c", "T", "-V", "all", "--json", ranks=ranks, timeout=900)
    assert told.code == 0, told
    expected = {(name, variant) for name, workload in workloads.items() for variant in workload["variants"]}
    assert verdicts(told) == dict.fromkeys(expected, "PASS")


@pytest.mark.parametrize("ranks", LAYOUTS)
def test_every_fault_is_seen_in_every_variant(run, workloads, ranks):
    def check(name, fault):
        told = run(
            *["run", name, *ONCE, "-c", "T", "-V", "all", "--inject-fault", fault, "--json", "-o", file_of(name, fault)],
            ranks=ranks,
            timeout=900,
        )
        seen = verdicts(told) if told.code in (0, 1) else {}
        expected = {(name, variant): "FAIL" for variant in workloads[name]["variants"]}
        return None if told.code == 1 and seen == expected else (name, fault, told.code, seen, told.errors)

    assert missed_by(check, workloads, ranks) == []


def test_a_fault_is_seen_after_any_number_of_repetitions(run, workloads):
    """A fault that undoes itself in the next repetition would pass after every second."""
    def check(name, fault):
        twice = ["-c", "T", "-w0", "-n2", "--ceilings", "none", "--inject-fault", fault]
        told = run("run", name, *twice, "--json", "-o", file_of(name, fault))
        return None if told.code == 1 else (name, fault, told.code, told.errors)

    assert missed_by(check, workloads) == []


def test_a_fault_belongs_to_the_workload_that_knows_it(run):
    told = run("run", "null", *ONCE, "--inject-fault", "nan", "--json")
    assert (told.code, verdicts(told)) == (1, {("null/sleep", "sable"): "FAIL", ("null/sum", "sable"): "PASS"})


def test_a_failed_answer_is_told_stored_and_named(run, tmp_path):
    told = run("run", "null/sum", *ONCE, "--inject-fault", "lost_rank", "-o", "failed.h5", ranks=3)
    assert (told.code, told.errors) == (1, [])
    assert [fom[-1] for fom in told.foms] == ["FAIL"]
    assert "check dot product failed" in told.out
    with h5py.File(tmp_path / "failed.h5", "r") as file:
        group = file["runs/null/sum/sable"]
        assert (group.attrs["verified"], group.attrs["complete"]) == (b"FAIL", 1)
        assert not group["checks"]["pass"].all()


def test_without_verification_the_verdict_is_skipped(run):
    told = run("run", "null/sleep", *ONCE, "--no-verify", "--inject-fault", "wrong")
    assert (told.code, [fom[-1] for fom in told.foms]) == (0, ["SKIPPED"])


@pytest.mark.parametrize("ranks", [None, 3])
def test_an_error_of_one_rank_ends_all_with_one_line_and_keeps_the_rest(run, sum_first, tmp_path, ranks):
    arguments = [*sum_first, *ONCE, "-V", "sable", "--inject-fault", "error", "-o", "out.h5"]
    told = run(*arguments, ranks=ranks)
    failed_with(told, 3, "injected error of rank", str((ranks or 1) - 1), alone=ranks is None)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5.partial"]
    assert run("show", "out.h5.partial").code == 0
    with h5py.File(tmp_path / "out.h5.partial", "r") as file:
        assert "null/sum/sable" in file["runs"]
        assert "null/sleep/sable" not in file["runs"], "a run that failed is still in the file"


def test_an_error_before_anything_had_finished_leaves_no_file(run, tmp_path):
    failed_with(run("run", "null/sleep", *ONCE, "--inject-fault", "error", "-o", "out.h5"), 3, "injected error")
    assert list(tmp_path.iterdir()) == []
