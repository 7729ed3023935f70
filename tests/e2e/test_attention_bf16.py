"""attention with inputs in bfloat16: the bits of fp32 on the rounded values, half the bytes."""

import json

import h5py
import numpy
import pytest

from launcher import ONCE
from test_attention import CASES, STRATEGIES, assert_samples, attend, exact, some, tensor
from test_attention_backward import differentiate
from test_attention_backward import exact as exact_gradients
from test_attention_decode import decode
from test_attention_layer import LAYER, output, write

BF16 = ["-s", "dtype=bf16"]


def rounded(x):
    """To nearest, ties to even, by the bits; no NaN here."""
    bits = numpy.asarray(x, "f4").view("u4").astype("u8")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype("u4").view("f4").reshape(numpy.shape(x))


def arrays(b, h, hk, sq, sk, d, dv):
    return {"q": some(b, h, sq, d), "k": some(b, hk, sk, d, seed=6), "v": some(b, hk, sk, dv, seed=7)}


def same(one, two):
    return all((a.view("u4") == b.view("u4")).all() for a, b in zip(one, two))


@pytest.mark.parametrize("variant", ["reference", "sable"])
def test_the_golden_case_in_bf16_is_met_within_the_tight_bound(run, tmp_path, variant):
    """Its inputs are exact in bfloat16: the bits are those of fp32, too."""
    case = json.loads((CASES / "gqa8_bf16_causal.json").read_text())
    q = tensor(case, 0, (case["B"], case["H"], case["Sq"], case["D"]))
    k, v = (tensor(case, n, (case["B"], case["Hk"], case["Sk"], case["D"])) for n in (1, 2))
    assert (rounded(q) == q).all() and (rounded(k) == k).all() and (rounded(v) == v).all()
    told = {"attributes": {"causal": int(case["causal"]), "scale": case["scale"]}, "threads": 2, "q": q, "k": k, "v": v}
    result = attend(run, tmp_path, "-V", variant, *BF16, **told)
    assert_samples(case, *result, quality=True)
    assert same(result, attend(run, tmp_path, "-V", variant, **told))


@pytest.mark.parametrize("shape", [(1, 2, 1, 65, 63, 7, 5), (2, 4, 2, 130, 400, 24, 17), (1, 1, 1, 1, 1, 1, 1),
                                   (1, 2, 2, 200, 70, 33, 64)], ids=str)
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_bits_are_those_of_fp32_on_rounded_values(run, tmp_path, shape, mask):
    given, settings = arrays(*shape), ["-s", f"mask={mask}", "-s", "leaf=32"]
    assert any((rounded(x) != x).any() for x in given.values())
    exactly = {name: rounded(x) for name, x in given.items()}
    expected = attend(run, tmp_path, *settings, **exactly)
    assert same(attend(run, tmp_path, *settings, *BF16, threads=2, **given), expected)
    for strategy in STRATEGIES:
        assert same(attend(run, tmp_path, *settings, *BF16, "-s", f"strategy={strategy}", ranks=3, **given), expected), strategy
    out, lse = exact(*exactly.values(), mask == "causal")
    numpy.testing.assert_allclose(expected[0], out, rtol=0, atol=5e-6)


def test_packed_sequences_have_the_bits_of_fp32_on_rounded_values(run, tmp_path):
    cu = numpy.array([0, 70, 70, 71, 201])
    given = {"q": some(201, 4, 24), "k": some(201, 2, 24, seed=6), "v": some(201, 2, 17, seed=7)}
    workload = "attention/varlen"

    def packed(values, *settings, ranks=None):
        return attend(run, tmp_path, *settings, "-s", "leaf=32", ranks=ranks, workload=workload, cu_seqlens_q=cu, **values)

    expected = packed({name: rounded(x) for name, x in given.items()})
    for strategy in ("heads", "sequences"):
        for ranks in (None, 3):
            assert same(packed(given, *BF16, "-s", f"strategy={strategy}", ranks=ranks), expected), (strategy, ranks)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1, 1), (2, 6, 3, 65, 7, 5), (1, 1, 1, 1000, 64, 64), (1, 8, 1, 500, 128, 80),
                                   (1, 13, 1, 300, 81, 33), (3, 6, 2, 257, 192, 128)], ids=str)  # B, H, Hk, S, D, Dv  # fmt: skip
def test_a_decoded_token_has_the_bits_of_fp32_on_rounded_values(run, tmp_path, shape):
    b, h, hk, keys, d, dv = shape
    given = arrays(b, h, hk, 1, keys, d, dv)
    assert any((rounded(x) != x).any() for x in given.values())
    exactly = {name: rounded(x) for name, x in given.items()}
    expected = decode(run, tmp_path, "-s", "leaf=32", **exactly)
    for strategy, ranks in (("heads", None), ("heads", 3), ("tree", 3)):
        assert same(decode(run, tmp_path, "-s", "leaf=32", *BF16, "-s", f"strategy={strategy}", ranks=ranks, threads=2,
                           **given), expected), strategy  # fmt: skip
    out, _ = exact(*exactly.values(), False)
    numpy.testing.assert_allclose(expected[0], out.reshape(expected[0].shape), rtol=0, atol=5e-6)
    reference, _ = decode(run, tmp_path, "-V", "reference", *BF16, **given)
    numpy.testing.assert_allclose(reference, expected[0], rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1, 1, 1), (2, 4, 2, 65, 63, 7, 5), (1, 2, 1, 130, 400, 24, 17),
                                   (1, 2, 1, 200, 70, 33, 64)], ids=str)  # B, H, Hk, Sq, Sk, D, Dv  # fmt: skip
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_gradients_have_the_bits_of_fp32_on_rounded_values(run, tmp_path, shape, mask):
    b, h, hk, sq, sk, d, dv = shape
    given, settings = arrays(*shape), ["-s", f"mask={mask}", "-s", "leaf=48"]
    given["dout"] = some(b, h, sq, dv, seed=8)
    assert all((rounded(x) != x).any() for x in given.values())
    exactly = {name: rounded(x) for name, x in given.items()}
    expected = differentiate(run, tmp_path, *settings, **exactly)
    for strategy, ranks in (("heads", None), ("pipeline", 3)):
        found = differentiate(run, tmp_path, *settings, *BF16, "-s", f"strategy={strategy}", ranks=ranks, threads=2, **given)
        assert same(found, expected), strategy
    reference = differentiate(run, tmp_path, "-V", "reference", *settings, *BF16, **given)
    for one, other, third in zip(exact_gradients(*exactly.values(), mask == "causal"), expected, reference):
        numpy.testing.assert_allclose(other, one, rtol=0, atol=2e-5)
        numpy.testing.assert_allclose(third, one, rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1, 1, 1), (2, 5, 4, 2, 8, 8, 25), (1, 130, 6, 1, 5, 9, 70)], ids=str)  # B S H Hk D Dv W
def test_a_layer_has_the_bits_of_fp32_on_rounded_inputs(run, tmp_path, shape):
    b, s, h, hk, d, dv, w = shape
    sizes = {"x": (b, s, w), "wq": (h, w, d), "wk": (hk, w, d), "wv": (hk, w, dv), "wo": (h, dv, w)}
    given = {name: some(*size, seed=i) / (1 if name == "x" else w**0.5) for i, (name, size) in enumerate(sizes.items())}
    assert all((rounded(x) != numpy.float32(x)).any() for x in given.values())
    write(tmp_path / "input.h5", {"causal": 1}, **{name: rounded(x) for name, x in given.items()})
    expected = output(run, tmp_path, LAYER, "y", "-s", "leaf=32")
    write(tmp_path / "input.h5", {"causal": 1}, **given)
    for strategy, ranks in (("heads", None), ("heads", 3), ("ulysses", 2), ("ring", 2), ("allgather", 2)):
        y = output(run, tmp_path, LAYER, "y", "-s", "leaf=32", *BF16, "-s", f"strategy={strategy}", ranks=ranks, threads=2)
        assert same([y], [expected]), strategy
    y = output(run, tmp_path, LAYER, "y", "-V", "reference", *BF16)
    numpy.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("workload", [f"attention/{name}" for name in ("prefill", "varlen", "decode", "backward", "layer")])
def test_bits_do_not_depend_on_the_simd_level(run, workload):
    digests = set()
    for level in ("base", "v2", "v3", "v4"):
        told = run("run", workload, *ONCE, "-c", "T", *BF16, "-s", "dim=27", "--json", "-o", f"{level}.h5",
                   env={"SABLE_ISA": level})
        if level == "v4" and told.code == 2:
            continue  # not on this processor
        assert told.code == 0, told
        digests.add(told.json["runs"][0]["digest"])
    assert len(digests) == 1, digests


def test_infinite_and_undefined_values_stay_so(run, tmp_path):
    given = arrays(1, 1, 1, 70, 90, 4, 4)
    given["v"][0, 0, 30, 2], given["q"][0, 0, 5, 0] = numpy.inf, numpy.float32(numpy.nan)
    given["v"][0, 0, 31, 3] = numpy.finfo("f4").max  # rounds to infinity
    out, lse = attend(run, tmp_path, *BF16, attributes={"causal": 0}, **given)
    others = numpy.delete(out, 5, 2)
    assert numpy.isnan(out[0, 0, 5]).all() and numpy.isnan(lse[0, 0, 5])
    assert not numpy.isfinite(others[..., [2, 3]]).any() and numpy.isfinite(others[..., [0, 1]]).all()


@pytest.mark.parametrize("variant", ["openblas", "onednn"])
def test_peers_get_the_rounded_values(run, tmp_path, workloads, variant):
    if variant not in workloads["attention/prefill"]["peers"]:
        pytest.skip(f"sable was built without {variant}")
    given = arrays(1, 4, 2, 130, 130, 24, 17)
    out, _ = attend(run, tmp_path, "-V", variant, *BF16, "-s", "mask=causal", **given)
    expected, _ = exact(*(rounded(x) for x in given.values()), True)
    numpy.testing.assert_allclose(out, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_half_the_bytes_are_counted_and_sent(run, tmp_path, strategy):
    def counted(dtype):
        told = run("run", "attention/prefill", *ONCE, "-c", "T", "-s", f"strategy={strategy}", "-s", f"dtype={dtype}",
                   "-o", "out.h5", "--force", ranks=3)
        assert told.code == 0, told
        with h5py.File(tmp_path / "out.h5") as file:
            counters = file["runs/attention/prefill/sable/counters"][()]
        return counters["bytes_sent"].sum(), counters["bytes_memory"].sum()

    single, half = counted("fp32"), counted("bf16")
    heads, kv, queries, keys, dim = 12, 6, 77, 131, 20
    result = 4 * heads * queries * (dim + 1)
    if strategy != "ulysses":
        assert 2 * half[0] == single[0]
    else:
        assert single[0] / 2 < half[0] < single[0]
    assert strategy in ("ring", "allgather") or single[1] - result == 2 * (half[1] - result) or strategy == "heads"
    assert half[1] < 0.7 * single[1]


def test_a_cache_of_half_the_bytes_is_counted_and_predicted(run, tmp_path):
    def told(dtype, file="out.h5"):
        result = run("run", "attention/decode", *ONCE, "-c", "T", "-s", f"dtype={dtype}", "-o", file, "--force")
        assert result.code == 0, result
        with h5py.File(tmp_path / file) as opened:
            counters = opened["runs/attention/decode/sable/counters"][()]
        return counters["items"][0], counters["bytes_memory"][0]

    batch, kv, keys, dim, dim_v = 2, 2, 733, 20, 13
    assert told("fp32") == (4 * batch * kv * keys * (dim + dim_v),) * 2
    assert told("bf16") == (2 * batch * kv * keys * (dim + dim_v + 1),) * 2  # rows of 13 are padded


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("strategy", ["heads", "pipeline"])
def test_a_fault_of_gradients_is_seen_in_bf16(run, strategy, ranks):
    for fault in ("skip_block", "stale_keys", "wrong_scale", "lost_rows", "lost_keys", "flip_bit", "nan"):
        for variant in ("sable", "reference"):
            told = run("run", "attention/backward", *ONCE, "-c", "T", *BF16, "-V", variant, "-s", f"strategy={strategy}",
                       "--inject-fault", fault, ranks=ranks)  # fmt: skip
            assert told.code == 1, (variant, fault, told)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_fault_of_a_layer_is_seen_in_bf16(run, ranks):
    for fault in ("skip_block", "stale_keys", "wrong_scale", "wrong_rescale", "lost_rows", "flip_bit", "nan", "lost_head",
                  "lost_channel"):  # fmt: skip
        for variant in ("sable", "reference"):
            told = run("run", LAYER, *ONCE, "-c", "T", *BF16, "-V", variant, "--inject-fault", fault, ranks=ranks)
            assert told.code == 1, (variant, fault, told)


def bytes_counted(run, tmp_path, workload, dtype):
    told = run("run", workload, *ONCE, "-c", "T", "-s", f"dtype={dtype}", "-o", "out.h5", "--force")
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return file[f"runs/{workload}/sable/counters"][()]["bytes_memory"].sum()


def test_a_layer_counts_half_the_bytes_of_x_and_weights(run, tmp_path):
    single, half = (bytes_counted(run, tmp_path, LAYER, dtype) for dtype in ("fp32", "bf16"))
    rows, heads, kv, dims, width = 2 * 77, 6, 3, 10 + 11, 37
    inputs, others = (rows + (heads + kv) * dims) * width, rows * (width + 2 * (heads + kv) * dims)
    assert single == 4 * (inputs + others) and half == 2 * inputs + 4 * others


def test_gradients_count_half_the_bytes_of_what_is_read(run, tmp_path):
    single, half = (bytes_counted(run, tmp_path, "attention/backward", dtype) for dtype in ("fp32", "bf16"))
    rows, held, dim = 2 * 6 * 77, 2 * 3 * 131, 20
    results = 4 * (rows * (3 * dim + 1) + held * 2 * dim)  # out and lse, dq read and written, dk, dv
    assert single - results == 2 * (half - results) == 4 * (rows + held) * 2 * dim


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("strategy", ["heads", "tree"])
def test_a_fault_of_decoding_is_seen_in_bf16(run, strategy, ranks):
    for fault in ("stale_keys", "wrong_scale", "wrong_rescale", "skip_block", "lost_rows", "flip_bit", "nan"):
        for variant in ("sable", "reference"):
            told = run("run", "attention/decode", *ONCE, "-c", "T", *BF16, "-V", variant, "-s", f"strategy={strategy}",
                       "--inject-fault", fault, ranks=ranks)  # fmt: skip
            assert told.code == 1, (variant, fault, told)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_fault_is_seen_in_bf16_with_every_strategy(run, strategy):
    for fault in ("stale_keys", "wrong_rescale", "skip_block", "flip_bit"):
        told = run("run", "attention/prefill", *ONCE, "-c", "T", *BF16, "-s", f"strategy={strategy}", "--inject-fault",
                   fault, ranks=2)
        assert told.code == 1, (strategy, fault, told)
