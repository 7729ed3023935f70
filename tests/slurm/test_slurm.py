"""The batch scripts of scripts/slurm below a real Slurm: slurmctld and four slurmd on this machine (see `cluster`)."""

import os
import pathlib
import shutil
import subprocess
import time

import h5py
import pytest

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
SCRIPTS = SOURCE / "scripts" / "slurm"
BINARY = pathlib.Path(os.environ.get("SABLE_BINARY") or SOURCE / "build/release/sable").resolve()
WORKLOADS = ["value_iteration/gridworld", "rollouts/steps", "attention/prefill", "ssm/scan"]
QUICK = ["-c", "T", "-n", "2", "--ceilings", "none", "--no-progress"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which Slurm's commands reach the cluster."""
    state = tmp_path_factory.mktemp("slurm", numbered=True)
    for folder in (state, *state.parents[:2]):
        folder.chmod(0o755)
    started = subprocess.run([HERE / "cluster", "up", state], capture_output=True, text=True, timeout=60, check=False)
    if started.returncode == 77:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    steering = ("OMP_", "OMPI_", "PMI", "SLURM_", "SABLE_", "SRUN_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    env |= {"SLURM_CONF": f"{state}/slurm.conf", "SABLE": str(BINARY), "SABLE_SLURM_LIB": str(SCRIPTS / "lib.sh")}
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_WAIT_POLICY": "passive"}
    env |= {"OMPI_MCA_mpi_yield_when_idle": "1"}  # more ranks than processors
    yield env
    subprocess.run([HERE / "cluster", "down", state], timeout=60, check=False)
    shutil.rmtree(state, ignore_errors=True)


class Job:
    """`script`: of scripts/slurm, or any path."""

    def __init__(self, env, folder, script, *arguments, options=(), **extra):
        self.env, self.folder = env | extra, folder
        command = ["sbatch", "--parsable", *options, SCRIPTS / script, *arguments]
        done = subprocess.run(command, cwd=folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.number = done.stdout.strip()

    def facts(self):
        """Of each element of the job: what `scontrol show job` tells."""
        told = subprocess.run(
            ["scontrol", "-o", "show", "job", self.number], env=self.env, capture_output=True, text=True, check=False
        )
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in told.stdout.splitlines()]

    def wait(self, what, done, seconds=90):
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what}: not in {seconds} s\n{self.facts()}\n{self.output()}"
            time.sleep(0.2)

    def ended(self):
        return all(job["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED") for job in self.facts())

    def output(self):
        return "\n".join(path.read_text() for path in sorted(self.folder.rglob("*.out")))

    def succeed(self):
        self.wait("the job's end", self.ended)
        assert {job["ExitCode"] for job in self.facts()} == {"0:0"}, self.output()


def digests(path):
    found = {}

    def collect(name, item):
        if "digest" in item.attrs:
            found[name] = item.attrs["digest"]

    with h5py.File(path) as file:
        assert file.attrs["complete"] == 1
        file["runs"].visititems(collect)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The digests of one process without a launcher."""
    path = tmp_path_factory.mktemp("alone") / "alone.h5"
    subprocess.run(
        [BINARY, "run", *WORKLOADS, *QUICK, "-o", path], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=60
    )
    return digests(path)


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_one_node(slurm, tmp_path, alone, launcher):
    Job(
        *(slurm, tmp_path, "one-node.sbatch", *WORKLOADS, *QUICK),
        options=["--ntasks-per-node=2", "--job-name=one"],
        SABLE_LAUNCHER=launcher,
    ).succeed()
    (path,) = (tmp_path / "results").iterdir()
    assert digests(path) == alone
    with h5py.File(path) as file:
        assert file["runs/ssm/scan/sable"].attrs["ranks"] == 2
        assert file["machine"].attrs["hosts"] == b"1"


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_many_nodes_with_a_sweep_over_their_ranks(slurm, tmp_path, alone, launcher):
    Job(
        *(slurm, tmp_path, "many-nodes.sbatch", *WORKLOADS, *QUICK),
        options=["--nodes=4", "--ntasks-per-node=1", "--cpus-per-task=2"],
        SABLE_LAUNCHER=launcher,
    ).succeed()
    (path,) = (tmp_path / "results").iterdir()
    found = digests(path)
    for name, digest in alone.items():  # one, two and four ranks
        assert [found[f"{name}{suffix}"] for suffix in ("", ".2", ".3")] == [digest] * 3, name
    with h5py.File(path) as file:
        assert file["runs/ssm/scan/sable.3"].attrs["ranks"] == 4
        assert file["runs/ssm/scan/sable.3"].attrs["threads"] == 2
        hosts = {name.decode() for name in file["machine/binding"]["host"]}
        assert len(hosts) in (1, 4), hosts  # 1 where no namespaces can be made


def test_a_job_array_measures_a_workload_in_each_element(slurm, tmp_path):
    listing = subprocess.run([BINARY, "list"], capture_output=True, text=True, check=True).stdout
    first = [line.split(":")[0].strip() for line in listing.splitlines() if "/" in line.split(":")[0]][:2]
    job = Job(slurm, tmp_path, "sweep-array.sbatch", *QUICK, options=["--array=0-1,63", "--ntasks-per-node=1"])
    job.succeed()
    assert {name.split("/")[-1] for path in (tmp_path / "results").iterdir() for name in digests(path)} == {"sable"}
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == sorted(
        f"sable-sweep-{job.number}-{name.replace('/', '_')}.h5" for name in first
    )
    assert "nothing to do" in job.output()


def test_an_interrupted_job_is_requeued_and_goes_on_where_it_was(slurm, tmp_path):
    names = [first, second] = ["rollouts/steps", "null/sleep"]
    effort = ["-c", "T", "-s", "delay=0.02", "-n", "300", "-w", "0", "--ceilings", "none"]
    job = Job(slurm, tmp_path, "one-node.sbatch", *names, *effort, options=["--ntasks-per-node=2"])
    job.wait("the first workload", lambda: f"FOM {first}" in job.output())
    subprocess.run(["scancel", "--batch", "--signal=USR1", job.number], env=slurm, check=True)
    job.wait("the interruption", lambda: "goes on later" in job.output())
    (partial,) = (tmp_path / "results").iterdir()
    assert partial.suffix == ".partial"
    with h5py.File(partial) as file:
        before = file[f"runs/{first}/sable/seconds"][()]
        assert f"{second}/sable" not in file["runs"]
    job.wait("the second start", lambda: job.facts()[0]["Restarts"] == "1", 60)
    job.wait("the job's end", lambda: job.ended() and f"FOM {second}" in job.output())
    (path,) = (tmp_path / "results").iterdir()
    assert set(digests(path)) == {f"{name}/sable" for name in names}
    with h5py.File(path) as file:
        assert (file[f"runs/{first}/sable/seconds"][()] == before).all(), "a finished workload was repeated"
    assert job.output().count(f"FOM {first}") == 1


def test_a_job_that_can_finish_nothing_is_not_requeued_for_ever(slurm, tmp_path):
    forever = ["null/sleep", "-s", "delay=0.02", "-n", "100000", "-w", "0", "--ceilings", "none"]
    job = Job(slurm, tmp_path, "one-node.sbatch", *forever, options=["--ntasks-per-node=1"])
    job.wait("the start", lambda: job.facts()[0]["JobState"] == "RUNNING")
    job.wait("the run", lambda: any((tmp_path / "results").glob("*")))
    time.sleep(1)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job.number], env=slurm, check=True)
    job.wait("the job's end", job.ended)
    assert job.facts()[0]["ExitCode"] == "3:0", job.output()
    assert "raise --time" in job.output()


def python_with(*modules):
    for python in ("python3", "/usr/bin/python3"):
        if subprocess.run([python, "-c", f"import {','.join(modules)}"], capture_output=True, check=False).returncode == 0:
            return python
    return pytest.skip(f"no python3 with {', '.join(modules)}")


def test_a_sweep_by_emitted_batch_scripts_interrupted_once_gives_the_same_digests_and_a_report(slurm, tmp_path, alone):
    """scripts/scaling --emit-sbatch, one of the jobs interrupted after its first workload, scripts/report on the files."""
    python, folder = python_with("h5py", "matplotlib"), tmp_path / "jobs"
    sweep = [python, "-B", SOURCE / "scripts/scaling", *WORKLOADS, "--ranks", "1,2", "--nodes", "1,2", "--kinds", "strong"]
    sweep += ["-c", "T", "-n", "40", "-t", "20", "--oversubscribe", "--binary", BINARY, "-o", tmp_path / "results"]
    sweep += ["--emit-sbatch", folder, "--time", "00:05:00"]
    done = subprocess.run(list(map(str, sweep)), cwd=tmp_path, env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scripts = sorted(path for path in folder.iterdir() if path.suffix == ".sbatch" or path.name.endswith(".sh"))
    assert len(scripts) >= 3, done.stdout
    jobs = [Job(slurm, tmp_path, script) for script in scripts]
    victim = jobs[0]
    told = pathlib.Path(victim.facts()[0]["StdOut"])
    victim.wait("the first workload of a job", lambda: told.exists() and f"FOM {WORKLOADS[0]}" in told.read_text())
    subprocess.run(["scancel", "--batch", "--signal=USR1", victim.number], env=slurm, check=False)
    victim.wait("its second start", lambda: victim.facts()[0]["Restarts"] == "1")
    for job in jobs:
        job.wait("its end", job.ended, 180)
        assert {facts["ExitCode"] for facts in job.facts()} == {"0:0"}, job.output()
    files = sorted((tmp_path / "results").glob("*.h5"))
    assert len(files) == len(scripts), job.output()
    for path in files:
        assert digests(path) == alone, path
    report = [SOURCE / "scripts/report", *files, "-o", tmp_path / "report.html"]
    done = subprocess.run(list(map(str, report)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page and all(name in page for name in WORKLOADS)
