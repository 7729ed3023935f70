"""Environments that an outside agent steps, beside rollouts/steps: Gymnasium, EnvPool and PufferLib's C environments, whichever
are installed, under random actions. NOT like for like: they pass observations and actions through a buffer for every step,
FrozenLake is a map of 8 × 8, PufferLib's `squared` has no slip, and returns are float32. The strategy attribute says so."""

import importlib.util
import sys
import time

import numpy

WORKLOADS = ["rollouts/steps"]
HINTS = {"pufferlib": " (pip install pufferlib builds it, and fetches raylib from GitHub for that)"}
DEFAULTS = {"environments": 1024, "steps": 512, "repetitions": 7}


def installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def available():
    """"" or why these peers can't run here."""
    found = any(installed(name) for name in ("gymnasium", "envpool", "pufferlib"))
    return "" if found else "none of gymnasium, envpool and pufferlib is installed: pip install one of them"


def gymnasium(environments):
    import gymnasium

    env = gymnasium.make_vec("FrozenLake-v1", num_envs=environments, map_name="8x8", is_slippery=True)
    env.reset(seed=1)
    return env.step, lambda rng: rng.integers(0, 4, environments), gymnasium.__version__, "FrozenLake 8x8, slippery"


def envpool(environments):
    import envpool

    env = envpool.make("FrozenLake8x8-v1", env_type="gymnasium", num_envs=environments, seed=1)
    env.reset()
    return env.step, lambda rng: rng.integers(0, 4, environments), envpool.__version__, "FrozenLake 8x8, slippery"


def pufferlib(environments):
    import pufferlib
    from pufferlib.ocean.squared.squared import Squared

    env = Squared(num_envs=environments)
    env.reset()
    return env.step, lambda rng: rng.integers(0, 5, environments, dtype="i4"), pufferlib.__version__, "squared, no slip"


def measure(make, p):
    rng, seconds = numpy.random.default_rng(1), []
    step, draw, version, what = make(p["environments"])
    actions = [draw(rng) for _ in range(64)]  # drawn before the clock runs
    for repetition in range(p["repetitions"] + 1):
        begin = time.perf_counter()
        for t in range(p["steps"]):
            step(actions[t % len(actions)])
        if repetition:  # the first one warms up
            seconds.append(time.perf_counter() - begin)
    return seconds, version, what


def run(workload, threads, parameters):
    """One dict a peer: the arguments of results.File.run() but the workload. Nothing tells whether their answers are right:
    SKIPPED."""
    p = DEFAULTS | {name: int(value) for name, value in parameters.items() if name in DEFAULTS}
    rows = []
    for make in (gymnasium, envpool, pufferlib):
        if not installed(make.__name__):
            print(f"peers: rollouts_environments: {make.__name__} is left out: it is not installed{HINTS.get(make.__name__, '')}", file=sys.stderr)
            continue
        seconds, version, what = measure(make, p)
        rows.append(
            {
                "variant": make.__name__,
                "seconds": seconds,
                "items": p["environments"] * p["steps"],
                "fom": ("steps", "Gstep/s", 1e9),
                "threads": threads if make is envpool else 1,
                "warmups": 1,
                "strategy": f"{what}, {p['environments']} environments, {p['steps']} steps; not like for like with sable",
                "warnings": ["not like for like: an outside agent, another map"],
                "facts": {make.__name__: version},
            }
        )
    return rows
