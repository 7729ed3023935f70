"""Stored transitions on the ranks of a graph partitioner: the bits of ranges, fewer values sent, and what refuses it."""

import math

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with

PARTITIONED = ["garnet locality=40", "maze", "maze maze=scattered method=vi", "pendulum", "epidemic method=auto", "model", "model file=jacks_car_rental.h5"]


def partitioned(run, tmp_path, model, partition, ranks, variant="sable", more=()):
    workload, *settings = model.split()
    words = [word for setting in [*settings, f"partition={partition}"] for word in ("-s", setting)]
    told = run("run", f"value_iteration/{workload}", *ONCE, "-c", "T", "--keep", "full", *words, *more, "-V", variant, "-o", "out.h5", "--force", ranks=ranks)
    if "built without PT-Scotch" in told.err:
        failed_with(told, 2, "partition=scotch", "partition=block", alone=ranks is None)
        pytest.skip("this build has no PT-Scotch")
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        group = file[f"runs/value_iteration/{workload}/{variant}"]
        return {name: data[()] for name, data in group["outputs"].items()} | {
            "digest": group.attrs["digest"], "sent": int(group["counters"]["bytes_sent"].sum()), "by": group.attrs.get("partitioner", b"")}  # fmt: skip


@pytest.mark.parametrize("model", PARTITIONED)
def test_a_partition_by_graph_has_the_bits_of_ranges_in_the_order_of_the_model(run, tmp_path, model):
    ranges = partitioned(run, tmp_path, model, "block", None)
    for ranks, variant in [(None, "sable"), (2, "sable"), (3, "reference"), (5, "sable")]:
        graph = partitioned(run, tmp_path, model, "scotch", ranks, variant)
        assert graph["digest"] == ranges["digest"]
        assert (graph["v"] == ranges["v"]).all() and (graph["policy"] == ranges["policy"]).all()
        assert b"PT-Scotch" in graph["by"] or ranks is None


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_a_partition_by_graph_sends_less_where_ranges_cut_long_rows(run, tmp_path, ranks):
    """Eight rows of 400 cells: ranges cut along a row, a graph across."""
    sent = {by: partitioned(run, tmp_path, "maze rows=8 columns=400 maze=scattered walls=0", by, ranks)["sent"] for by in ("block", "scotch")}
    assert sent["scotch"] < sent["block"] / 2  # some eight times less; a cut is not the same in every run


def shuffled_chain(path, states):
    """States in a row, in no order: one action to either side, paid at one end. A terminal state, and an action that is not available."""
    order = numpy.random.default_rng(5).permutation(states)
    left, right = (order[numpy.clip(numpy.arange(states) + step, 0, states - 1)] for step in (-1, 1))
    to, rewards = numpy.empty((states, 2), "i8"), numpy.zeros((states, 2))
    to[order, 0], to[order, 1] = left, right
    rewards[order[-1], 1] = 1
    rewards[order[10], 0] = -math.inf
    terminal = numpy.zeros(states, "u1")
    terminal[order[5]] = 1
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "sable-mdp", "gamma": 0.9, "sense": "max"})
        file["indptr"], file["indices"] = numpy.arange(2 * states + 1), to.ravel()
        file["probs"], file["rewards"], file["terminal"] = numpy.ones(2 * states), rewards, terminal


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_rows_of_a_file_follow_their_states_to_other_ranks(run, tmp_path, ranks):
    """A file tells nothing of which states are near: ranges send about all, a graph a few."""
    shuffled_chain(tmp_path / "chain.h5", 3000)
    given = ("-i", "chain.h5")
    ranges = partitioned(run, tmp_path, "model method=vi", "block", ranks, more=given)
    graph = partitioned(run, tmp_path, "model method=vi", "scotch", ranks, more=given)
    assert graph["digest"] == ranges["digest"] and all((graph[name] == ranges[name]).all() for name in ("v", "policy", "q"))
    assert graph["sent"] < ranges["sent"] / 10
    assert math.isinf(graph["q"].min())


@pytest.mark.parametrize("workload", ["garnet", "model"])
@pytest.mark.parametrize("fault", ["stale_halo", "lost_rows", "flip_bit"])
def test_faults_fail_in_a_partition_by_graph(run, tmp_path, workload, fault):
    partitioned(run, tmp_path, workload, "scotch", 3)  # or skip
    told = run("run", f"value_iteration/{workload}", *ONCE, "-c", "T", "-s", "partition=scotch", "--inject-fault", fault, "-o", "out.h5", "--force", ranks=3)
    assert told.code == 1, told


@pytest.mark.parametrize("workload", ["garnet", "model"])
@pytest.mark.parametrize("method", ["gs", "ipi", "pi", "anderson"])
def test_methods_that_need_the_order_of_the_model_refuse_another(run, tmp_path, workload, method):
    partitioned(run, tmp_path, workload, "scotch", None)  # or skip
    failed_with(run("run", f"value_iteration/{workload}", *ONCE, "-c", "T", "-s", "partition=scotch", "-s", f"method={method}"), 2, f"method={method}", "partition=block")
