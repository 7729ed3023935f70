"""NumPy in lockstep on rollouts/steps: all environments take a step together, ended ones start anew. The map is drawn alike in
distribution, not in bits; the dynamics, slip, policy and horizon are sable's, and the mean return is z-tested against the exact one."""

import math
import time

import numpy

WORKLOADS = ["rollouts/steps"]
DEFAULTS = {"n": 64, "environments": 8192, "steps": 512, "horizon": 256, "gamma": 0.99, "slip": 0.2, "repetitions": 7}
POLICY = numpy.array([3, 7, 4, 2]) / 16  # north, east, south, west
DOWN, RIGHT = numpy.array([-1, 0, 1, 0]), numpy.array([0, 1, 0, -1])
FREE, OBSTACLE, FORBIDDEN, GOAL, HOLE = range(5)
REWARD = numpy.array([0.0, -1.0, -1.0, 1.0, -1.0])


def available():
    """"" or why this peer can't run here."""
    return ""


def tables(n, seed=1):
    """next[cell, direction] (−1: the episode ends), reward[cell, direction], starts."""
    kind = numpy.random.default_rng(seed).choice(5, size=(n, n), p=[0.78, 0.1, 0.1, 0.01, 0.01])
    cell = numpy.arange(n * n)
    r, c = cell // n, cell % n
    to_r, to_c = r[:, None] + DOWN, c[:, None] + RIGHT
    inside = (to_r >= 0) & (to_r < n) & (to_c >= 0) & (to_c < n)
    to = numpy.where(inside, to_r * n + to_c, 0)
    there = numpy.where(inside, kind.ravel()[to], OBSTACLE)
    successor = numpy.where(there == OBSTACLE, cell[:, None], numpy.where(there >= GOAL, -1, to))
    return successor.astype("i4"), REWARD[there], numpy.flatnonzero((kind.ravel() == FREE) | (kind.ravel() == FORBIDDEN)).astype("i4")


def exact(successor, reward, starts, gamma, horizon, slip):
    """Mean and variance of the return cut at the horizon (backward recursion)."""
    chance = (1 - slip) * POLICY + slip / 2 * (numpy.roll(POLICY, 1) + numpy.roll(POLICY, -1))
    v, w = numpy.zeros(len(successor)), numpy.zeros(len(successor))
    for _ in range(horizon):
        on = successor >= 0
        nv, nw = numpy.where(on, v[successor], 0), numpy.where(on, w[successor], 0)
        v, w = (reward + gamma * nv) @ chance, (reward**2 + 2 * gamma * reward * nv + gamma**2 * nw) @ chance
    mean = v[starts].mean()
    return mean, w[starts].mean() - mean**2


def play(model, environments, steps, gamma, horizon, slip, rng):
    """(steps taken, returns of episodes that had ended, in lots: each environment's first episode only, which no length selects)."""
    successor, reward, starts = model
    state = rng.choice(starts, environments)
    age, total, discount = numpy.zeros(environments, "i4"), numpy.zeros(environments), numpy.ones(environments)
    first = numpy.full(environments, numpy.nan)
    slots = numpy.repeat(numpy.arange(4, dtype="i4"), (POLICY * 16).astype(int))
    for _ in range(steps):
        word = rng.integers(0, 2**32, environments, dtype="u4")
        fraction = (word & 0xFFFFFFF) * 2.0**-28
        direction = (slots[word >> 28] + (fraction < slip) - 2 * (fraction < slip / 2)) & 3
        total += discount * reward[state, direction]
        discount *= gamma
        age += 1
        state = successor[state, direction]
        over = numpy.flatnonzero((state < 0) | (age >= horizon))
        new = over[numpy.isnan(first[over])]
        first[new] = total[new]
        state[over] = rng.choice(starts, len(over))
        age[over], total[over], discount[over] = 0, 0, 1
    return environments * steps, first


def run(workload, threads, parameters):
    """One dict a variant: the arguments of results.File.run() but the workload."""
    import results  # beside the runners

    p = DEFAULTS | {name: type(DEFAULTS[name])(value) for name, value in parameters.items() if name in DEFAULTS}
    model, rng, seconds, firsts, items = tables(p["n"]), numpy.random.default_rng(7), [], [], 0
    for repetition in range(p["repetitions"] + 1):
        begin = time.perf_counter()
        items, first = play(model, p["environments"], p["steps"], p["gamma"], p["horizon"], p["slip"], rng)
        if repetition:  # the first one warms up
            seconds.append(time.perf_counter() - begin)
            firsts.append(first)
    returns = numpy.concatenate(firsts)
    mean, variance = exact(*model, p["gamma"], p["horizon"], p["slip"])
    z = (returns.mean() - mean) / math.sqrt(variance / len(returns))  # steps ≥ horizon: every first episode has ended
    return [
        {
            "variant": "numpy",
            "seconds": seconds,
            "items": items,
            "fom": ("steps", "Gstep/s", 1e9),
            "threads": 1,
            "warmups": 1,
            "parameters": p,
            "checks": [results.near("z of the mean return", z, 0, 5)],
            "facts": {"numpy": numpy.__version__},
        }
    ]
