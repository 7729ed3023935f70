"""JAX's associative_scan on ssm/scan: x_t = a x_{t-1} + b_t as a tree of pairs (a, b), compiled for the CPU. Drawn inputs, or those of
--input. The first states are checked against float64, step by step."""

import os
import time

import numpy

WORKLOADS = ["ssm/scan"]
REPETITIONS, U, CHECKED = 6, 2.0**-24, 16


def available():
    """"" or why this peer can't run here."""
    try:
        import jax  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install jax"
    return ""


def problem(p):
    """a [channels, states], b [length, channels, states], x0, all complex64."""
    shape = tuple(int(p[name]) for name in ("length", "channels", "states"))
    rng = numpy.random.default_rng(1)
    decay, angle = numpy.exp(-1 / 10 ** rng.uniform(1, 4, shape[1:])), rng.uniform(0, numpy.pi, shape[1:])
    arrays = {"a": decay * numpy.exp(1j * angle), "x0": numpy.zeros(shape[1:])}
    if p["input"]:
        import h5py

        with h5py.File(p["input"]) as file:
            arrays |= {name: file[name][()] for name in ("a", "b", "x0") if name in file}
    if "b" not in arrays:
        arrays["b"] = rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)
    return (arrays[name].astype("c8") for name in ("a", "b", "x0"))


def check(a, b, x0, x):
    """A product of k factors is off by 4 (k - 1) roundings, however bracketed; a tree adds two a level, each way."""
    columns = [v.reshape(*v.shape[:-2], -1)[..., :CHECKED].astype("c16") for v in (a, b, x0, x)]
    a, b, exact, x = columns
    size, off, worst = abs(exact), 0 * abs(exact), 0.0
    levels = 16 * (2 + numpy.log2(len(b)))
    for t in range(len(b)):
        exact, off, size = a * exact + b[t], abs(a) * (off + 4 * U * size), abs(a) * size + abs(b[t])
        worst = max(worst, float((abs(x[t] - exact) / (off + levels * U * size + 1e-30)).max()))
    return [("error of the first states over their rounding bound", worst, 1.0, 0.0, bool(worst <= 1))]


def run(workload, threads, parameters):
    """REPETITIONS after one warm-up, which compiles. Keywords of results.File.run()."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # XLA makes a thread for each core that it may use
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax import numpy as jnp

    a, b, x0 = problem(parameters)

    @jax.jit
    def scan(a, b, x0):
        b = b.at[0].add(a * x0)
        return jax.lax.associative_scan(lambda one, two: (one[0] * two[0], two[0] * one[1] + two[1]), (jnp.broadcast_to(a, b.shape), b))[1]

    given, seconds = [jax.device_put(v) for v in (a, b, x0)], []
    for _ in range(REPETITIONS + 1):
        started = time.perf_counter()
        x = scan(*given).block_until_ready()
        seconds.append(time.perf_counter() - started)
    checks = check(a, b, x0, numpy.asarray(x))
    return [{"variant": "jax", "seconds": seconds[1:], "items": b.size, "warmups": 1, "checks": checks, "facts": {"jax": jax.__version__}}]
