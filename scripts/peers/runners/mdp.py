"""value_iteration/model and gridworld by SciPy: value iteration on sparse rows, to the same guaranteed bound, on the same file.

Backups are one product of SciPy's CSR matrix with V (one thread: SciPy has no others) and a maximum over actions."""

import time

import mdp_model
import numpy

WORKLOADS = mdp_model.WORKLOADS


def available():
    """"" or why this peer can't run here."""
    try:
        import scipy.sparse  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install -r scripts/peers/requirements.txt"
    return ""


def solve(model, tol):
    """(V, sweeps, bound): until MacQueen's and Porteus' span proves max |V − V*| ≤ tol."""
    rows, rewards, actions, gamma, _, terminal = model
    v, sweeps = mdp_model.low_start(model), 0
    while True:
        better = (rewards + gamma * (rows @ v).reshape(-1, actions)).max(axis=1)
        better[terminal] = 0
        change = better - v
        sweeps += 1
        bound = gamma / (1 - gamma) * max(abs(change.max()), abs(change.min()))
        v = better
        if bound <= tol or sweeps == 10_000_000:
            return v, sweeps, bound


def run(workload, threads, parameters):
    """One solve a repetition, ten of them, fewer after twenty seconds. Keywords of results.File.run()."""
    path = mdp_model.path_of(workload, parameters)
    if threads != 1 or not path:
        return []
    model, tol = mdp_model.load(path), float(parameters["tol"])
    seconds = []
    while len(seconds) < 10 and sum(seconds) < 20:
        started = time.perf_counter()
        v, sweeps, bound = solve(model, tol)
        seconds.append(time.perf_counter() - started)
    return [{"variant": "scipy", "seconds": seconds, "items": model[0].nnz * sweeps,
             "checks": [("bound of max |V - V*|", bound, tol, 0.0, bool(bound <= tol))],
             "outputs": {"v": model[4] * v, "sweeps": numpy.array([sweeps])}}]
