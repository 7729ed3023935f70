"""value_iteration/model by MDPSolver (C++ and OpenMP; PyPI: mdpsolver), value iteration and modified policy iteration on the same file,
each beginning anew.

Its values may be off by a constant, as it stops by the span: they are judged by the bound that is free of a constant, from one
backup of their own. Times are its own, of the solve alone."""

import pathlib

import numpy

WORKLOADS = ["value_iteration/model"]
DATA = pathlib.Path(__file__).resolve().parents[3] / "data"
REPETITIONS = 7


def available():
    """"" or why this peer can't run here."""
    try:
        import mdpsolver  # noqa: F401
        import scipy.sparse  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install mdpsolver scipy"
    return ""


def lists(model):
    """Probabilities and columns as nested lists [state][action][…], as MDPSolver takes them."""
    rows, _, actions, _, _, _ = model
    parts = [slice(a, b) for a, b in zip(rows.indptr[:-1], rows.indptr[1:])]
    probs, columns = ([x[p].tolist() for p in parts] for x in (rows.data, rows.indices))
    return ([x[i:i + actions] for i in range(0, len(x), actions)] for x in (probs, columns))


def solve(model, tol, algorithm, parallel):
    import mdpsolver

    probs, columns = lists(model)
    seconds = []
    for _ in range(REPETITIONS):
        problem = mdpsolver.model()  # a second solve would begin with the values of the first
        problem.mdp(discount=model[3], rewards=model[1].tolist(), tranMatProbs=probs, tranMatColumns=columns)
        problem.solve(algorithm=algorithm, tolerance=tol, update="standard", parallel=parallel, postProcessing=False, makeFinalCheck=False)
        seconds.append(problem.getRuntime() / 1000)
    return seconds, numpy.array(problem.getValueVector())


def run(workload, threads, parameters):
    """Keywords of results.File.run(). Models whose episodes end are left out: it knows no ends."""
    import mdp_model

    path = parameters["input"] or DATA / parameters["file"]
    model, tol, found = mdp_model.load(path), float(parameters["tol"]), []
    sums = numpy.asarray(model[0].sum(axis=1)).ravel()
    if model[5].any() or numpy.abs(sums - 1).max() > 1e-9:
        return []
    for algorithm in ("vi", "mpi"):
        seconds, v = solve(model, tol, algorithm, threads > 1)
        bound = mdp_model.bounds(model, v)[1]
        found.append({"variant": f"mdpsolver_{algorithm}", "seconds": seconds, "items": model[0].nnz,
                      "checks": [("bound of max |V - V*|, but for a constant", bound, tol, 0.0, bool(bound <= tol))],
                      "strategy": "items are the model's entries, not updates: compare seconds", "outputs": {"v": model[4] * v}})
    return found
