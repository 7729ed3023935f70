"""value_iteration/model and gridworld by madupite (MPI and PETSc): inexact policy iteration on the same model, one rank for each thread asked for.

MADUPITE=DIRECTORY names a checkout of github.com/madupite/madupite; madupite.cpp is built against it and PETSc once, into
build/peers-madupite. Each Krylov method is tried once with each forcing term; the fastest is reported. madupite stops when
‖T V − V‖ falls below atol_pi, which is set to tol·(1−γ), so that V is as near as sable's. Times are its own, of the solve alone."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import mdp_model
import numpy

WORKLOADS = mdp_model.WORKLOADS
HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[2] / "build/peers-madupite"
REPETITIONS, LONG = 7, 120  # seconds of a launch
METHODS, FORCING = ("gmres", "bcgs"), ("0.1", "1e-2", "1e-4")
AIJ = 1211216  # PETSc's number for matrices in its binary files


def launcher():
    return os.environ.get("SABLE_MPIRUN", "mpirun")


def compiler():
    return os.environ.get("MPICXX") or ("mpicxx.openmpi" if "openmpi" in launcher() else "mpicxx")


def available():
    """"" or why this peer can't run here."""
    if not os.environ.get("MADUPITE"):
        return "MADUPITE is not set to a checkout of github.com/madupite/madupite"
    if not (pathlib.Path(os.environ["MADUPITE"]) / "include/mdp.h").is_file():
        return f"MADUPITE: {os.environ['MADUPITE']} has no include/mdp.h"
    for tool in ("pkg-config", compiler(), launcher()):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if subprocess.run(["pkg-config", "--exists", "PETSc"], check=False).returncode:
        return "PETSc is not installed (petsc-dev), nor its pkg-config file"
    header = subprocess.run([compiler(), "-E", "-x", "c++", "-"], input="#include <nlohmann/json.hpp>\n", text=True, capture_output=True, check=False)
    if header.returncode:
        return "nlohmann/json.hpp is not installed (nlohmann-json3-dev)"
    return ""


def build():
    """The program, which is built if it isn't there yet."""
    program = BUILD / "madupite"
    source, own = pathlib.Path(os.environ["MADUPITE"]), HERE / "madupite.cpp"
    if program.is_file() and program.stat().st_mtime > own.stat().st_mtime:
        return program
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "PETSc"], capture_output=True, text=True, check=True).stdout.split()
    files = [p for p in sorted((source / "src").glob("*.cpp")) if p.name != "pymadupite.cpp"]
    if subprocess.run(["pkg-config", "--atleast-version=3.19", "PETSc"], check=False).returncode:
        flags.append("-DPETSC_SUCCESS=0")  # newer than this PETSc
    done = subprocess.run([compiler(), "-O3", "-march=native", "-std=c++20", f"-I{source}/include", *files, own, *flags, "-o", program],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"madupite.cpp was not built: {done.stderr[:500]}")
    return program


def export(model, folder):
    """P.bin [states·actions, states] and g.bin [states, actions] in PETSc's binary format, of 32-bit integers."""
    rows, rewards = model[0], model[1]
    if rows.nnz >= 2**31:
        raise ValueError("the model has 2^31 entries or more, which this export does not write")
    lengths = numpy.diff(rows.indptr)
    with open(folder / "P.bin", "wb") as file:
        for part in ([AIJ, *rows.shape, rows.nnz], lengths, rows.indices):
            file.write(numpy.asarray(part).astype(">i4").tobytes())
        file.write(rows.data.astype(">f8").tobytes())
    with open(folder / "g.bin", "wb") as file:
        file.write(numpy.array([AIJ, *rewards.shape, -1]).astype(">i4").tobytes() + rewards.astype(">f8").tobytes())


def solve(program, folder, ranks, model, residual, method, alpha, repetitions):
    """(seconds [repetition], policy [states]), or None if it failed or took longer than LONG. Its values are written with six digits:
    too few to judge."""
    place = ["--map-by", "slot:PE=1", "--bind-to", "core"] if "openmpi" in launcher() else []
    command = [launcher(), *place, "-np", ranks, program, folder, repetitions, model[3], residual, method, alpha]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"}) as run:  # fmt: skip
        try:
            said = run.communicate(timeout=LONG)[1]
        except subprocess.TimeoutExpired:
            run.terminate()  # the launcher ends its ranks
            said = f"no solve ended within {LONG} s"
    if run.returncode:
        lines = [line for line in said.splitlines() if line.strip(" -")] or [f"exit {run.returncode}"]
        print(f"peers: madupite {method}, alpha {alpha} is left out: {lines[0]}", file=sys.stderr)
        return None
    stats = [json.loads((folder / f"stats{i}.json").read_text()) for i in range(repetitions)]
    seconds = [float(re.search(r'"total_solver_time": ([0-9.e+-]+)', json.dumps(s))[1]) / 1000 for s in stats]
    return seconds, numpy.loadtxt(folder / "policy.txt", dtype="i8", ndmin=1)


def fastest(program, folder, ranks, model, residual):
    """(seconds, policy, method, alpha) of the fastest of METHODS × FORCING in one solve, or None where none came to an end."""
    best = None
    for method in METHODS:
        for alpha in FORCING:
            found = solve(program, folder, ranks, model, residual, method, alpha, 1)
            if found and (best is None or found[0][0] < best[0][0]):
                best = (*found, method, alpha)
    if best is None:
        return None
    repetitions = max(1, min(REPETITIONS, int(LONG / 2 / best[0][0])))
    return (*(solve(program, folder, ranks, model, residual, *best[2:], repetitions) or best[:2]), *best[2:])


def values_of(model, policy, error):
    """V of a policy, by backups until it is known to `error`."""
    rows, rewards, actions, gamma, _, _ = model
    states = numpy.arange(rows.shape[1])
    chosen, reward, v = rows[states * actions + policy], rewards[states, policy], mdp_model.low_start(model)
    while True:
        better = reward + gamma * (chosen @ v)
        change, v = numpy.abs(better - v).max(), better
        if gamma / (1 - gamma) * change <= error:
            return v


def run(workload, threads, parameters):
    """The fastest of METHODS × FORCING. Keywords of results.File.run()."""
    path = mdp_model.path_of(workload, parameters)
    if not path:
        return []
    model, tol = mdp_model.load(path), float(parameters["tol"])
    if model[5].any():
        return []
    program = build()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        export(model, folder)
        best = fastest(program, folder, threads, model, tol * (1 - model[3]))
    if best is None:
        return []
    seconds, policy, method, alpha = best
    v = values_of(model, policy, tol / 10)
    bound = mdp_model.bounds(model, v)[0]
    seconds = numpy.tile(numpy.array(seconds)[:, None], (1, threads))
    return [{"variant": "madupite", "seconds": seconds, "items": model[0].nnz, "outputs": {"v": model[4] * v},
             "threads": 1, "checks": [("bound of max |V - V*| of its policy's values", bound, tol, 0.0, bool(bound <= tol))],
             "strategy": f"{method}, alpha {alpha}, {threads} ranks; items are the model's entries, not updates: compare seconds"}]
