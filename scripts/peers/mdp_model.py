"""A sable-mdp file for peers: as matrices, as lists, and the bound that any values of it have."""

import pathlib
import sys

import numpy

WORKLOADS = ["value_iteration/model", "value_iteration/gridworld"]
DATA = pathlib.Path(__file__).resolve().parents[2] / "data"


def path_of(workload, parameters):
    """The file of a workload's model, or None: a map of value_iteration/gridworld is one where the model is stored beside it, as
    `scripts/data/make-mdp --gridworld` does."""
    import h5py

    path = parameters["input"] or DATA / parameters.get("file", "")
    if workload == "value_iteration/model":
        return path
    if parameters["input"]:
        with h5py.File(path) as file:
            if "indptr" in file:
                return path
    print(f"peers: {workload} is left out: --input a file of scripts/data/make-mdp --gridworld", file=sys.stderr)
    return None


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
        rows.sum_duplicates()  # readers of PETSc's files keep the last
        terminal = file["terminal"][()] != 0 if "terminal" in file else numpy.zeros(n, bool)
        return rows, sign * rewards, actions, float(file.attrs["gamma"]), sign, terminal


def bounds(model, values):
    """(bound of max |V − V*|, the same but for a constant) of any values, by one backup: ‖T V − V‖/(1−γ), and half its span, which
    holds where nothing ends."""
    rows, rewards, actions, gamma, _, terminal = model
    better = (rewards + gamma * (rows @ values).reshape(-1, actions)).max(axis=1)
    better[terminal] = 0
    change = better - values
    return numpy.abs(change).max() / (1 - gamma), (change.max() - change.min()) / 2 / (1 - gamma)


def low_start(model):
    """Values [n] that no policy falls below, for sweeps to begin with: where steps cost, states from which no goal is reached are right at
    once, and so are those that nothing leaves."""
    rows, rewards, actions, gamma, _, terminal = model
    n = rows.shape[1]
    v = numpy.full(n, min(rewards[numpy.isfinite(rewards)].min(), 0) / (1 - gamma))
    stays = numpy.asarray(rows[numpy.arange(n * actions), numpy.repeat(numpy.arange(n), actions)]).reshape(n, actions) >= 1
    kept = (stays | ~numpy.isfinite(rewards)).all(axis=1)
    v[kept] = rewards[kept].max(axis=1) / (1 - gamma)
    v[terminal] = 0
    return v
