"""What a full disk, a signal or a kill leaves of a run, and how it is resumed."""

import os
import shutil
import signal
import subprocess
import time

import h5py
import pytest

from contents import complete_runs
from launcher import ONCE, Result, failed_with

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
                complete = file.attrs["complete"] == 1
            # Nor is a kill between the last write and the renaming the loss of anything.
            assert complete or path.name == "out.h5.partial", (delay, path)
            assert not complete or len(complete_runs(path)) == 16, (delay, path)
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
