"""Starts the built `sable`, alone or below mpirun, in an environment that no setting of the caller leaks into."""

import json
import os
import pathlib
import re
import subprocess
from dataclasses import dataclass

FOM_LINE = re.compile(r"^FOM (\S+) (\S+) (\S+) (\S+) (\S+) % of (\S+) (PASS|FAIL|SKIPPED|UNTRUSTED)$")
STEERING = ("OMP_", "GOMP_", "KMP_", "OMPI_", "PMI", "MPI", "HYDRA_", "SLURM_", "SABLE_")

# Every repetition of these runs counts for its answer, none for its time.
ONCE = ("--reps", "1", "--warmup", "0", "--ceilings", "none")


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def errors(self):
        """What sable itself said went wrong; launchers add lines of their own below mpirun."""
        return [line for line in self.err.splitlines() if line.startswith("sable:")]

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def foms(self):
        """(workload, variant, value, unit, share, ceiling, verdict) of each FOM line."""
        lines = [line for line in self.out.splitlines() if line.startswith("FOM")]
        matches = [FOM_LINE.match(line) for line in lines]
        assert all(matches), f"a FOM line that a script cannot take: {lines}"
        return [match.groups() for match in matches]


def failed_with(result, code, *words, alone=True):
    """Asserts exit status `code` and exactly one line that tells why and contains all words. A process that is `alone`
    writes nothing else to standard error."""
    told = f"exit {result.code}\n{result.err}\n{result.out}"
    assert result.code == code, told
    assert len(result.errors) == 1, told
    if alone:
        assert result.err.splitlines() == result.errors, told
    for word in words:
        assert word in result.errors[0], f"'{word}' is missing in: {result.errors[0]}"


class Sable:
    def __init__(self, binary, mpirun):
        self.binary = pathlib.Path(binary).resolve()
        self.mpirun = mpirun
        version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False).stdout
        self.openmpi = "Open MPI" in version or "open-mpi" in version

    def environment(self, threads=1, **extra):
        env = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
        if "SABLE_DATA" in os.environ:
            env["SABLE_DATA"] = os.environ["SABLE_DATA"]
        env |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        env |= {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"}  # MPICH: more ranks than cores wait for each other
        # Open MPI: one host. Looking for networks takes a third of a second a launch.
        env |= {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader"}
        env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        env |= {name: str(value) for name, value in extra.items() if value is not None}
        for name in (name for name, value in extra.items() if value is None):
            env.pop(name, None)
        return env

    def command(self, *arguments, ranks=None):
        """`ranks` None: no launcher at all."""
        launcher = []
        if ranks is not None:
            launcher = [self.mpirun, *(["--oversubscribe"] if self.openmpi else []), "-np", str(ranks)]
        return [*launcher, str(self.binary), *map(str, arguments)]

    def __call__(self, *arguments, ranks=None, threads=1, cwd, env=None, prefix=(), timeout=120):
        done = subprocess.run(
            [*prefix, *self.command(*arguments, ranks=ranks)],
            cwd=cwd,
            env=self.environment(threads, **(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)
