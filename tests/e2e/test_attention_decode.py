"""attention/decode against float64 and the golden cases, at its edges, and over ranks."""

import json
import math

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with
from test_attention import CASES, exact, tensor

DECODE = "attention/decode"
U = 2.0**-24


def decode(run, tmp_path, *settings, ranks=None, threads=1, attributes=None, **arrays):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = numpy.asarray(array, "f4")
        file.attrs.update(attributes or {})
    told = run("run", DECODE, *ONCE, "--keep", "full", "-i", "input.h5", "-o", "out.h5", "--force", *settings, ranks=ranks,
               threads=threads)  # fmt: skip
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        outputs = next(iter(file[f"runs/{DECODE}"].values()))["outputs"]
        out, lse = outputs["out"][()], outputs["lse"][()]
    assert out.shape[:2] == lse.shape[:2] and out.shape[2] == lse.shape[2] == 1
    return out.reshape(-1, out.shape[3]), lse.ravel()


def some(b, h, hk, s, d, dv, seed=3):
    random = numpy.random.default_rng(seed)
    return {"q": random.standard_normal((b, h, 1, d)).astype("f4"), "k": random.standard_normal((b, hk, s, d)).astype("f4"),
            "v": random.standard_normal((b, hk, s, dv)).astype("f4")}  # fmt: skip


SHAPES = [(1, 1, 1, 1, 1, 1), (2, 6, 3, 65, 7, 5), (1, 8, 1, 1000, 64, 64), (1, 9, 1, 300, 80, 33), (1, 70, 1, 50, 17, 16),
          (3, 2, 2, 257, 192, 128)]  # B, H, Hk, S, D, Dv  # fmt: skip


@pytest.mark.parametrize("variant", ["reference", "sable"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_agrees_with_float64(run, tmp_path, shape, variant):
    arrays = some(*shape)
    out, lse = decode(run, tmp_path, "-V", variant, "-s", "leaf=16", threads=3, **arrays)
    expected, expected_lse = exact(arrays["q"], arrays["k"], arrays["v"], False)
    q, k, v = (arrays[name].astype(float) for name in "qkv")
    dim, scale = shape[4], 1 / math.sqrt(shape[4])
    length = lambda x: numpy.sqrt((x * x).sum(-1)).max()
    # Of a logit, its rounding, the exponential, and sums of a leaf and the tree (docs/attention.md).
    logit = (dim + 2) * U * scale * length(q) * length(k) * (1 + 4 / dim) + 8 * U
    bound = 2 * (logit + (16 + 64) * U) * abs(v).max()
    assert abs(out - expected.reshape(out.shape)).max() <= bound
    assert abs(lse - expected_lse.ravel()).max() <= logit + 80 * U + 2 * U * abs(expected_lse).max()


@pytest.mark.parametrize("variant", ["reference", "sable"])
def test_the_golden_decode_is_met(run, tmp_path, variant):
    case = json.loads((CASES / "decode_mqa.json").read_text())
    assert case["Sq"] == 1
    q = tensor(case, 0, (case["B"], case["H"], 1, case["D"]))
    k, v = (tensor(case, n, (case["B"], case["Hk"], case["Sk"], case["D"])) for n in (1, 2))
    out, lse = decode(run, tmp_path, "-V", variant, q=q, k=k, v=v, attributes={"scale": case["scale"]})
    for index, value, bound in case["out_samples"]:
        assert abs(out.ravel()[index] - value) <= min(bound, case["quality_tol"]), index
    for index, value in case["lse_samples"]:
        assert abs(lse.ravel()[index] - value) <= case["E"] + 2e-7 * (1 + abs(value)), index


def test_every_strategy_gives_the_same_bits_and_sends_what_a_tree_must(run, tmp_path):
    """To rank 0 each rank sends the nodes of the ranks below it in the binomial tree, once; out and lse come back."""
    heads, kv, dim_v, batch, keys, leaf, digests = 6, 2, 13, 2, 733, 16, set()
    rows, leaves = batch * heads, -(-keys // leaf)

    def nodes(first, end):
        count = 0
        while first < end:
            size = 1
            while first % (2 * size) == 0 and first + 2 * size <= end:
                size *= 2
            first, count = first + size, count + 1
        return count

    for strategy in ("heads", "tree"):
        for ranks in (1, 2, 5):
            told = run("run", DECODE, *ONCE, "-c", "T", "-s", f"strategy={strategy}", "-o", "out.h5", "--force", "--json",
                       ranks=ranks)  # fmt: skip
            assert told.code == 0, told
            digests.add(told.json["runs"][0]["digest"])
            with h5py.File(tmp_path / "out.h5") as file:
                sent = file[f"runs/{DECODE}/sable/counters"]["bytes_sent"].sum()
            if strategy == "heads" or ranks == 1:
                assert sent == 0
                continue
            first = lambda r: r * (leaves // ranks) + min(r, leaves % ranks)
            up = sum(nodes(first(r), first(min(r + (r & -r), ranks))) for r in range(1, ranks)) * rows * (2 + dim_v)
            assert sent == 4 * (up + (ranks - 1) * rows * (dim_v + 1))
    assert len(digests) == 1, digests


@pytest.mark.parametrize("fault", ["stale_keys", "wrong_rescale", "lost_rows", "flip_bit"])
def test_a_fault_is_seen_with_whole_heads_too(run, fault):
    told = run("run", DECODE, *ONCE, "-c", "T", "-s", "strategy=heads", "--inject-fault", fault, ranks=2)
    assert told.code == 1, (fault, told)


def test_edges_of_the_definition(run, tmp_path):
    """Huge logits, −inf logits that are invisible, and a NaN, which stays in its own row."""
    arrays = some(1, 4, 2, 100, 8, 8)
    arrays["q"] *= 1000
    out, lse = decode(run, tmp_path, "-s", "leaf=16", **arrays)
    expected, expected_lse = exact(arrays["q"], arrays["k"], arrays["v"], False)
    assert abs(out - expected.reshape(out.shape)).max() < 1e-2
    assert (abs(lse / expected_lse.ravel() - 1) < 1e-5).all()
    arrays = some(1, 2, 1, 40, 4, 3)
    arrays["q"][...] = 1
    arrays["k"][0, 0, ::2] = -numpy.inf
    out, lse = decode(run, tmp_path, "-s", "leaf=16", **arrays)
    expected, _ = exact(arrays["q"], arrays["k"][:, :, 1::2], arrays["v"][:, :, 1::2], False)
    assert abs(out - expected.reshape(out.shape)).max() < 1e-5
    arrays["k"][...] = -numpy.inf
    out, lse = decode(run, tmp_path, "-s", "leaf=16", **arrays)
    assert (out == 0).all() and (lse == -numpy.inf).all()
    arrays = some(1, 4, 2, 100, 8, 8)
    arrays["k"][0, 1, 77, 2] = numpy.nan
    out, lse = decode(run, tmp_path, "-s", "leaf=16", **arrays)
    assert numpy.isfinite(out[:2]).all() and numpy.isnan(out[2:]).all() and numpy.isnan(lse[2:]).all()


def test_several_queries_are_refused(run, tmp_path):
    arrays = some(1, 2, 1, 40, 4, 3)
    with h5py.File(tmp_path / "input.h5", "w") as file:
        file["q"] = numpy.ones((1, 2, 3, 4), "f4")
        file["k"] = arrays["k"]
    failed_with(run("run", DECODE, *ONCE, "-i", "input.h5"), 2, "3 queries")
    failed_with(run("run", DECODE, "-s", "heads=6", "-s", "kv_heads=4"), 2, "6", "4")
