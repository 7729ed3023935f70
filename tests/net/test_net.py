"""The suite over four hosts with a network of limited bandwidth between them (network namespaces: see `hosts`)."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import h5py
import numpy
import pytest

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
BINARY = pathlib.Path(os.environ.get("SABLE_BINARY") or SOURCE / "build/release/sable").resolve()
RATE = 1e9 / 8  # bytes a second that a host can send
ONCE = ["-n", "1", "-w", "0", "--ceilings", "none", "--no-progress"]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    state = tmp_path_factory.mktemp("hosts")
    started = subprocess.run([HERE / "hosts", "up", state, "1gbit"], capture_output=True, text=True, check=False)
    if started.returncode == 77:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    yield state
    subprocess.run([HERE / "hosts", "down"], timeout=60, check=False)
    shutil.rmtree(state, ignore_errors=True)


def environment():
    steering = ("OMP_", "OMPI_", "PMI", "SLURM_", "SABLE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return env | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def over(hosts, folder, ranks, *arguments):
    """`sable` on `ranks` hosts, one rank each."""
    launcher = [HERE / "hosts", "run", hosts, "-np", ranks, "--map-by", "node", "--bind-to", "none"]
    forwarded = ["-x", "OMP_NUM_THREADS", "-x", "OMP_WAIT_POLICY", "--mca", "mpi_yield_when_idle", "1"]
    done = subprocess.run(
        list(map(str, [*launcher, *forwarded, BINARY, *arguments])),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


def digests(path):
    found = {}
    with h5py.File(path) as file:
        file["runs"].visititems(lambda name, run: found.update({name: run.attrs["digest"]} if "digest" in run.attrs else {}))
    return found


def layout_invariant():
    told = json.loads(subprocess.run([BINARY, "list", "--json"], capture_output=True, text=True, check=True).stdout)
    return [w["name"] for w in told["workloads"] if w["layout_invariant"] and not w["name"].startswith("null/")]


def test_every_workload_gives_the_same_digests_over_four_hosts_as_alone(hosts, tmp_path):
    what = [*layout_invariant(), *ONCE, "-c", "T"]
    subprocess.run([BINARY, "run", *what, "-o", tmp_path / "alone.h5"], env=environment(), check=True, timeout=120)
    over(hosts, tmp_path, 4, "run", *what, "-o", tmp_path / "hosts.h5")
    assert digests(tmp_path / "hosts.h5") == digests(tmp_path / "alone.h5")
    with h5py.File(tmp_path / "hosts.h5") as file:
        assert file["machine"].attrs["hosts"] == b"4"
        assert sorted(name.decode() for name in file["machine/binding"]["host"]) == ["sh1", "sh2", "sh3", "sh4"]


# A class and settings in which two ranks send enough that the link's rate must show.
TALKATIVE = {
    "attention/prefill": ["-s", "strategy=allgather", "-s", "queries=2048", "-s", "keys=2048", "-s", "heads=8"],
    "value_iteration/garnet": ["-s", "states=20000", "-s", "method=vi"],
}


@pytest.mark.parametrize("name", TALKATIVE)
def test_the_link_shows_in_the_phases_of_communication(hosts, tmp_path, name):
    over(hosts, tmp_path, 2, "run", name, *TALKATIVE[name], "-n", "3", "-w", "0", "--ceilings", "none", "-o", "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        run = file[f"runs/{name}/sable"]
        names = run["phases"].attrs["phases"]
        names = [text.decode() for text in names] if isinstance(names, numpy.ndarray) else re.split(r"[,\n ]+", names.decode())
        phases = dict(zip(names, numpy.moveaxis(run["phases"][()], 2, 0)))
        sent = run["counters"]["bytes_sent"].max()
    compute = phases.pop("compute")
    talked = sum(phases.values()).max(axis=1)  # the longer of the ranks, of each repetition
    assert sent > 2e6, "too little was sent for the rate to show"
    # What exceeds the token bucket (256 kB) and the messages' own time can't be faster than the link.
    assert numpy.median(talked) >= 0.5 * (sent - 256e3) / RATE, (talked, sent)
    assert compute.min() > 0


def test_the_ceilings_measure_the_link_and_not_the_memory(hosts, tmp_path):
    over(hosts, tmp_path, 2, "run", "null/sum", "-c", "T", "-n", "1", "--ceilings", "quick", "-o", "limits.h5")
    with h5py.File(tmp_path / "limits.h5") as file:
        found = {row["name"].decode(): (row["value"], row["nodes"]) for row in file["machine/ceilings"]}
    assert found["mpi_bandwidth"][1] == 2
    assert found["mpi_bandwidth"][0] * 1e9 <= 2 * RATE * 1.1  # both hosts send
