"""value_iteration/model by SciPy: value iteration on sparse rows, to the same guaranteed bound, on the same file.

Backups are one product of SciPy's CSR matrix with V (one thread: SciPy has no others) and a maximum over actions."""

import pathlib
import time

import numpy

WORKLOADS = ["value_iteration/model"]
DATA = pathlib.Path(__file__).resolve().parents[3] / "data"


def available():
    """"" or why this peer can't run here."""
    try:
        import scipy.sparse  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install -r scripts/peers/requirements.txt"
    return ""


def load(path):
    """(P [n·A, n], r [n·A], actions, gamma, sign) of a sable-mdp file; what this runner does not know is refused."""
    import h5py
    from scipy.sparse import csr_matrix

    with h5py.File(path) as file:
        sense = file.attrs.get("sense", "max")
        sign = -1.0 if sense in ("min", b"min") else 1.0
        if "rewards" not in file:
            raise ValueError(f"{path} has transition_rewards only, which this runner does not read")
        rewards = file["rewards"][()]
        if "transition_rewards" in file:
            raise ValueError(f"{path} has transition_rewards, which this runner does not read")
        probs = file["probs"][()].copy()
        if "transition_terminal" in file:
            probs[file["transition_terminal"][()] != 0] = 0
        n, actions = rewards.shape
        rows = csr_matrix((probs, file["indices"][()], file["indptr"][()]), shape=(n * actions, n))
        terminal = file["terminal"][()] != 0 if "terminal" in file else numpy.zeros(n, bool)
        return rows, sign * rewards, actions, float(file.attrs["gamma"]), sign, terminal


def solve(model, tol):
    """(V, sweeps, bound): until MacQueen's and Porteus' span proves max |V − V*| ≤ tol."""
    rows, rewards, actions, gamma, _, terminal = model
    v, sweeps = numpy.zeros(rows.shape[1]), 0
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
    """One solve a repetition, ten of them. Keywords of results.File.run()."""
    if threads != 1:
        return []
    path = parameters["input"] or DATA / parameters["file"]
    model, tol = load(path), float(parameters["tol"])
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        v, sweeps, bound = solve(model, tol)
        seconds.append(time.perf_counter() - started)
    return [{"variant": "scipy", "seconds": seconds, "items": model[0].nnz * sweeps,
             "checks": [("bound of max |V - V*|", bound, tol, 0.0, bool(bound <= tol))],
             "outputs": {"v": model[4] * v, "sweeps": numpy.array([sweeps])}}]
