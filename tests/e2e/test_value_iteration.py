"""value_iteration against answers found elsewhere: published grids, and shortest paths by Dijkstra's algorithm."""

import heapq
import json
import math

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE

CASES = SOURCE / "tests/cases/rollouts"
FREE, FORBIDDEN, GOAL, HOLE, TARGET = 0, 2, 3, 4, 5


def solve(run, tmp_path, workload, *settings, ranks=None, **arrays):
    """The stored outputs of one run on `arrays` as its input."""
    with h5py.File(tmp_path / "input.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    told = run("run", workload, *ONCE, "--keep", "full", "-i", "input.h5", "-o", "out.h5", "--force", *settings, ranks=ranks)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file[f"runs/{workload}/sable/outputs"].items()}


def settings(**values):
    return [word for name, value in values.items() for word in ("-s", f"{name}={value}")]


@pytest.mark.parametrize("stop", ["span", "residual"])
@pytest.mark.parametrize("ranks", [None, 3])
def test_the_grid_of_zhaos_book_has_its_published_values(run, tmp_path, stop, ranks):
    extra = json.loads((CASES / "zhao5x5_eps0.2.json").read_text())["extra"]
    cells = numpy.zeros(25, "u1")
    cells[extra["forbidden"]] = FORBIDDEN
    cells[extra["target"]] = TARGET
    rules = settings(gamma=0.9, slip=0, tol=1e-9, stop=stop, r_boundary=-1, r_forbidden=-1, r_target=1)
    found = solve(run, tmp_path, "value_iteration/gridworld", *rules, ranks=ranks, cells=cells.reshape(5, 5))
    numpy.testing.assert_allclose(found["v"].ravel(), extra["optimal_value"], rtol=0, atol=2e-9)
    assert found["policy"][3, 2] == 0, "the target is a place to stay"


@pytest.mark.parametrize("ranks", [None, 2])
def test_slippery_frozen_lake_has_its_exact_values(run, tmp_path, ranks):
    extra = json.loads((CASES / "frozenlake8x8_opt.json").read_text())["extra"]
    kinds = {"S": FREE, "F": FREE, "H": HOLE, "G": GOAL}
    cells = numpy.array([[kinds[cell] for cell in row] for row in extra["map"]], "u1")
    rules = settings(gamma=0.99, slip=2 / 3, tol=1e-9, r_boundary=0, r_hole=0, r_target=1)
    found = solve(run, tmp_path, "value_iteration/gridworld", *rules, ranks=ranks, cells=cells)
    numpy.testing.assert_allclose(found["v"].ravel(), extra["optimal_value"], rtol=0, atol=1e-8)


def grid_file(path, **attributes):
    with h5py.File(path, "w") as file:
        file["cells"] = numpy.array([[FREE, FREE, GOAL], [FREE, HOLE, FORBIDDEN]], "u1")
        file.attrs.update(attributes)


def test_a_map_may_bring_its_rewards(run, tmp_path):
    names = {"r_boundary": -2.0, "r_forbidden": -3.0, "r_target": 7.0, "r_hole": -5.0, "r_other": -0.5}
    found = []
    for attributes, rules in ((names, {}), ({}, names)):
        grid_file(tmp_path / "grid.h5", **attributes)
        told = run("run", "value_iteration/gridworld", *ONCE, "-k", "full", "-i", "grid.h5", *settings(**rules), "-o", "out.h5", "--force")
        assert told.code == 0, told
        with h5py.File(tmp_path / "out.h5") as file:
            found.append(file["runs/value_iteration/gridworld/sable/outputs/v"][()])
    assert (found[0] == found[1]).all() and found[0].max() > 1


@pytest.mark.parametrize("reward", [math.nan, math.inf, 1e7, "much"])
def test_a_reward_that_is_none_is_refused(run, tmp_path, reward):
    grid_file(tmp_path / "grid.h5", r_hole=reward)
    told = run("run", "value_iteration/gridworld", *ONCE, "-i", "grid.h5", "-o", "out.h5", ranks=2)
    assert told.code == 2 and "grid.h5" in told.err and "r_hole" in told.err, told
    assert not (tmp_path / "out.h5").exists()


# ---- The sea ----

HEADINGS = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]


def distance(a, b):
    """Kilometres by the haversine formula."""
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    h = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def dijkstra(mask, lat, lon, port, knots):
    """Hours to `port` on the graph of open headings: they are open, and as long, in both directions."""
    rows, columns = mask.shape
    hours = numpy.where(mask, numpy.inf, numpy.nan)
    hours[port] = 0
    queue = [(0.0, port)]
    while queue:
        now, (r, c) = heapq.heappop(queue)
        if now > hours[r, c]:
            continue
        for north, east in HEADINGS:
            i, j = r + north, (c + east) % columns
            if not 0 <= i < rows or not mask[i, j]:
                continue
            if north and east and not mask[i, c] and not mask[r, j]:
                continue
            then = now + distance((lat[r], lon[c]), (lat[i], lon[j])) / (knots * 1.852)
            if then < hours[i, j]:
                hours[i, j] = then
                heapq.heappush(queue, (then, (i, j)))
    return hours


def small_world():
    rows, columns = 36, 72
    lat, lon = -87.5 + 5 * numpy.arange(rows), -177.5 + 5 * numpy.arange(columns)
    mask = numpy.random.default_rng(7).random((rows, columns)) > 0.3
    mask[20:25, 30:35] = False
    mask[22, 32] = True  # a lake
    mask[10, 10] = True
    return mask, lat, lon


@pytest.mark.parametrize("ranks", [None, 3])
def test_without_drift_the_hours_are_those_of_dijkstra(run, tmp_path, ranks):
    mask, lat, lon = small_world()
    rules = settings(port=f"{lat[10]},{lon[10]}", drift=0, ice=90, canals="closed", coarsen=1, speed=14)
    found = solve(run, tmp_path, "value_iteration/sea", *rules, ranks=ranks, mask=mask.astype("u1"), lat=lat, lon=lon)
    expected = dijkstra(mask, lat, lon, (10, 10), 14)
    assert not numpy.isfinite(expected[22, 32]) and not numpy.isfinite(found["hours"][22, 32])
    assert (numpy.isfinite(found["hours"]) == numpy.isfinite(expected)).all()
    reached = numpy.isfinite(expected)
    numpy.testing.assert_allclose(found["hours"][reached], expected[reached], rtol=1e-6)


def test_drift_only_costs_time_and_the_gap_is_met(run, tmp_path):
    mask, lat, lon = small_world()
    rules = settings(port=f"{lat[10]},{lon[10]}", drift=0.2, ice=90, canals="closed", coarsen=1, gap=1e-8)
    found = solve(run, tmp_path, "value_iteration/sea", *rules, mask=mask.astype("u1"), lat=lat, lon=lon)
    calm = dijkstra(mask, lat, lon, (10, 10), 14)
    reached = numpy.isfinite(calm)
    assert (found["hours"][reached] >= calm[reached] * (1 - 1e-6)).all()
    assert float(found["gap"].ravel()[0]) <= 1e-8


def test_a_start_below_reaches_the_goals_in_fewer_sweeps_and_the_same_bound(run, tmp_path):
    """Steps cost 1 until a goal, which a walled cell never reaches: from 0 its value falls for 1/(1 − γ) · log sweeps, from
    below it is right at once, and all that travels is news of the goal."""
    cells = numpy.zeros((40, 50), "u1")
    cells[20, 25] = GOAL
    cells[3:6, 3:6] = 1
    cells[4, 4] = FREE
    rules = {"gamma": 0.99, "slip": 0.2, "tol": 1e-8, "stop": "residual", "r_boundary": -1, "r_other": -1, "r_target": -1}
    found = {}
    for start in ("zero", "low", "high"):
        given = settings(start=start, **rules)
        found[start] = solve(run, tmp_path, "value_iteration/gridworld", *given, ranks=2, cells=cells)
    for start in ("low", "high"):
        numpy.testing.assert_allclose(found[start]["v"], found["zero"]["v"], rtol=0, atol=2e-8)
    assert found["low"]["sweeps"][0] < found["zero"]["sweeps"][0] / 4
    assert found["high"]["sweeps"][0] == found["zero"]["sweeps"][0]
