"""value_iteration/model and gridworld by MDPSolver (C++ and OpenMP; PyPI: mdpsolver), on the same file:
value iteration by Jacobi and (one thread) Gauss-Seidel sweeps, and modified policy iteration, from the values that no policy falls below.

Its values may be off by a constant, as it stops by the span: they are judged by the bound that is free of a constant, from one
backup of their own. Times are its own, of the solve alone."""

import multiprocessing
import sys
from queue import Empty

import mdp_model
import numpy

WORKLOADS = mdp_model.WORKLOADS
REPETITIONS, LONG, LONGEST = 7, 60, 300  # fewer where they take LONG seconds; none where they take LONGEST
WAYS = [("vi", "standard"), ("vi", "gs"), ("mpi", "standard")]


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


def solve(queue, model, tol, algorithm, update, parallel):
    """Puts (seconds [repetition], V [states]); a process of its own, as no solve can be told to stop."""
    import mdpsolver

    probs, columns = lists(model)
    seconds, start = [], mdp_model.low_start(model).tolist()
    while len(seconds) < REPETITIONS and sum(seconds) < LONG:
        problem = mdpsolver.model()  # a second solve would begin with the values of the first
        problem.mdp(discount=model[3], rewards=model[1].tolist(), tranMatProbs=probs, tranMatColumns=columns)
        problem.solve(algorithm=algorithm, tolerance=tol, update=update, parallel=parallel, initValueVector=start, postProcessing=False,
                      makeFinalCheck=False)  # fmt: skip
        seconds.append(problem.getRuntime() / 1000)
    queue.put((seconds, numpy.array(problem.getValueVector())))


def solved(*arguments):
    """What solve() puts, or None if it took longer than LONGEST."""
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=solve, args=(queue, *arguments))
    process.start()
    try:
        return queue.get(timeout=LONGEST)
    except Empty:
        print(f"peers: mdpsolver {' '.join(arguments[2:4])} is left out: no solve ended within {LONGEST} s", file=sys.stderr)
        return None
    finally:
        process.terminate()
        process.join()


def run(workload, threads, parameters):
    """Keywords of results.File.run(). Models whose episodes end are left out: it knows no ends."""
    path = mdp_model.path_of(workload, parameters)
    if not path:
        return []
    model, tol, found = mdp_model.load(path), float(parameters["tol"]), []
    sums = numpy.asarray(model[0].sum(axis=1)).ravel()
    if model[5].any() or numpy.abs(sums - 1).max() > 1e-9:
        return []
    for algorithm, update in WAYS:
        if threads > 1 and update == "gs":
            continue  # in parallel it stops after one sweep, far from the answer
        result = solved(model, tol, algorithm, update, threads > 1)
        if not result:
            continue
        seconds, v = result
        bound = mdp_model.bounds(model, v)[1]
        found.append({"variant": f"mdpsolver_{algorithm if update == 'standard' else update}", "seconds": seconds, "items": model[0].nnz,
                      "checks": [("bound of max |V - V*|, but for a constant", bound, tol, 0.0, bool(bound <= tol))],
                      "strategy": "items are the model's entries, not updates: compare seconds", "outputs": {"v": model[4] * v}})
    return found
