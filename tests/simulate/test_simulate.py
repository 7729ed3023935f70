"""sable-simulate: the drivers' own communication under SimGrid. SABLE_SIMULATOR and SABLE_BINARY name the two builds."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SIMULATOR = pathlib.Path(os.environ.get("SABLE_SIMULATOR") or SOURCE / "build/simulate/sable-simulate").resolve()
BINARY = pathlib.Path(os.environ.get("SABLE_BINARY") or SOURCE / "build/release/sable").resolve()
sys.path.insert(0, str(SOURCE / "scripts/simulate"))

from cases import CASES  # noqa: E402
from machines import TOPOLOGIES, Machine, simulate  # noqa: E402

if not SIMULATOR.exists():
    pytest.skip("sable-simulate was not built (-DSABLE_SIMULATE=ON)", allow_module_level=True)

INSTANT = Machine("switch", 1e18, 0)
SLOW = Machine("switch", 1e6, 1e-3)
SMALL = {
    "gridworld": ["value_iteration/gridworld", "-s", "n=96", "-s", "max_sweeps=5", "-s", "tol=0.1"],
    "ring": ["attention/prefill", "-s", "queries=4096", "-s", "heads=1", "-s", "dim=16", "-s", "leaf=64", "-s", "strategy=ring"],
    "ulysses": ["attention/prefill", "-s", "queries=512", "-s", "heads=4", "-s", "dim=16", "-s", "strategy=ulysses"],
    "scan": ["ssm/scan", "-s", "length=4096", "-s", "channels=1", "-s", "states=8", "-s", "chunk=64", "-s", "strategy=sequence"],
    "steps": ["rollouts/steps", "-s", "n=16", "-s", "episodes=16384"],
}


def real_counters(ranks, arguments, folder):
    """The most bytes that a rank of a real run sent, and messages."""
    import h5py

    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "SABLE_BIND": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}
    mpirun = os.environ.get("SABLE_MPIRUN", "mpirun.openmpi")
    command = [mpirun, "-np", str(ranks), BINARY, "run", *arguments, "-n", "1", "-w", "0", "--no-verify", "--ceilings", "none"]
    subprocess.run([*map(str, command), "-o", folder / "run.h5"], env=environment, check=True, capture_output=True, timeout=120)
    with h5py.File(folder / "run.h5") as file:
        counters = file[f"runs/{arguments[0]}/sable/counters"][()]
    return counters["bytes_sent"].max(), counters["messages"].max()


@pytest.mark.parametrize("name", SMALL)
def test_what_a_simulated_rank_sends_is_what_a_real_one_sends(name, tmp_path):
    told = simulate(SIMULATOR, INSTANT, 4, 0.0, 1, SMALL[name])
    assert (told["bytes_sent"], told["messages"]) == real_counters(4, SMALL[name], tmp_path)


@pytest.mark.parametrize("name", SMALL)
def test_on_an_instant_network_the_time_is_that_of_the_kernels(name):
    one, four = (simulate(SIMULATOR, INSTANT, ranks, 1e-6, 1, SMALL[name])["seconds"] for ranks in (1, 4))
    # Shares are equal to within a block; over ranks a scan joins each chunk's carry besides.
    assert one / 4 * 0.99 <= four <= one / 4 * 1.08, (one, four)


@pytest.mark.parametrize("name", ["gridworld", "ulysses", "scan", "steps"])
def test_a_slow_network_shows_in_the_phases_of_communication(name):
    told = simulate(SIMULATOR, SLOW, 4, 0.0, 1, SMALL[name])
    compute = [name for name in told["phases"] if name in ("compute", "play", "scan", "rescan")]
    assert all(told["phases"][phase]["max"] < 1e-6 for phase in compute), told
    assert told["seconds"] >= 2e-3, "a message takes two links of a millisecond each"


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_has_as_many_hosts_as_it_says(topology):
    for hosts in (h for h in TOPOLOGIES[topology] if h <= 256):
        told = simulate(SIMULATOR, Machine(topology, 1e10, 1e-6), hosts, 1e-9, 1, SMALL["steps"])
        assert told["ranks"] == hosts and told["seconds"] > 0


def test_wrong_command_lines_are_told_in_one_line():
    for arguments in ([], ["x", "1", "rollouts/steps"], ["1e-9", "0", "rollouts/steps"], ["1e-9", "1", "no/such"]):
        done = subprocess.run(
            ["smpirun", "-np", "1", "-platform", "/dev/stdin", "-hostfile", "/dev/null", SIMULATOR, *arguments],
            input=INSTANT.platform(1), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0, arguments


def test_cases_name_workloads_and_parameters_that_exist():
    listing = json.loads(subprocess.run([BINARY, "list", "--json"], capture_output=True, text=True, check=True).stdout)
    known = {workload["name"]: {parameter["name"] for parameter in workload["parameters"]} for workload in listing["workloads"]}
    for case in (case for cases in CASES.values() for case in cases):
        assert {*case.settings, *case.weak, *case.share} <= known[case.workload], case
