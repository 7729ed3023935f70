"""rollouts against answers found elsewhere, and what its own verification must see."""

import json
import math

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

CASES = SOURCE / "tests/cases/rollouts"
GOLDEN = ["blackjack_stick20", "cliff_eps0.1", "frozenlake8x8_opt", "random_walk5", "sb_gridworld4x4", "zhao5x5_eps0.2"]


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


# ---- chunks that ranks take as they come to them ----

EPISODIC = ["steps", "prediction", "importance_sampling"]


@pytest.mark.parametrize("workload", EPISODIC)
def test_who_plays_a_chunk_changes_nothing(run, tmp_path, workload):
    dynamic = ["-s", "sharing=dynamic", "-V", "all", "-n", "2"]
    alone = run("run", f"rollouts/{workload}", *ONCE, "--json")
    told = run("run", f"rollouts/{workload}", *ONCE, *dynamic, "--json", "-o", "out.h5", ranks=3)
    assert alone.code == told.code == 0, told
    assert {r["digest"] for r in told.json["runs"]} == {r["digest"] for r in alone.json["runs"]}
    with h5py.File(tmp_path / "out.h5") as file:
        group = file[f"runs/rollouts/{workload}/sable"]
        assert group["phases"].shape == (2, 3, 3)  # play, wait and reduce of each rank
        assert group["counters"]["messages"].min() >= 1  # everybody asked for chunks


@pytest.mark.parametrize("workload", EPISODIC)
def test_a_chunk_that_nobody_takes_is_missed(run, workload):
    arguments = ["-s", "sharing=dynamic", "--inject-fault", "dropped_chunk"]
    assert run("run", f"rollouts/{workload}", *ONCE, *arguments, ranks=3).code == 1


# ---- prediction: models with exact values and variances found elsewhere ----


def golden(name):
    return json.loads((CASES / f"{name}.json").read_text())


def write_mdp(path, case, **replaced):
    """A golden case as an sable-mdp file."""
    n, actions, model = case["n_states"], case["n_actions"], case["model"]
    row = numpy.array(model["s"]) * actions + numpy.array(model["a"])
    order = numpy.argsort(row, kind="stable")
    terminal = numpy.zeros(n, "u1")
    terminal[case["terminal"]] = 1
    data = {
        "indptr": numpy.concatenate([[0], numpy.cumsum(numpy.bincount(row, minlength=n * actions))]).astype("i8"),
        "indices": numpy.array(model["sp"], "i4")[order],
        "probs": numpy.array(model["p"])[order],
        "transition_rewards": numpy.array(model["r"], float)[order],
        "transition_terminal": numpy.array(model["done"], "u1")[order],
        "terminal": terminal,
        "policy": numpy.array(case["policy"]),
        "start": numpy.array(case["start"]),
    }
    attributes = {"format": "sable-mdp", "gamma": case["gamma"], "horizon": case["horizon"] or 4096}
    for key, value in replaced.items():
        (attributes if key in attributes else data)[key] = value
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for key, value in data.items():
            if value is not None:
                file[key] = value


def predict(run, tmp_path, case, *settings, **options):
    write_mdp(tmp_path / "model.h5", case)
    told = run(*["run", "rollouts/prediction", *ONCE, "-i", "model.h5", "-o", "out.h5", "--force"], *settings, **options)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file["runs/rollouts/prediction/sable/outputs"].items()}


def assert_agrees(mean, count, value, variance):
    """|z| ≤ 5 where a return varies, equality where it does not."""
    value, variance = numpy.array(value), numpy.array(variance)
    certain = variance <= 1e-12
    tested = (count >= 1000) & ~certain
    z = (mean - value)[tested] / numpy.sqrt(variance[tested] / count[tested])
    assert numpy.abs(z).max(initial=0) <= 5
    played = certain & (count > 0)
    numpy.testing.assert_allclose(mean[played], value[played], rtol=1e-12, atol=2**-25)
    return int(tested.sum())


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("ranks", [None, 3])
def test_start_returns_have_the_exact_values_of_the_golden_cases(run, tmp_path, name, ranks):
    case = golden(name)
    found = predict(run, tmp_path, case, "-s", "episodes=400000", "-s", "starts=each", ranks=ranks)
    expected = case["expected"]
    live = numpy.setdiff1d(numpy.arange(case["n_states"]), case["terminal"])
    tested = assert_agrees(found["start_mean"], found["start_count"], expected["value"], expected["variance"])
    assert found["start_count"][live].min() >= 1000 and tested >= 0.9 * len(live)
    # The pooled sample variance is known least where it comes from rare events: 800 falls off the cliff give it a
    # standard error of 1/sqrt(800) = 3.5 %, five of which are 18 %.
    counts = found["start_count"][live]
    pooled = (found["start_error"][live] ** 2 * counts * counts).sum() / counts.sum()
    exact = (numpy.array(expected["variance"])[live] * counts).sum() / counts.sum()
    assert abs(pooled / exact - 1) <= 0.18


@pytest.mark.parametrize("name", [name for name in GOLDEN if not golden(name)["horizon"]])
def test_first_visits_are_unbiased_and_every_visit_is_consistent(run, tmp_path, name):
    case = golden(name)
    expected = case["expected"]
    first = predict(run, tmp_path, case, "-s", "episodes=200000")
    assert first["cut"][0] == 0
    assert assert_agrees(first["mean"], first["count"], expected["value"], expected["variance"]) > 0
    every = predict(run, tmp_path, case, "-s", "episodes=200000", "-s", "visits=every")
    revisits = name != "blackjack_stick20"  # a hand only grows: no state comes twice
    assert (every["count"] >= first["count"]).all()
    assert (every["count"].sum() > first["count"].sum()) == revisits
    seen = every["count"] > 10000
    numpy.testing.assert_allclose(every["mean"][seen], numpy.array(expected["value"])[seen], rtol=0.05, atol=0.05)


def test_the_mean_over_starts_is_the_published_one(run, tmp_path):
    case = golden("cliff_eps0.1")
    found = predict(run, tmp_path, case, "-s", "episodes=300000")
    start = int(numpy.argmax(case["start"]))
    assert found["start_count"][start] == 300000
    z = (found["start_mean"][start] - case["expected"]["start_return_mean"]) / found["start_error"][start]
    assert abs(z) <= 5


def test_a_model_with_state_rewards_and_a_default_policy_is_read(run, tmp_path):
    """Two states, two actions, the second unavailable in state 1: 1 + γ 2 or 3, half each."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs.update(format="sable-mdp", gamma=0.5)
        file["indptr"], file["indices"], file["probs"] = [0, 1, 2, 3, 3], [1, 2, 2], [1.0, 1.0, 1.0]
        file["rewards"] = [[1, 3], [2, -math.inf]]
        file["terminal"] = numpy.array([0, 0], "u1")
    told = run("run", "rollouts/prediction", *ONCE, "-i", "m.h5", "-s", "episodes=9000")
    failed_with(told, 2, "indices[1] = 2")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["indices"][...] = [1, 0, 0]
        file["transition_terminal"] = numpy.array([0, 1, 1], "u1")
    told = run("run", "rollouts/prediction", *ONCE, "-i", "m.h5", "-s", "episodes=9000", "-o", "out.h5")
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        found = {name: data[()] for name, data in file["runs/rollouts/prediction/sable/outputs"].items()}
    assert (found["mean"][1], found["standard_error"][1]) == (2, 0)
    assert abs(found["start_mean"][0] - 2.5) <= 5 * 0.5 / math.sqrt(found["start_count"][0])


@pytest.mark.parametrize(
    "replaced, words",
    [
        ({"format": "other"}, ["sable-mdp"]),
        ({"gamma": 1.5}, ["gamma = 1.5"]),
        ({"horizon": 2.5}, ["horizon = 2.5"]),
        ({"probs": numpy.full(10, 0.4)}, ["state 1", "add up to 0.8"]),
        ({"probs": numpy.array([2, -1] * 5, float)}, ["state 1", "nan"]),
        ({"indices": numpy.full(10, 7)}, ["indices[0] = 7"]),
        ({"indptr": numpy.array([0, 0, 4, 2, 6, 8, 10, 10])}, ["descends at row 2"]),
        ({"indptr": numpy.array([0, 0, 2])}, ["indptr has 3 values"]),
        ({"policy": numpy.full((7, 1), 0.5)}, ["policy of state 1"]),
        ({"start": numpy.full(7, 1 / 7)}, ["start[0]", "terminal"]),
        ({"transition_rewards": numpy.full(10, numpy.nan)}, ["reward of state 1"]),
        ({"transition_rewards": numpy.full(10, 1e30)}, ["must stay below"]),
        ({"policy": None}, ["policy"]),
    ],
)
def test_a_bad_model_is_refused_in_one_line(run, tmp_path, replaced, words):
    write_mdp(tmp_path / "bad.h5", golden("random_walk5"), **replaced)
    failed_with(run("run", "rollouts/prediction", *ONCE, "-i", "bad.h5"), 2, *words)


# ---- the built-in environments, and control ----

CONTROL = ["mc_basic", "exploring_starts", "epsilon_greedy"]


def test_the_built_in_blackjack_is_the_golden_one(run, tmp_path):
    expected = golden("blackjack_stick20")["expected"]
    told = run("run", "rollouts/prediction", *ONCE, "-s", "env=blackjack", "-s", "gamma=1", "-s", "starts=each",
               "-s", "episodes=400000", "-o", "out.h5")
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        found = {name: data[()] for name, data in file["runs/rollouts/prediction/sable/outputs"].items()}
    assert_agrees(found["start_mean"], found["start_count"], expected["value"][:200], expected["variance"][:200])


def control(run, tmp_path, workload, *arguments, ranks=None):
    told = run("run", f"rollouts/{workload}", *ONCE, "-o", "out.h5", "--force", *arguments, ranks=ranks)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file[f"runs/rollouts/{workload}/sable/outputs"].items()}


@pytest.mark.parametrize("workload", CONTROL)
@pytest.mark.parametrize("name", GOLDEN)
def test_control_reaches_the_optimum_of_the_golden_cases(run, tmp_path, workload, name):
    """The share of the possible gain that it may miss is checked by the run itself, exactly. On FrozenLake many close
    decisions follow one another: estimates must be good to 0.01."""
    case = golden(name)
    write_mdp(tmp_path / "model.h5", case, horizon=case["horizon"] or 256)
    lake = name == "frozenlake8x8_opt"
    settings = ["batch=65536", "batches=30", "memory=0.9", "accuracy=0.2"] if lake else ["batch=32768", "batches=8", "accuracy=0.1"]
    arguments = [word for setting in settings for word in ("-s", setting)]
    found = control(run, tmp_path, workload, "-i", "model.h5", *arguments)
    if workload != "epsilon_greedy" and "optimal_value" in case.get("extra", {}):
        start, best = numpy.array(case["start"]), numpy.array(case["extra"]["optimal_value"])
        assert found["return_mean"][0] <= start @ best + 5 * found["return_error"][0] + 2**-24


@pytest.mark.parametrize(
    "env, gamma, horizon, memory, case",
    [("book", 0.9, 128, 0, "zhao5x5_eps0.2"), ("frozenlake8", 0.99, 400, 0.9, "frozenlake8x8_opt"), ("cliff", 1, 64, 0, "cliff_eps0.1")],
)
def test_built_in_maps_have_the_optimal_values_known_elsewhere(run, tmp_path, env, gamma, horizon, memory, case):
    found = control(run, tmp_path, "exploring_starts", "-s", f"env={env}", "-s", f"gamma={gamma}", "-s",
                    f"horizon={horizon}", "-s", "batch=65536", "-s", "batches=30", "-s", f"memory={memory}", "-s", "accuracy=0.2")
    extra, start = golden(case)["extra"], numpy.array(golden(case)["start"])
    best = start @ numpy.array(extra["optimal_value"])
    assert abs(found["return_mean"][0] - best) <= 0.2 * abs(best) + 5 * found["return_error"][0]


def test_a_batch_is_defined_by_ids_of_episodes(run):
    failed_with(run("run", "rollouts/mc_basic", *ONCE, "-s", "batch=5000"), 2, "batch=5000", "multiple of 1024")


def test_outputs_say_how_draws_are_counted(run, tmp_path):
    found = control(run, tmp_path, "mc_basic", "-c", "T")
    assert found["counter"].tolist() == [10, 0x726F, 0x7273, 1024]


# ---- importance sampling, means ----


def weigh(run, tmp_path, case, *settings, **replaced):
    write_mdp(tmp_path / "model.h5", case, **replaced)
    told = run(*["run", "rollouts/importance_sampling", *ONCE, "-i", "model.h5", "-o", "out.h5", "--force"], *settings)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file["runs/rollouts/importance_sampling/sable/outputs"].items()}


@pytest.mark.parametrize("name", GOLDEN)
def test_off_policy_values_are_those_of_the_target_policy(run, tmp_path, name):
    """One action in twenty is drawn from the uniform policy. Where the weights leave few effective samples, estimates say
    nothing, and their errors neither."""
    case = golden(name)
    found = weigh(run, tmp_path, case, "-s", "episodes=600000", "-s", "behaviour=0.05")
    value = numpy.array(case["expected"]["value"])
    good = found["effective"] >= 2000
    assert good.any() or name in ("frozenlake8x8_opt", "zhao5x5_eps0.2")
    for kind in ("ordinary", "weighted"):
        off = numpy.abs(found[kind] - value)[good]
        assert (off <= 6 * found[f"{kind}_error"][good] + 2**-23).all()


def test_blackjack_has_the_published_value_and_the_known_variance(run, tmp_path):
    case = golden("blackjack_stick20")
    known = case["extra"]["importance_sampling"]
    start = numpy.zeros(case["n_states"])
    start[known["state"]] = 1
    found = weigh(run, tmp_path, case, "-s", "episodes=1000000", "-s", "starts=model", start=start)
    at = known["state"]
    assert found["count"][at] == 1000000 and found["lost"].tolist() == [0, 0]
    error = math.sqrt(known["ordinary_is_variance"] / 1e6)
    assert abs(found["ordinary_error"][at] / error - 1) < 0.02
    assert abs(found["ordinary"][at] - known["value"]) <= 5 * error
    assert abs(found["weighted"][at] - known["value"]) <= 5 * found["weighted_error"][at] < 5 * error


# ---- the sea ----


@pytest.mark.parametrize("env", ["grid", "alias"])
def test_the_sea_has_the_exact_mean_round_the_earth(run, tmp_path, env):
    checks = checks_of(run, tmp_path, "-s", "map=sea", "-s", "n=90", "-s", f"env={env}", "-s", "episodes=100000")
    assert checks["z of the mean return"] and checks["z of the mean length"]


def test_the_sea_has_the_bits_of_the_textbook(run):
    told = run("run", "rollouts/steps", *ONCE, "-s", "map=sea", "-s", "n=45", "-V", "all", "--json")
    assert told.code == 0 and len({r["digest"] for r in told.json["runs"]}) == 1
    failed_with(run("run", "rollouts/steps", *ONCE, "-s", "map=sea", "-s", "n=1000"), 2, "720")
