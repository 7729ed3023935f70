"""Launched by the mpirun of another MPI, every process would take itself for the only one."""

import os
import shutil
import subprocess

import pytest

from launcher import ONCE, Result, failed_with


@pytest.fixture
def foreign(sable):
    """`sable` below the mpirun of the MPI that it is not linked to."""
    other = shutil.which("mpirun.mpich" if sable.openmpi else "mpirun.openmpi")
    return other or pytest.skip("only one MPI is installed")


def test_the_mpirun_of_another_mpi_is_refused(sable, foreign, tmp_path):
    flags = [] if sable.openmpi else ["--oversubscribe"]
    for command in (["run", "null/sum", *ONCE, "-o", "out.h5"], ["info"]):
        done = subprocess.run(
            [foreign, *flags, "-np", "3", sable.binary, *command],
            cwd=tmp_path,
            env=sable.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        failed_with(Result(done.returncode, done.stdout, done.stderr), 3, "mpirun", "3 processes", alone=False)
    assert os.listdir(tmp_path) == []


def test_one_process_needs_no_launcher(run):
    assert run("run", "null/sum", *ONCE, "--json").json["runs"][0]["ranks"] == 1
    assert run("run", "null/sum", *ONCE, "--json", ranks=1).json["runs"][0]["ranks"] == 1


def test_ranks_of_mpirun_know_each_other(run):
    assert run("run", "null/sum", *ONCE, "--json", ranks=3).json["runs"][0]["ranks"] == 3
