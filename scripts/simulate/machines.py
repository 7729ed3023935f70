"""Machines for SimGrid: fat trees, dragonflies, tori and a single switch, and the command that runs ranks on them."""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile

# How many hosts: what SimGrid calls topo_parameters. Fat trees with two uplinks for each leaf switch's 16 or 8 hosts.
TOPOLOGIES = {
    "fattree": {
        4: "FAT_TREE 2;2,2;1,2;1,1",
        16: "FAT_TREE 2;4,4;1,2;1,2",
        64: "FAT_TREE 2;8,8;1,4;1,2",
        256: "FAT_TREE 2;16,16;1,8;1,2",
        1024: "FAT_TREE 2;32,32;1,16;1,2",
        4096: "FAT_TREE 3;16,16,16;1,8,8;1,2,1",
    },
    "dragonfly": {
        4: "DRAGONFLY 2,1;1,1;2,1;1",
        16: "DRAGONFLY 2,2;2,2;2,2;2",
        64: "DRAGONFLY 2,2;4,2;4,2;2",
        256: "DRAGONFLY 4,2;4,2;4,2;4",
        1024: "DRAGONFLY 8,2;4,2;8,2;4",
        4096: "DRAGONFLY 16,2;4,2;16,2;4",
    },
    "torus": {
        4: "TORUS 2,2,1",
        16: "TORUS 4,2,2",
        64: "TORUS 4,4,4",
        256: "TORUS 8,8,4",
        1024: "TORUS 16,8,8",
        4096: "TORUS 16,16,16",
    },
}

# What works with SimGrid 3.32 (docs/simulation.md): nothing but simulate_units() takes time, no factors on messages but 97 %
# of the bandwidth, and collectives of logarithmic depth.
FLAGS = {
    "smpi/simulate-computation": "no",
    "smpi/host-speed": "1e9",
    "smpi/lat-factor": "0:1",
    "smpi/bw-factor": "0:0.97",
    "smpi/test": "0",
    "smpi/grow-injected-times": "no",
    "smpi/privatization": "no",
    "smpi/shared-malloc-blocksize": "67108864",
    "smpi/coll-selector": "default",
    "smpi/barrier": "ompi_recursivedoubling",
    "smpi/allreduce": "rdb",
    "smpi/allgather": "rdb",
    "smpi/alltoall": "pair",
    "smpi/reduce": "binomial",
    "smpi/bcast": "binomial_tree",
    "smpi/gather": "ompi_binomial",
}


@dataclasses.dataclass(frozen=True)
class Machine:
    topology: str  # of TOPOLOGIES, or "switch"
    bandwidth: float  # bytes a second of a link, each way
    latency: float  # seconds of a link

    def platform(self, hosts):
        shape = ""
        if self.topology != "switch" and hosts > 1:
            kind, parameters = TOPOLOGIES[self.topology][hosts].split()
            shape = f'topology="{kind}" topo_parameters="{parameters}"'
        link = f'bw="{self.bandwidth:.0f}Bps" lat="{self.latency * 1e9:.0f}ns"'
        return (
            "<?xml version='1.0'?>\n<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
            f'<platform version="4.1"><cluster id="sable" prefix="n" suffix="" radical="0-{hosts - 1}" speed="1Gf" core="1" '
            f'{link} loopback_bw="20GBps" loopback_lat="200ns" sharing_policy="SPLITDUPLEX" {shape}/></platform>\n'
        )

    def describe(self):
        return f"links of {self.bandwidth / 1e9:.3g} GB/s and {self.latency * 1e9:.3g} ns, one rank a host"


def simulate(simulator, machine, ranks, seconds_of_unit, threads, arguments, timeout=3600):
    """One repetition of a workload: the JSON line that sable-simulate tells."""
    with tempfile.TemporaryDirectory() as folder:
        platform, hosts = pathlib.Path(folder, "platform.xml"), pathlib.Path(folder, "hosts")
        platform.write_text(machine.platform(ranks))
        hosts.write_text("".join(f"n{i}\n" for i in range(ranks)))
        flags = [f"--cfg={name}:{value}" for name, value in FLAGS.items()]
        command = ["smpirun", "-np", str(ranks), "-platform", platform, "-hostfile", hosts, *flags, "--log=root.thres:critical"]
        command += [simulator, repr(seconds_of_unit), str(threads), *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise RuntimeError(f"the simulation of {ranks} ranks failed: {(done.stderr or done.stdout).strip()[-400:]}")
        return json.loads(lines[-1])
