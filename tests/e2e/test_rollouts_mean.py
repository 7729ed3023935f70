"""rollouts/mean: means by increments, and stochastic approximations with the golden means and variances."""

import json
import math

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

ROBBINS_MONRO = json.loads((SOURCE / "tests/cases/rollouts/robbins_monro.json").read_text())


def estimate(run, tmp_path, *settings):
    told = run("run", "rollouts/mean", *ONCE, "-o", "out.h5", "--force", *settings)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        outputs = file["runs/rollouts/mean/sable/outputs"]
        return outputs["mean"][0], outputs["variance"][0], outputs["count"][0]


def test_incremental_means_are_those_of_sums(run, tmp_path):
    found = estimate(run, tmp_path, "-s", "samples=1000003")
    sums = estimate(run, tmp_path, "-s", "samples=1000003", "-s", "method=sums")
    numpy.testing.assert_allclose(found, sums, rtol=1e-13)
    assert found[2] == 1000003


def approximate(run, tmp_path, steps, replicates, *settings):
    mean, variance, count = estimate(run, tmp_path, "-s", "method=approximation", "-s", f"steps={steps}", "-s",
                                     f"samples={steps * replicates}", *settings)
    assert count == replicates
    return mean, variance


@pytest.mark.parametrize("rule", ["constant_step", "linear"])
def test_approximations_have_the_golden_mean_and_variance(run, tmp_path, rule):
    case = ROBBINS_MONRO[rule]
    names = {"a": "a", "c": "c", "k0": "k0", "wstar": "root", "sigma": "sigma", "w0": "start", "alpha": "alpha"}
    settings = ["rule=linear" if rule == "linear" else "rule=mean"]
    settings += [f"{names[key]}={value}" for key, value in case.items() if key in names]
    for point in case["checkpoints"]:
        replicates = min(20000, 5_000_000 // point["k"])
        mean, variance = approximate(run, tmp_path, point["k"], replicates, *[w for s in settings for w in ("-s", s)])
        assert abs(mean - point["mean"]) <= 5 * math.sqrt(point["variance"] / replicates)
        assert abs(variance / point["variance"] - 1) <= 5 * math.sqrt(2 / (replicates - 1))


def test_tanh_without_noise_has_the_golden_iterates(run, tmp_path):
    case = ROBBINS_MONRO["tanh_noise_free"]
    for point in case["checkpoints"]:
        settings = ["-s", "rule=tanh", "-s", "sigma=0", "-s", f"start={case['w1']}"]
        mean, variance = approximate(run, tmp_path, point["k"], max(128, -(-16384 // point["k"])), *settings)
        assert abs(mean / point["w"] - 1) <= 1e-12 and variance == 0


def test_noisy_tanh_has_the_golden_asymptotic_variance(run, tmp_path):
    case, steps, replicates = ROBBINS_MONRO["tanh_noisy"], 100000, 2000
    mean, variance = approximate(run, tmp_path, steps, replicates, "-s", "rule=tanh", "-s", "start=3")
    expected = case["asymptotic_k_variance"]
    assert abs(steps * variance / expected - 1) <= 5 * math.sqrt(2 / replicates) + 0.05
    assert abs(mean - case["root"]) <= 5 * math.sqrt(1.05 * expected / steps / replicates)


def test_steps_that_grow_are_refused(run):
    failed_with(run("run", "rollouts/mean", *ONCE, "-s", "method=approximation", "-s", "rule=linear", "-s", "a=3"), 2, "a=3")


@pytest.mark.parametrize("rule, fault", [("linear", "biased_model"), ("linear", "reused_counter"), ("tanh", "reused_counter"),
                                         ("tanh", "dropped_chunk"), ("tanh", "flip_bit")])
def test_a_spoilt_approximation_is_seen(run, rule, fault):
    arguments = ["-s", "method=approximation", "-s", f"rule={rule}", "-s", "samples=200000", "--inject-fault", fault]
    assert run("run", "rollouts/mean", *ONCE, *arguments).code == 1
