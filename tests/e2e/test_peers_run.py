"""scripts/peers/run: peers on sable's own problems, through files, in sable's results format."""

import os
import subprocess
import sys

import h5py
import numpy
import pytest

from conftest import SOURCE

pytest.importorskip("scipy", reason="python3-scipy is not installed: the peer of value_iteration/model needs it")
RUN = [sys.executable, SOURCE / "scripts/peers/run"]


def peers(sable, *arguments, cwd=None):
    env = sable.environment() | {"SABLE_BINARY": str(sable.binary)}
    return subprocess.run([*map(str, RUN), *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, check=False,
                          timeout=120)


def test_list_names_every_peer_and_what_is_missing(sable, workloads):
    told = peers(sable, "--list")
    assert told.returncode == 0 and "mdp: value_iteration/model, value_iteration/gridworld: ready" in told.stdout
    for line in told.stdout.splitlines():
        for workload in line.split(": ")[1].split(", "):
            assert workload in workloads, line


def test_an_unknown_workload_and_a_taken_output_are_refused(sable, tmp_path):
    told = peers(sable, "--workload", "value_iteration/none", "-o", tmp_path / "p.h5")
    assert told.returncode == 2 and "no peer solves" in told.stderr and not (tmp_path / "p.h5").exists()
    (tmp_path / "p.h5").write_text("mine")
    told = peers(sable, "--workload", "value_iteration/model", "-c", "T", "-o", tmp_path / "p.h5")
    assert told.returncode == 2 and (tmp_path / "p.h5").read_text() == "mine"


@pytest.mark.parametrize("model", ["taxi.h5", "frozenlake8x8.h5"])
def test_a_peer_and_sable_agree_and_are_found_as_one_problem(sable, tmp_path, model):
    told = peers(sable, "--workload", "value_iteration/model", "-c", "T", "-s", f"file={model}", "--with-sable", "-o",
                 tmp_path / "p.h5")
    assert told.returncode == 0, told.stderr
    with h5py.File(tmp_path / "p.h5") as file, h5py.File(tmp_path / "p-sable.h5") as own:
        peer, sables = (f["runs/value_iteration/model"] for f in (file, own))
        assert peer["scipy"].attrs["peer"] == 1 and peer["scipy/checks"][0]["pass"] == 1
        assert peer["scipy"].attrs["parameters"].decode().split() == sables["sable"].attrs["parameters"].decode().split()
    shown = sable("show", tmp_path / "p.h5", cwd=tmp_path)
    assert shown.code == 0 and "scipy" in shown.out
    done = subprocess.run([SOURCE / "scripts/report", tmp_path / "p.h5", tmp_path / "p-sable.h5", "-o", tmp_path / "r.html"],
                          capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r-figures/peers.csv").read_text().count("value_iteration/model class T") == 2


def test_the_peers_values_are_those_of_sable(sable, tmp_path):
    told = peers(sable, "--workload", "value_iteration/model", "-c", "T", "-o", tmp_path / "p.h5")
    assert told.returncode == 0, told.stderr
    done = sable("run", "value_iteration/model", "-c", "T", "-n", "1", "--ceilings", "none", "-k", "full", "-o", "s.h5", cwd=tmp_path)
    assert done.code == 0, done.err
    with h5py.File(tmp_path / "p.h5") as file, h5py.File(tmp_path / "s.h5") as own:
        v, w = (f["runs/value_iteration/model"][n]["outputs/v"][()] for f, n in ((file, "scipy"), (own, "sable")))
        numpy.testing.assert_allclose(v, w, rtol=0, atol=2e-9)  # each within tol = 1e-9 of V*


def test_every_runner_says_in_words_what_it_lacks_and_names_workloads_that_exist(workloads, monkeypatch):
    import importlib.util

    from conftest import SOURCE

    monkeypatch.syspath_prepend(SOURCE / "scripts/peers")
    runners = sorted((SOURCE / "scripts/peers/runners").glob("*.py"))
    assert len(runners) >= 5
    for path in runners:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert isinstance(module.available(), str), path
        assert set(module.WORKLOADS) <= set(workloads), path


@pytest.fixture
def runner():
    """A module of scripts/peers/runners/, by name."""
    import importlib.util

    def load(name):
        path = SOURCE / f"scripts/peers/runners/{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    sys.path.insert(0, str(SOURCE / "scripts/peers"))
    yield load
    sys.path.remove(str(SOURCE / "scripts/peers"))


def scan(decay, k, v, q):
    """o of one head: S <- exp(decay_t) S + k v^T, o_t = S^T q_t, in closed form: sums over all earlier steps."""
    total = numpy.cumsum(decay, axis=0)
    return numpy.array([sum((numpy.exp(total[t] - total[s]) * k[s]) @ q[t] * v[s] for s in range(t + 1)) for t in range(len(v))])


def test_checks_of_peers_pass_the_answer_and_fail_a_lost_step(runner):
    import sequence_models as models

    sizes = {"input": "", "batch": "1", "channels": "3", "states": "4", "length": "37", "heads": "2", "groups": "1", "head_dim": "5"}
    sizes |= {"key_dim": "4", "value_dim": "6", "model": "retnet", "gate": "yes"}
    softplus = lambda raw, bias: numpy.logaddexp(0, raw.astype("f8") + bias)  # noqa: E731
    x = models.mamba_inputs(sizes)
    delta = softplus(x["delta_raw"][0, 0], x["delta_bias"][0])
    u, z = x["u"][0, 0].astype("f8"), x["z"][0, 0].astype("f8")
    y = scan(delta[:, None] * x["a"][0], x["b"][0].T, (delta * u)[:, None], x["c"][0].T)[:, 0] + x["d"][0] * u
    answers = {models.check_mamba: (x, y * z / (1 + numpy.exp(-z)))}
    x = models.mamba2_inputs(sizes)
    delta, values = softplus(x["delta_raw"][0, :, 0], x["delta_bias"][0])[:, None], x["x"][0, :, 0].astype("f8")
    y = scan(delta * x["a"][0], x["b"][0, :, 0], delta * values, x["c"][0, :, 0]) + x["d"][0] * values
    answers[lambda x, y: models.check_mamba2(x, y, 1)] = (x, y)
    x = models.linear_attention_inputs(sizes)
    k, v, q = (x[name][0, :, 0].astype("f8") for name in ("k", "v", "q"))
    answers[models.check_linear_attention] = (x, scan(numpy.full((len(v), 1), float(x["log_decay"][0])), k, v, q))
    for check, (x, y) in answers.items():
        assert check(x, y.astype("f4"))[0][-1] is True
        assert check(x, numpy.roll(y, 1, axis=0).astype("f4"))[0][-1] is False
    q, k, v, _ = models.attention_inputs("", (1, 1, 1, 9, 9, 8, 8, 0.3))
    for causal in (False, True):
        logits = 0.3 * (q[0, 0].astype("f8") @ k[0, 0].T) + (numpy.triu(numpy.full((9, 9), -numpy.inf), 1) if causal else 0)
        weights = numpy.exp(logits)
        out = (weights / weights.sum(axis=1, keepdims=True) @ v[0, 0]).astype("f4")[None, None]
        assert models.check_attention(out, q, k, v, 0.3, causal)[0][-1] is True
        assert models.check_attention(out[:, :, ::-1], q, k, v, 0.3, causal)[0][-1] is False


def garnet(folder, shape):
    subprocess.run([sys.executable, SOURCE / "scripts/data/make-mdp", "--garnet", shape, "--gamma", "0.9", "-o", folder], check=True)
    return folder / "garnet.h5"


def values(sable, folder, *arguments):
    done = sable("run", "value_iteration/model", *arguments, "-s", "tol=1e-9", "-n", "1", "--ceilings", "none", "-k", "full", "-V", "sable",
                 "--force", "-o", "v.h5", cwd=folder)
    assert done.code == 0, done.err
    with h5py.File(folder / "v.h5") as file:
        return file["runs/value_iteration/model/sable/outputs/v"][()]


def test_a_made_map_has_the_same_values_as_its_stored_model(sable, tmp_path, runner):
    import mdp_model

    subprocess.run([sys.executable, SOURCE / "scripts/data/make-mdp", "--gridworld", "23,31", "--gamma", "0.9", "-o", tmp_path], check=True)
    path = tmp_path / "gridworld.h5"
    done = sable("run", "value_iteration/gridworld", "-i", path, "-s", "tol=1e-9", "-n", "1", "--ceilings", "none", "-k", "full", "-V", "sable",
                 "-o", "map.h5", cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    with h5py.File(path) as file, h5py.File(tmp_path / "map.h5") as own:
        cells, v = file["cells"][()], own["runs/value_iteration/gridworld/sable/outputs/v"][()]
    assert (cells == 1).any() and (cells == 3).sum() == 1
    stored = values(sable, tmp_path, "-i", path)
    numpy.testing.assert_allclose(v[cells != 1], stored, rtol=0, atol=2e-9)
    model = mdp_model.load(path)
    start = mdp_model.low_start(model)
    assert (start <= stored + 1e-9).all() and start[model[1].max(axis=1) == 0] == [0]
    found = runner("mdp").solve(model, 1e-9)
    numpy.testing.assert_allclose(found[0], stored, rtol=0, atol=2e-9)
    where = {"input": str(path), "file": "frozenlake4x4.h5"}
    assert mdp_model.path_of("value_iteration/gridworld", where) == str(path)
    assert mdp_model.path_of("value_iteration/gridworld", where | {"input": ""}) is None
    assert mdp_model.path_of("value_iteration/model", where | {"input": ""}).is_file()


@pytest.mark.parametrize("given", ["3", "0,4", "4,x", "3,4,5"])
def test_a_map_of_no_size_is_refused(tmp_path, given):
    done = subprocess.run([sys.executable, SOURCE / "scripts/data/make-mdp", "--gridworld", given, "-o", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "rows,columns" in done.stderr and not list(tmp_path.iterdir()), done


def test_the_model_that_madupite_is_given_is_the_model(sable, tmp_path, runner):
    import mdp_model

    path = garnet(tmp_path, "50,4,7")
    runner("madupite").export(mdp_model.load(path), tmp_path)
    own = values(sable, tmp_path, "-i", path)
    exported = values(sable, tmp_path, "-i", tmp_path / "P.bin", "-s", f"rewards={tmp_path / 'g.bin'}", "-s", "gamma=0.9")
    numpy.testing.assert_allclose(exported, own, rtol=0, atol=2e-9)


def test_bounds_of_a_peers_values_hold(sable, tmp_path, runner):
    import mdp_model

    path = garnet(tmp_path, "60,3,5")
    model, best = mdp_model.load(path), values(sable, tmp_path, "-i", path)
    for wrong in (best, best + 3, best + numpy.linspace(0, 1e-3, 60)):
        absolute, free = mdp_model.bounds(model, wrong)
        off = wrong - best
        assert numpy.abs(off).max() <= absolute + 1e-8 and (off.max() - off.min()) / 2 <= free + 1e-8
    assert mdp_model.bounds(model, best + 3)[1] < 1e-8 < 1 < mdp_model.bounds(model, best + 3)[0]
    policy = (model[1] + 0.9 * (model[0] @ best).reshape(60, 3)).argmax(axis=1)
    numpy.testing.assert_allclose(runner("madupite").values_of(model, policy, 1e-10), best, rtol=0, atol=2e-9)


def test_mdpsolver_is_given_rows_of_any_length(runner):
    import scipy.sparse

    rows = scipy.sparse.csr_matrix(([1, 0.25, 0.75, 0.5, 0.5, 1], [1, 0, 1, 0, 1, 0], [0, 1, 3, 5, 6]), shape=(4, 2))
    probs, columns = runner("mdpsolver").lists((rows, None, 2, 0.9, 1, None))
    assert probs == [[[1], [0.25, 0.75]], [[0.5, 0.5], [1]]] and columns == [[[1], [0, 1]], [[0, 1], [0]]]
