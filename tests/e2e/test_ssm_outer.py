"""ssm/mamba2 and ssm/linear_attention: every form against the formula in float64 NumPy, by another way of computing it."""

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

U32 = 2.0**-24


def compute(run, tmp_path, workload, arrays, *settings, variant="sable", **options):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    words = ["-s" if i % 2 == 0 else settings[i // 2] for i in range(2 * len(settings))]
    told = run("run", workload, *ONCE, "--keep", "full", "-i", "input.h5", "-o", "out.h5", "--force", "-V", variant, *words, **options)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file[f"runs/{workload}/{variant}/outputs"].items()}


def draw(*shape, low=-1.0, high=1.0, seed=1):
    return numpy.random.default_rng([seed, *shape]).uniform(low, high, shape).astype("f4").astype("f8")


def assert_near(found, expected, roundings=64):
    assert found.shape == expected.shape
    assert numpy.abs(found - expected).max() <= roundings * U32 * numpy.abs(expected).max()


def pairs(q, k, v, decay, weight=None):
    """o_t = sum over j <= t of (q_t k_j) exp(g_{j+1} + ... + g_t) v_j, with decays [B, L, H]: all pairs at once."""
    total = numpy.cumsum(decay, axis=1)
    span = total[:, :, None] - total[:, None, :]
    causal = numpy.tril(numpy.ones(span.shape[1:3]))[None, :, :, None]
    scores = numpy.einsum("bthn,bjhn->btjh", q, k) * numpy.exp(numpy.minimum(span, 0)) * causal
    return numpy.einsum("btjh,bjhp->bthp", scores, v if weight is None else v * weight[..., None])


# ---- mamba2 ----


def mamba2_case(batch=2, length=83, heads=6, groups=2, dim=5, states=9):
    arrays = {
        "x": draw(batch, length, heads, dim),
        "delta_raw": draw(batch, length, heads, low=-3, high=2),
        "a": draw(heads, low=-16, high=-0.1),
        "b": draw(batch, length, groups, states, seed=2),
        "c": draw(batch, length, groups, states, seed=3),
        "d": draw(heads, seed=4),
        "delta_bias": draw(heads, low=-4, high=0, seed=5),
    }
    delta = numpy.log1p(numpy.exp(arrays["delta_raw"] + arrays["delta_bias"]))
    shared = [numpy.repeat(arrays[name], heads // groups, axis=2) for name in "cb"]
    y = pairs(*shared, arrays["x"], delta * arrays["a"], delta) + arrays["d"][:, None] * arrays["x"]
    return arrays, y


MAMBA2 = [
    ("sable", None, ["chunk=24"]),
    ("sable", 3, ["chunk=24", "strategy=sequence"]),
    ("sable", 5, ["chunk=7"]),
    ("sable", 2, ["form=recurrent", "strategy=sequence"]),
    ("sable", None, ["chunk=256"]),
    ("reference", 3, ["strategy=sequence", "chunk=16"]),
]


@pytest.mark.parametrize("variant, ranks, settings", MAMBA2, ids=str)
def test_mamba2_is_the_sum_over_all_pairs_of_steps(run, tmp_path, variant, ranks, settings):
    arrays, y = mamba2_case()
    assert_near(compute(run, tmp_path, "ssm/mamba2", arrays, *settings, variant=variant, ranks=ranks)["y"], y)


def test_a_constant_through_mamba2_has_its_closed_form(run, tmp_path):
    """x_t = D B u (1 - q^t)/(1 - q), q = exp(D A), for D from 1e-6 to 10 and |q| up to 1 - 1e-9."""
    length, deltas, rates = 3000, numpy.array([1e-6, 1e-3, 0.1, 10]), numpy.array([-1e-3, -1.0, -30.0])
    grid = [(delta, rate) for delta in deltas for rate in rates]
    bias = numpy.array([d + numpy.log(-numpy.expm1(-d)) if d > 5 else numpy.log(numpy.expm1(d)) for d, _ in grid])
    a = numpy.array([rate for _, rate in grid])
    ones = numpy.ones((1, length, 1, 1))
    arrays = {"x": numpy.full((1, length, len(grid), 1), 0.5), "delta_raw": numpy.zeros((1, length, len(grid))), "a": a,
              "b": ones, "c": ones, "d": numpy.zeros(len(grid)), "delta_bias": bias}  # fmt: skip
    delta = numpy.log1p(numpy.exp(bias.astype("f4").astype("f8")))
    exponent = delta * a.astype("f4").astype("f8")
    exact = 0.5 * delta * numpy.expm1(length * exponent) / numpy.expm1(exponent)
    for settings in (["chunk=64"], ["chunk=100"], ["form=recurrent"]):
        state = compute(run, tmp_path, "ssm/mamba2", arrays, *settings)["state"][0, :, 0, 0]
        memory = numpy.minimum(length, 1 / -numpy.expm1(exponent))
        # A recurrence rounds at most 6 times a step that the state remembers, a chunk's sums 2 x 100 times.
        assert (numpy.abs(state - exact) <= (6 * memory + 250) * U32 * exact).all(), settings


def test_mamba2_has_the_same_bits_by_any_strategy_and_layout(run, tmp_path):
    arrays, _ = mamba2_case(batch=1, heads=2, groups=1, length=211)
    layouts = [("strategy=channels", None, 1), ("strategy=sequence", 3, 2), ("strategy=sequence", 7, 1), ("strategy=auto", 5, 1), ("strategy=batch", None, 4)]
    same = set()
    for strategy, ranks, threads in layouts:
        found = compute(run, tmp_path, "ssm/mamba2", arrays, strategy, "chunk=16", ranks=ranks, threads=threads)
        same.add(found["y"].tobytes() + found["state"].tobytes())
    assert len(same) == 1


STATES = {"ssm/mamba2": 2 * 6 * 9 * 7, "ssm/linear_attention": 2 * 3 * 10 * 7}  # of class T


@pytest.mark.parametrize("workload, form", [("ssm/mamba2", "chunked"), ("ssm/mamba2", "recurrent"), ("ssm/linear_attention", "chunkwise")])
@pytest.mark.parametrize("ranks, threads", [(2, 1), (3, 2), (5, 1)])
def test_ranks_that_share_time_send_one_state_each_to_the_next(run, tmp_path, workload, form, ranks, threads):
    told = run("run", workload, "-c", "T", *ONCE, "-s", "strategy=sequence", "-s", f"form={form}", "-o", "out.h5", ranks=ranks, threads=threads)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        counters = file[f"runs/{workload}/sable/counters"][()]
        phases = file[f"runs/{workload}/sable/phases"].attrs["phases"]
    sent = [4 * STATES[workload] * (rank + 1 < ranks) for rank in range(ranks)]
    assert counters["bytes_sent"].tolist() == counters["bytes_network_model"].tolist() == sent
    assert counters["messages"].tolist() == counters["messages_model"].tolist()
    assert [phase.decode() if isinstance(phase, bytes) else phase for phase in phases] == ["compute", "communicate", "wait"]


def test_mamba2_refuses_what_does_not_fit(run, tmp_path):
    arrays, _ = mamba2_case(length=9)

    def refused(*words, **change):
        with h5py.File(tmp_path / "bad.h5", "w") as file:
            for name, array in {**arrays, **change}.items():
                file[name] = array
        failed_with(run("run", "ssm/mamba2", *ONCE, "-i", "bad.h5"), 2, *words)

    refused("'a'", "at most 0", a=-arrays["a"])
    refused("'c'", "instead of", c=arrays["c"][:, :-1])
    refused("'x'", "not finite", x=arrays["x"] * numpy.nan)
    refused("groups", b=arrays["b"][:, :, [0, 0, 0, 1]], c=arrays["c"][:, :, [0, 0, 0, 1]])
    failed_with(run("run", "ssm/mamba2", "-s", "length=1000000000000", "-s", "batch=1000000000"), 2, "64 bits")


# ---- linear attention ----


def rwkv6(q, k, v, log_decay, bonus):
    """Step by step: o_t = (S + diag(u) k v^T)^T q, then S <- diag(w) S + k v^T."""
    state, outputs = numpy.zeros((*q.shape[:1], *q.shape[2:], v.shape[-1])), []
    for t in range(q.shape[1]):
        push = k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(numpy.einsum("bhn,bhnp->bhp", q[:, t], state + bonus[..., None] * push))
        state = numpy.exp(log_decay[:, t])[..., None] * state + push
    return numpy.stack(outputs, axis=1), state


def attention_case(model, length=83, low=-3.0):
    arrays = {name: draw(2, length, 3, 10, seed=i) for i, name in enumerate("qk")}
    arrays["v"] = draw(2, length, 3, 7)
    if model == "retnet":
        arrays["log_decay"] = numpy.array([-1e-7, low, -0.05]).astype("f4").astype("f8")
        return arrays, pairs(arrays["q"], arrays["k"], arrays["v"], numpy.broadcast_to(arrays["log_decay"], (2, length, 3)))
    arrays["log_decay"] = -numpy.exp(draw(2, length, 3, 10, low=-12, high=numpy.log(-low))).astype("f4").astype("f8")
    arrays["bonus"] = draw(3, 10)
    return arrays, rwkv6(*[arrays[name] for name in ("q", "k", "v", "log_decay", "bonus")])[0]


@pytest.mark.parametrize("model", ["retnet", "rwkv"])
@pytest.mark.parametrize("form", ["recurrent", "chunkwise", "parallel"])
def test_every_form_is_the_formula(run, tmp_path, model, form):
    arrays, y = attention_case(model)
    found = compute(run, tmp_path, "ssm/linear_attention", arrays, f"model={model}", f"form={form}", "chunk=20", ranks=3)
    assert_near(found["y"], y)


@pytest.mark.parametrize("model", ["retnet", "rwkv"])
@pytest.mark.parametrize("form", ["recurrent", "chunkwise", "parallel"])
def test_decays_beyond_single_precision_are_no_trouble(run, tmp_path, model, form):
    arrays, y = attention_case(model, low=-500.0)
    assert_near(compute(run, tmp_path, "ssm/linear_attention", arrays, f"model={model}", f"form={form}", "chunk=33")["y"], y)


@pytest.mark.parametrize("form", ["recurrent", "chunkwise"])
@pytest.mark.parametrize("model", ["retnet", "rwkv"])
def test_time_over_ranks_gives_the_same_bits(run, tmp_path, model, form):
    arrays, _ = attention_case(model, length=150)
    same = set()
    for strategy, ranks, threads in (("channels", None, 2), ("sequence", None, 2), ("sequence", 4, 1), ("sequence", 2, 2), ("sequence", 12, 1)):
        settings = (f"model={model}", f"form={form}", f"strategy={strategy}", "chunk=16")
        found = compute(run, tmp_path, "ssm/linear_attention", arrays, *settings, ranks=ranks, threads=threads)
        same.add(found["y"].tobytes() + found["state"].tobytes())
    assert len(same) == 1


def test_the_parallel_form_has_no_states_to_share_time_by(run):
    failed_with(run("run", "ssm/linear_attention", *ONCE, "-s", "form=parallel", "-s", "strategy=sequence"), 2, "parallel")


@pytest.mark.parametrize("settings", [("ssm/linear_attention", "model=rwkv"), ("ssm/linear_attention", "form=parallel"), ("ssm/mamba2", "strategy=sequence")])
@pytest.mark.parametrize("fault", ["lost_carry", "shift", "wrong_chunk", "flip_bit"])
def test_every_fault_is_seen_in_every_form(run, settings, fault):
    workload, setting = settings
    told = run("run", workload, "-c", "T", *ONCE, "-s", setting, "--inject-fault", fault, "-V", "all")
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL", "FAIL"]), told


@pytest.mark.parametrize("ranks", [None, 3])
@pytest.mark.parametrize("workload, form", [("ssm/mamba2", "chunked"), ("ssm/mamba2", "recurrent"), ("ssm/linear_attention", "chunkwise")])
@pytest.mark.parametrize("fault", ["lost_carry", "shift", "wrong_chunk", "skip_block", "flip_bit", "nan"])
def test_every_fault_is_seen_where_ranks_share_time(run, workload, form, fault, ranks):
    settings = ("-s", "strategy=sequence", "-s", f"form={form}")
    told = run("run", workload, "-c", "T", *ONCE, *settings, "--inject-fault", fault, "-V", "all", ranks=ranks)
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL", "FAIL"]), told


# ---- PyTorch's formulas (scripts/peers/runners/torch_ssm.py) ----

PEER = [
    ("ssm/mamba", {"batch": 2, "channels": 7, "states": 5, "length": 33, "gate": "yes"}),
    ("ssm/mamba2", {"batch": 2, "heads": 6, "groups": 2, "head_dim": 9, "states": 7, "length": 72, "chunk": 24}),
    ("ssm/linear_attention", {"batch": 2, "heads": 3, "key_dim": 10, "value_dim": 7, "length": 37, "model": "retnet"}),
    ("ssm/linear_attention", {"batch": 2, "heads": 3, "key_dim": 10, "value_dim": 7, "length": 37, "model": "rwkv"}),
]


@pytest.mark.parametrize("workload, sizes", PEER, ids=str)
def test_pytorch_computes_the_formula(monkeypatch, workload, sizes):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(SOURCE / "scripts/peers/runners")
    import torch_ssm

    [found] = torch_ssm.run(workload, 1, {"input": ""} | {name: str(value) for name, value in sizes.items()})
    assert all(check[-1] for check in found["checks"]), found
