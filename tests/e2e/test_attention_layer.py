"""attention/layer against float64, against attention/prefill where projections are the identity, and over ranks."""

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with

LAYER = "attention/layer"
STRATEGIES = ["heads", "ulysses", "ring", "allgather"]
U = 2.0**-24


def write(path, attributes=None, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = numpy.asarray(array, "f4")
        file.attrs.update(attributes or {})


def output(run, tmp_path, workload, name, *settings, **options):
    told = run("run", workload, *ONCE, "--keep", "full", "-i", "input.h5", "-o", "out.h5", "--force", *settings, **options)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return next(iter(file[f"runs/{workload}"].values()))["outputs"][name][()]


def exact(x, wq, wk, wv, wo, causal, scale, leaf):
    """y in float64, and how far rounding may take it: products by their depth (Higham 2002, 3.1), attention as in
    docs/attention.md."""
    x, wq, wk, wv, wo = (numpy.asarray(a, float) for a in (x, wq, wk, wv, wo))
    group, depth = len(wq) // len(wk), x.shape[2]
    wk, wv = numpy.repeat(wk, group, 0), numpy.repeat(wv, group, 0)
    project = lambda w, x=x: numpy.einsum("bsc,hcd->bhsd", x, w)
    rounding = lambda w: (depth + 2) * U * project(abs(w), abs(x))
    q, k, v = project(wq), project(wk), project(wv)
    s = scale * numpy.einsum("bhqd,bhkd->bhqk", q, k)
    seen = numpy.tri(x.shape[1], dtype=bool) if causal else numpy.ones((x.shape[1],) * 2, bool)
    p = numpy.exp(numpy.where(seen, s, -numpy.inf) - s.max(-1, keepdims=True, where=seen, initial=-numpy.inf))
    p /= p.sum(-1, keepdims=True)
    out = p @ v
    length = lambda a: numpy.sqrt((a * a).sum(-1))
    logit = abs(scale) * (length(q).max() * length(rounding(wk)).max() + length(rounding(wq)).max() * length(k).max()
                          + (q.shape[3] + 2) * U * length(q).max() * length(k).max()) + 4 * U * abs(s).max() + 8 * U
    out_error = 2 * (logit + (leaf + 64) * U) * abs(v).max() + rounding(wv).max()
    y = numpy.einsum("bhsd,hdc->bsc", out, wo)
    bound = out_error * abs(wo).sum((0, 1)) + (wo.shape[0] * wo.shape[1] + 2) * U * numpy.einsum(
        "bhsd,hdc->bsc", abs(out), abs(wo))
    return y, bound


SHAPES = [(1, 1, 1, 1, 1, 1, 1), (2, 5, 4, 2, 8, 8, 24), (1, 130, 6, 1, 5, 9, 70), (1, 97, 2, 2, 72, 64, 129)]  # B S H Hk D Dv W


@pytest.mark.parametrize("variant", ["reference", "sable"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("causal", [0, 1])
def test_any_shape_agrees_with_float64(run, tmp_path, shape, causal, variant):
    b, s, h, hk, d, dv, w = shape
    random = numpy.random.default_rng(5)
    arrays = {"x": (b, s, w), "wq": (h, w, d), "wk": (hk, w, d), "wv": (hk, w, dv), "wo": (h, dv, w)}
    arrays = {name: random.standard_normal(size) / (1 if name == "x" else w**0.5) for name, size in arrays.items()}
    arrays = {name: array.astype("f4") for name, array in arrays.items()}
    write(tmp_path / "input.h5", {"causal": causal, "scale": 0.11}, **arrays)
    y = output(run, tmp_path, LAYER, "y", "-V", variant, "-s", "leaf=32", threads=2)
    expected, bound = exact(*arrays.values(), causal, 0.11, 32)
    assert (abs(y - expected) <= bound).all(), (abs(y - expected) / bound).max()
    assert abs(y - expected).max() <= 1e-5 * abs(expected).max()  # roundings mostly cancel: the worst case is far off


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_projections_that_only_select_channels_it_is_prefill(run, tmp_path, strategy):
    """Multiply-adds with 0 and 1 round nothing: the same bits."""
    b, s, h, d = 2, 70, 3, 10
    random = numpy.random.default_rng(6)
    x = random.standard_normal((b, s, h * d)).astype("f4")
    select = numpy.stack([numpy.eye(h * d, dtype="f4")[:, i * d : (i + 1) * d] for i in range(h)])
    write(tmp_path / "input.h5", wq=select, wk=select, wv=select, wo=select.swapaxes(1, 2), x=x)
    y = output(run, tmp_path, LAYER, "y", "-s", "leaf=16", "-s", f"strategy={strategy}", ranks=2)
    heads = x.reshape(b, s, h, d).swapaxes(1, 2)
    write(tmp_path / "input.h5", q=heads, k=heads, v=heads)
    out = output(run, tmp_path, "attention/prefill", "out", "-s", "leaf=16")
    assert (y == out.swapaxes(1, 2).reshape(y.shape)).all()


def test_every_strategy_gives_the_same_bits_and_sends_what_the_model_says(run, tmp_path):
    digests, heads, kv, dim, dim_v, batch, rows = set(), 6, 3, 10, 11, 2, 300
    for strategy in STRATEGIES:
        for ranks in (1, 2, 5):
            told = run("run", LAYER, *ONCE, "-c", "T", "-s", f"strategy={strategy}", "-s", f"queries={rows}", "-o", "out.h5",
                       "--force", "--json", ranks=ranks)
            assert told.code == 0, told
            digests.add(told.json["runs"][0]["digest"])
            with h5py.File(tmp_path / "out.h5") as file:
                sent = file[f"runs/{LAYER}/sable/counters"]["bytes_sent"].sum()
            keys = 4 * (dim + dim_v) * batch * kv * rows
            if ranks == 1:
                assert sent == 0
            elif strategy == "heads":  # each rank keeps its own heads of its own rows
                each = [batch * heads // ranks + (r < batch * heads % ranks) for r in range(ranks)]
                kept = [rows // ranks + (r < rows % ranks) for r in range(ranks)]
                assert sent == 4 * dim_v * sum(n * (rows - m) for n, m in zip(each, kept))
            elif strategy != "ulysses":
                assert sent == (ranks - 1) * keys
    assert len(digests) == 1, digests


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_fault_is_seen_with_every_strategy(run, strategy):
    for fault in ("stale_keys", "lost_head", "lost_channel"):  # test_verification.py takes all with the default strategy
        told = run("run", LAYER, *ONCE, "-c", "T", "-s", f"strategy={strategy}", "--inject-fault", fault, ranks=2)
        assert told.code == 1, (strategy, fault, told)


@pytest.mark.parametrize("model, width", [("gpt2", 768), ("llama3_8b", 4096), ("kimi_vl", 2048), ("moonvit", 1152)])
def test_a_model_sets_the_width(run, tmp_path, model, width):
    told = run("run", LAYER, *ONCE, "-s", f"model={model}", "-s", "queries=7", "-o", "out.h5", "--keep", "full")
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        assert file[f"runs/{LAYER}/sable/outputs/y"].shape == (1, 7, width)


def test_what_is_not_finite_stays_in_its_rows(run, tmp_path):
    random = numpy.random.default_rng(7)
    x = random.standard_normal((1, 40, 12)).astype("f4")
    x[0, 30, 3] = numpy.inf
    write(tmp_path / "input.h5", x=x)
    y = output(run, tmp_path, LAYER, "y", "-s", "heads=2", "-s", "dim=6", "-s", "mask=causal", "-s", "leaf=16")
    assert numpy.isfinite(y[0, :30]).all() and numpy.isnan(y[0, 30]).all()


def test_shapes_that_make_no_layer_are_refused(run, tmp_path):
    failed_with(run("run", LAYER, "-s", "heads=6", "-s", "kv_heads=4"), 2, "6", "4")
    failed_with(run("run", LAYER, "-s", "keys=5"), 2, "keys=5")
    failed_with(run("run", LAYER, "-s", "heads=1", "-s", "dim=1", "-s", "queries=1000000000", "-s", "batch=10000000", "-s",
                    "width=1000000"), 2, "layer")
    some = lambda *shape: numpy.ones(shape, "f4")
    for arrays, word in [({"x": some(1, 4, 6), "wq": some(2, 5, 3)}, "channels"),
                         ({"wq": some(2, 5, 3), "wk": some(2, 5, 4)}, "channels a head"),
                         ({"wq": some(2, 5, 3), "wo": some(3, 3, 5)}, "heads"),
                         ({"wk": some(3, 5, 3), "wv": some(2, 5, 3)}, "heads"), ({"wo": some(3, 5)}, "dimensions")]:
        write(tmp_path / "input.h5", **arrays)
        failed_with(run("run", LAYER, *ONCE, "-i", "input.h5"), 2, word)
