"""What is predicted: a problem for each family, how one rank's share of it can be run alone, and how its kernels' time is measured."""

import dataclasses
import json
import os
import subprocess
import tempfile

from machines import Machine, simulate


@dataclasses.dataclass(frozen=True)
class Case:
    workload: str
    settings: dict  # of the whole problem
    share: dict  # parameter → exponent of 1/ranks: the same work as one rank's share, for one rank alone
    weak: dict  # what weak scaling starts from instead (the simulator still walks over every element when it sets up)
    strategy: str = ""
    least: dict = dataclasses.field(default_factory=dict)  # of a parameter in a share
    most_ranks: int = 4096  # rings and all-to-alls have messages in the square of the ranks: SimGrid takes minutes beyond

    @property
    def name(self):
        return f"{self.workload} {self.strategy}".strip()

    def arguments(self, settings):
        values = settings | ({"strategy": self.strategy} if self.strategy else {})
        return [self.workload, *(word for name, value in values.items() for word in ("-s", f"{name}={value}"))]

    def problem(self, kind):
        return self.settings if kind == "strong" else self.settings | self.weak

    def share_of(self, kind, ranks):
        """Settings of a problem for one rank with as much work, and of as large a working set, as a rank of `ranks` has."""
        settings = dict(self.problem(kind))
        for name, exponent in self.share.items() if kind == "strong" else ():
            settings[name] = max(self.least.get(name, 1), round(settings[name] / ranks**exponent))
        return settings


PREFILL = {"heads": 1, "dim": 128, "mask": "full"}
CASES = {
    "value_iteration": [
        Case("value_iteration/gridworld", {"n": 8192, "tol": 0.1, "max_sweeps": 6}, share={"n": 0.5}, weak={"n": 512}),
    ],
    "rollouts": [
        Case("rollouts/steps", {"n": 64, "episodes": 1 << 23}, {"episodes": 1}, {"episodes": 1 << 18}, least={"episodes": 2048}),
    ],
    "attention": [
        Case(
            *("attention/prefill", PREFILL | {"queries": 32768, "keys": 32768}, {"queries": 1}, {"queries": 8192, "keys": 8192}),
            **{"strategy": "ring", "least": {"queries": 64}, "most_ranks": 32},
        ),
        Case(
            *("attention/prefill", PREFILL | {"queries": 256, "keys": 256, "heads": 8192}, {"heads": 1}, {"heads": 8}),
            strategy="heads",
        ),
    ],
    "ssm": [
        Case(
            *("ssm/scan", {"length": 1 << 22, "channels": 1, "states": 16, "chunk": 1024}, {"length": 1}, {"length": 1 << 16}),
            **{"strategy": "sequence", "least": {"length": 1024}, "most_ranks": 1024},
        ),
        Case("ssm/scan", {"length": 1024, "channels": 8192, "states": 16}, {"channels": 1}, {"channels": 8}, strategy="channels"),
    ],
}


def measure(binary, case, settings, threads):
    """Seconds of a repetition on one rank, its items, and the machine's name: a real run, whose answer is verified elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "run", *case.arguments(settings), "-n", "7", "-t", "5", "--no-verify", "--ceilings", "none"]
        command += ["--json", "--no-progress", "-o", f"{folder}/run.h5"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{case.workload}: {done.stderr.strip()}")
        run = json.loads(done.stdout)["runs"][0]
    return run["seconds"], run


def calibrate(binary, simulator, case, kind, ranks, threads):
    """Measured on one rank's share: the seconds of a unit of work (simulate/stand_in.h), and the run they come from."""
    settings = case.share_of(kind, ranks)
    seconds, run = measure(binary, case, settings, threads)
    units = simulate(simulator, Machine("switch", 1e9, 0), 1, 1.0, threads, case.arguments(settings))["seconds"]
    return seconds / units, run
