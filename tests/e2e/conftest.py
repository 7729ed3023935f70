"""The binary under test: SABLE_BINARY (default: the newest build*/**/sable of the source tree), started by SABLE_MPIRUN
(default: the mpirun of the MPI it is linked to)."""

import os
import pathlib
import shutil
import subprocess

import pytest

from launcher import Sable

SOURCE = pathlib.Path(os.environ.get("SABLE_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])


def find_binary():
    if os.environ.get("SABLE_BINARY"):
        return pathlib.Path(os.environ["SABLE_BINARY"])
    built = [path for pattern in ("build*/sable", "build*/*/sable") for path in SOURCE.glob(pattern) if path.is_file()]
    if not built:
        pytest.exit("no sable was built: build it, or set SABLE_BINARY", returncode=2)
    return max(built, key=lambda path: path.stat().st_mtime)


def find_mpirun(binary):
    if os.environ.get("SABLE_MPIRUN"):
        return os.environ["SABLE_MPIRUN"]
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    flavour = "mpich" if "libmpich" in libraries else "openmpi"
    return shutil.which(f"mpirun.{flavour}") or shutil.which("mpirun") or pytest.exit("no mpirun", returncode=2)


@pytest.fixture(scope="session")
def sable():
    binary = find_binary()
    return Sable(binary, find_mpirun(binary))


@pytest.fixture
def run(sable, tmp_path):
    """`sable` in an empty folder of the test's own."""

    def start(*arguments, **options):
        return sable(*arguments, **{"cwd": tmp_path, **options})

    return start


@pytest.fixture(scope="session")
def workloads(sable, tmp_path_factory):
    """Every workload by name, as `sable list --json` describes it."""
    listing = sable("list", "--json", cwd=tmp_path_factory.mktemp("list")).json
    return {workload["name"]: workload for workload in listing["workloads"]}


@pytest.fixture
def sum_first(run):
    """The arguments by which null/sum runs before null/sleep."""
    for seed in range(100):
        plan = run("run", "null", "--dry-run", "--json", "--shuffle", "--seed", seed).json[0]["would_run"]
        if [item["workload"] for item in plan] == ["null/sum", "null/sleep"]:
            return ["run", "null", "--shuffle", "--seed", str(seed)]
    raise AssertionError("--shuffle never changes the order")
