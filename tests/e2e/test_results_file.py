"""The results file as docs/results-format.md promises it to h5py, and what is left of it when a run is killed, the disk
is full, or somebody hands `sable show` a file of another kind."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import h5py
import numpy
import pytest

from launcher import ONCE, Result, failed_with

RANKS, THREADS, REPS, WARMUPS = 3, 2, 7, 2


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def stored_runs(file):
    """{"null/sum/sable": group} of every run, complete or not."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Group) and "seconds" in item:
            found[name] = item

    if "runs" in file:
        file["runs"].visititems(visit)
    return found


def complete_runs(path):
    with h5py.File(path, "r") as file:
        return {name for name, run in stored_runs(file).items() if run.attrs["complete"] == 1}


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


# ---- Disks that fail ----


def in_namespace(run, mount, *arguments, **options):
    """Runs sable in a private mount namespace where ./disk is what `mount` makes it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can mount a full disk")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    prefix = ["unshare", "-m", "sh", "-c", f'{mount} && "$@"; code=$?; cp -r disk/. after; exit $code', "sh"]
    return run(*arguments, prefix=prefix, **options)


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "after").mkdir()
    return tmp_path


def test_a_read_only_folder_is_told_at_the_start(run, disk):
    mount = "mount -t tmpfs -o ro none disk"
    failed_with(in_namespace(run, mount, "run", "null/sum", *ONCE, "-o", "disk/out.h5"), 3, "disk/out.h5")
    assert list((disk / "after").iterdir()) == []


@pytest.mark.parametrize("ranks", [None, 3])
def test_a_full_disk_is_exit_3_and_keeps_what_had_finished(run, disk, ranks):
    """The first workload fits; 8 MB of outputs of the second don't."""
    mount = "mount -t tmpfs -o size=1m none disk"
    arguments = ["run", "null", *ONCE, "-s", "n=1000000", "--keep", "full", "-o", "disk/out.h5"]
    failed_with(in_namespace(run, mount, *arguments, ranks=ranks), 3, "disk/out.h5", alone=ranks is None)
    names = [path.name for path in (disk / "after").iterdir()]
    assert names == ["out.h5.partial"], names
    assert complete_runs(disk / "after" / "out.h5.partial") == {"null/sleep/sable"}
    assert run("show", "after/out.h5.partial").code == 0


def test_a_disk_full_from_the_start_is_exit_3(run, disk):
    mount = "mount -t tmpfs -o size=64k none disk && (cat /dev/zero > disk/filler || true) 2>/dev/null"
    failed_with(in_namespace(run, mount, "run", "null/sum", *ONCE, "-o", "disk/out.h5"), 3, "disk/out.h5")
    assert not (disk / "after" / "out.h5").exists()


# ---- Killed runs ----


def processes_below(pid):
    """`pid` and its descendants, by /proc."""
    parents = {}
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit():
                with open(f"/proc/{entry}/stat") as stat:
                    parents[int(entry)] = int(stat.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def rank_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
    except OSError:
        return None
    for name in (b"OMPI_COMM_WORLD_RANK", b"PMI_RANK"):
        if name in environment:
            return int(environment[name])
    return None


def end(pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def launch(sable, folder, arguments):
    return subprocess.Popen(
        sable.command(*arguments, ranks=3),
        cwd=folder,
        env=sable.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_after_sum(sable, folder, arguments, victim, number, delay):
    """Starts a run whose null/sleep takes forever, and kills `victim` (mpirun or a rank) once null/sum was reported.
    Returns the exit status and standard error."""
    process = launch(sable, folder, arguments)
    family = {process.pid}
    try:
        for line in process.stdout:
            if line.startswith("FOM null/sum"):
                break
        time.sleep(delay)
        family = processes_below(process.pid)
        assert len(family) >= 4 and process.poll() is None
        ranks = {rank_of(pid): pid for pid in family if pid != process.pid}
        end([process.pid if victim == "mpirun" else ranks[victim]], number)
        process.wait(30)
    finally:
        end(family)
        _, errors = process.communicate(timeout=30)
    # MPICH's launcher may exit with 0 when SIGTERM ends it: its status says nothing of the ranks then.
    assert process.returncode != 0 or (victim == "mpirun" and number == signal.SIGTERM and not sable.openmpi)
    return process.returncode, errors


@pytest.mark.parametrize(
    "victim, number, delay",
    [(0, signal.SIGKILL, 0.0), (2, signal.SIGKILL, 0.3), ("mpirun", signal.SIGKILL, 0.1), ("mpirun", signal.SIGTERM, 0.2)],
    ids=["first_rank", "last_rank", "launcher", "launcher_by_sigterm"],
)
def test_a_killed_run_keeps_what_had_finished_and_resumes(sable, run, tmp_path, sum_first, victim, number, delay):
    arguments = [*sum_first, "--ceilings", "none", "-s", "n=50000", "-n", "100"]
    kill_after_sum(sable, tmp_path, [*arguments, "-s", "delay=1", "-o", "out.h5"], victim, number, delay)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5.partial"]
    partial = tmp_path / "out.h5.partial"
    assert complete_runs(partial) == {"null/sum/sable"}
    shown = run("show", partial)
    assert shown.code == 0 and "null/sum" in shown.out
    with h5py.File(partial, "r") as file:
        assert file.attrs["complete"] == 0
        before = file["runs/null/sum/sable/seconds"][()]

    resumed = run(*arguments, "-s", "delay=0.0001", "--resume", "out.h5.partial", ranks=3)
    assert resumed.code == 0, resumed
    assert [fom[0] for fom in resumed.foms] == ["null/sleep"], "a finished run was repeated"
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert complete_runs(tmp_path / "out.h5") == {"null/sum/sable", "null/sleep/sable"}
    with h5py.File(tmp_path / "out.h5", "r") as file:
        assert file.attrs["complete"] == 1
        assert (file["runs/null/sum/sable/seconds"][()] == before).all()


@pytest.mark.parametrize("victim", ["mpirun", 2])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_ends_a_run_after_the_repetition_under_way(sable, tmp_path, sum_first, victim, number):
    if victim == "mpirun" and (number == signal.SIGTERM or not sable.openmpi):
        pytest.skip("this launcher ends its ranks by itself")
    arguments = [*sum_first, "--ceilings", "none", "-s", "n=50000", "-n", "100", "-s", "delay=0.3", "-o", "out.h5"]
    code, errors = kill_after_sum(sable, tmp_path, arguments, victim, number, 0.2)
    failed_with(Result(code, "", errors), 3, number.name, "--resume", alone=False)
    assert complete_runs(tmp_path / "out.h5.partial") == {"null/sum/sable"}


def test_a_run_killed_at_any_moment_leaves_no_unreadable_file(sable, run, tmp_path):
    """Kills a run of many short workloads later and later, until one gets through."""
    arguments = ["run", "null", "--ranks", ",".join(["3", "1"] * 4), "-n", "2", "--ceilings", "none", "-s", "n=2000"]
    delay, finished, kept = 0.15, False, []
    while not finished and delay < 100:
        folder = tmp_path / f"{delay:.2f}"
        folder.mkdir()
        process = launch(sable, folder, [*arguments, "-o", "out.h5"])
        family = {process.pid}
        try:
            process.wait(delay)
            finished = process.returncode == 0
        except subprocess.TimeoutExpired:
            family = processes_below(process.pid)
        finally:
            end(family)
            process.communicate(timeout=30)
        for path in folder.iterdir():
            # A kill between the renaming and the end of the launcher finds a complete file, too.
            assert path.name == "out.h5" or not finished, (delay, path)
            with h5py.File(path) as file:
                assert (path.name == "out.h5") == (file.attrs["complete"] == 1), (delay, path)
            assert run("show", path).code == 0, (delay, path)
            kept.append(len(complete_runs(path)))
        delay *= 1.3
    assert finished and max(kept) == 16 and kept == sorted(kept)


# ---- Resuming ----


def test_resume_runs_only_what_differs(run, tmp_path):
    base = ["run", "null/sum", *ONCE, "-s", "n=5000"]
    assert run(*base, "-o", "out.h5").code == 0
    again = run(*base, "--resume", "out.h5")
    assert (again.code, again.foms) == (0, []) and "1 run" in again.out
    for change in (["-s", "n=5001"], ["--seed", "2"], ["-V", "reference"], ["-c", "A", "-s", "n=5000"]):
        told = run(*base, *change, "--resume", "out.h5")
        assert told.code == 0 and len(told.foms) == 1, change
    assert len(run(*base, "--resume", "out.h5", ranks=2).foms) == 1
    assert len(run(*base, "--resume", "out.h5", threads=2).foms) == 1
    assert len(complete_runs(tmp_path / "out.h5")) == 7


def test_resume_of_what_is_no_results_file_is_refused_and_leaves_it_alone(run, tmp_path):
    (tmp_path / "text.h5").write_text("precious")
    failed_with(run("run", "null/sum", *ONCE, "--resume", "text.h5"), 2, "text.h5")
    failed_with(run("run", "null/sum", *ONCE, "--resume", "text.h5", ranks=3), 2, "text.h5", alone=False)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 1.0
    failed_with(run("run", "null/sum", *ONCE, "--resume", "other.h5"), 2, "other.h5")
    assert (tmp_path / "text.h5").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.h5", "text.h5"]


# ---- sable show ----


@pytest.fixture
def good(run, tmp_path):
    assert run("run", "null", "-V", "all", "-n", "3", "-o", "good.h5").code == 0
    return tmp_path / "good.h5"


def test_show_tells_of_every_run_what_the_launch_told(run, good):
    shown = run("show", good)
    assert (shown.code, shown.err) == (0, "")
    told = run("show", good, "--json").json
    with h5py.File(good, "r") as file:
        for name, group in stored_runs(file).items():
            workload, variant = name.rsplit("/", 1)
            assert workload in shown.out and variant in shown.out
            (one,) = [r for r in told["runs"] if (r["workload"], r["variant"]) == (workload, variant)]
            assert one["digest"] == text(group.attrs["digest"]) and one["fom"] == group.attrs["fom"]
            names = [text(name) for name in group["phases"].attrs["phases"]]
            assert [phase["name"] for phase in one["phases"]] == names and names[0] in shown.out
            for number, phase in enumerate(one["phases"]):
                seconds = group["phases"][:, :, number]
                expected = [numpy.quantile(seconds, q) for q in (0.5, 0.9, 0.99, 1)]
                assert [phase[name] for name in ("p50", "p90", "p99", "max")] == pytest.approx(expected)
                assert phase["share"] == pytest.approx(seconds.sum() / group["phases"][:].sum())


def spoil(what, file):
    """Makes one thing wrong in a results file that is open for writing."""
    run = file["runs/null/sum/sable"]
    if what == "no_format":
        del file.attrs["format"]
    elif what == "other_format":
        file.attrs["format"] = "sable-mdp"
    elif what == "format_is_a_number":
        file.attrs["format"] = 1.5
    elif what == "format_version_of_the_future":
        file.attrs["format_version"] = 2
    elif what == "format_version_is_a_text":
        file.attrs["format_version"] = "one"
    elif what == "format_version_is_an_array":
        file.attrs["format_version"] = numpy.arange(1000)
    elif what == "no_runs":
        del file["runs"]
    elif what == "runs_is_a_dataset":
        del file["runs"]
        file["runs"] = 1.0
    elif what == "no_machine":
        del file["machine"]
    elif what == "run_without_attributes":
        for name in list(run.attrs):
            del run.attrs[name]
    elif what == "fom_is_a_text":
        run.attrs["fom"] = "fast"
    elif what == "fom_is_an_array":
        run.attrs["fom"] = numpy.zeros((100, 100))
    elif what == "digest_is_a_number":
        run.attrs["digest"] = 7
    elif what == "huge_text":
        run.attrs["fom_unit"] = "u" * 60000
    elif what == "text_of_many_lines":
        run.attrs["warnings"] = "\x1b[2J\n" * 5000
    elif what == "text_not_utf8":
        run.attrs["fom_unit"] = numpy.bytes_(b"\xff\xfe\xfd")
    elif what == "seconds_is_a_group":
        del run["seconds"]
        run.create_group("seconds")
    elif what == "seconds_is_a_text":
        del run["seconds"]
        run["seconds"] = "long"
    elif what == "seconds_has_one_dimension":
        del run["seconds"]
        run["seconds"] = numpy.ones(5)
    elif what == "seconds_is_empty":
        del run["seconds"]
        run.create_dataset("seconds", shape=(0, 1), dtype="f8")
    elif what == "seconds_is_huge":
        del run["seconds"]
        run.create_dataset("seconds", shape=(1 << 40, 1 << 20), dtype="f8", chunks=(1, 1024))
    elif what == "phases_of_other_shape":
        del run["phases"]
        run["phases"] = numpy.ones((2, 3))
    elif what == "phases_without_names":
        del run["phases"].attrs["phases"]
    elif what == "phases_with_more_names":
        run["phases"].attrs["phases"] = numpy.full(9, b"x" * 100)
    elif what == "phases_with_texts_of_variable_length":
        run["phases"].attrs["phases"] = ["compute", "\x1b[2J"]
    elif what == "ranks_is_huge":
        run.attrs["ranks"] = numpy.int64(1 << 62)
    elif what == "ranks_is_negative":
        run.attrs["ranks"] = -1
    elif what == "counters_of_other_columns":
        del run["counters"]
        run["counters"] = numpy.zeros(3, dtype=[("unknown", "i1")])
    elif what == "checks_is_a_scalar":
        del run["checks"]
        run["checks"] = 1.0
    elif what == "ceilings_of_other_columns":
        del file["machine/ceilings"]
        file["machine/ceilings"] = numpy.zeros(3, dtype=[("name", "f8"), ("value", "S3")])
    elif what == "groups_in_a_circle":
        run["again"] = file["runs"]
        file["runs/null/null"] = file["runs/null"]
    elif what == "links_to_nowhere":
        file["runs/null/soft"] = h5py.SoftLink("/nowhere")
        file["runs/null/external"] = h5py.ExternalLink("absent.h5", "/")
    elif what == "link_to_itself":
        file["runs/null/loop"] = h5py.SoftLink("/runs/null/loop")
    elif what == "hostile_name":
        file.move("runs/null/sum", "runs/null/\x1b[2Jsum\n%s%n")
    else:
        raise AssertionError(what)


SPOILT = """no_format other_format format_is_a_number format_version_of_the_future format_version_is_a_text
format_version_is_an_array no_runs runs_is_a_dataset no_machine run_without_attributes fom_is_a_text fom_is_an_array
digest_is_a_number huge_text text_of_many_lines text_not_utf8 seconds_is_a_group seconds_is_a_text
seconds_has_one_dimension seconds_is_empty seconds_is_huge phases_of_other_shape
phases_without_names phases_with_more_names phases_with_texts_of_variable_length ranks_is_huge ranks_is_negative counters_of_other_columns
checks_is_a_scalar ceilings_of_other_columns groups_in_a_circle links_to_nowhere link_to_itself hostile_name""".split()
REFUSED = set(SPOILT[:6])


def shows_or_refuses(run, path):
    """Either exit 0 with well-formed output, or exit 2 with one line; never a crash. Returns the exit status."""
    for arguments in (["show", path], ["show", path, "--json"]):
        told = run(*arguments, timeout=20)
        if told.code == 0:
            assert told.err == "" and "\x1b" not in told.out, told
            assert "--json" not in arguments or json.loads(told.out)
        else:
            failed_with(told, 2)
    return told.code


def test_show_neither_crashes_nor_believes_a_spoilt_file(run, good, tmp_path):
    crashed = []
    for what in SPOILT:
        path = tmp_path / f"{what}.h5"
        shutil.copy(good, path)
        with h5py.File(path, "r+") as file:
            spoil(what, file)
        try:
            code = shows_or_refuses(run, path)
            assert what not in REFUSED or code == 2, "it was shown"
        except (AssertionError, subprocess.TimeoutExpired, json.JSONDecodeError) as problem:
            crashed.append(f"{what}: {str(problem)[:200]}")
    assert not crashed, "\n".join(crashed)


def test_show_refuses_what_is_no_hdf5(run, good, tmp_path):
    whole = good.read_bytes()
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("text")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.h5")
    for name in ("empty.h5", "text.h5", "folder.h5", "half.h5", "pipe.h5", "absent.h5", "/dev/null", ""):
        failed_with(run("show", name, timeout=10), 2, name)


def test_show_survives_flipped_bytes(run, good, tmp_path):
    """HDF5 itself notices most of them; none may crash sable or hang it."""
    whole = good.read_bytes()
    chance = random.Random(1)
    for _ in range(60):
        spoilt = bytearray(whole)
        for _ in range(chance.choice([1, 8, 64])):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        path = tmp_path / "flipped.h5"
        path.write_bytes(spoilt)
        shows_or_refuses(run, path)


# ---- rerun ----


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
