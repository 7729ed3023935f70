"""rollouts against answers found elsewhere, and what its own verification must see."""

import h5py
import pytest

from launcher import ONCE, failed_with


def checks_of(run, tmp_path, *arguments, code=0, **options):
    """{check: passed} of rollouts/steps."""
    told = run("run", "rollouts/steps", *ONCE, "-o", "out.h5", "--force", *arguments, **options)
    assert told.code == code, told
    with h5py.File(tmp_path / "out.h5") as file:
        checks = file["runs/rollouts/steps/sable/checks"]
        return {name.decode(): bool(passed) for name, passed in zip(checks["name"], checks["pass"])}


@pytest.mark.parametrize("env", ["grid", "alias"])
@pytest.mark.parametrize("settings", [(), ("-s", "n=5"), ("-s", "n=101"), ("-s", "slip=1", "-s", "gamma=1")])
def test_means_of_returns_and_lengths_agree_with_the_exact_ones(run, tmp_path, env, settings):
    checks = checks_of(run, tmp_path, "-s", f"env={env}", "-s", "episodes=30001", "-s", "horizon=64", *settings)
    assert checks["z of the mean return"] and checks["z of the mean length"]


def test_a_biased_slip_is_seen_by_the_mean_alone(run, tmp_path):
    checks = checks_of(run, tmp_path, "-s", "episodes=300000", "--inject-fault", "biased_model", code=1)
    assert not checks["z of the mean return"]


def test_a_certain_return_is_exact(run, tmp_path):
    """No ends, no walls met but all cost alike: each episode is `horizon` steps of −1."""
    same = [word for r in ("boundary", "forbidden", "target", "other") for word in ("-s", f"r_{r}=-1")]
    told = run(*["run", "rollouts/steps", *ONCE, *same, "-s", "goals=0", "-s", "holes=0", "-s", "gamma=1"],
               *["-s", "n=9", "-s", "episodes=5000", "-s", "horizon=100", "-o", "out.h5"])
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        outputs = file["runs/rollouts/steps/sable/outputs"]
        assert (outputs["return_mean"][0], outputs["return_error"][0]) == (-100, 0)
        assert (outputs["steps"][0], outputs["cut"][0]) == (500000, 5000)


def test_both_storages_of_a_map_give_the_same_distribution(run):
    told = run("run", "rollouts/steps", *ONCE, "-s", "env=alias", "-s", "episodes=100000", "-V", "all", "--json")
    assert told.code == 0 and len({r["digest"] for r in told.json["runs"]}) == 1


@pytest.mark.parametrize(
    "settings, words",
    [
        (["horizon=30"], ["horizon=30", "multiple of 4"]),
        (["episodes=1"], ["episodes"]),
        (["obstacles=1", "forbidden=0", "goals=0", "holes=0", "targets=0"], ["no cell to start from"]),
        (["obstacles=0.9", "forbidden=0.9"], ["at most 1"]),
        (["env=alias", "n=10000"], ["env=alias"]),
    ],
)
def test_impossible_settings_are_refused_in_one_line(run, settings, words):
    arguments = [word for setting in settings for word in ("-s", setting)]
    failed_with(run("run", "rollouts/steps", *ONCE, *arguments), 2, *words)
