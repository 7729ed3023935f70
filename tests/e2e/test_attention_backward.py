"""Gradients of attention against float64 answers found elsewhere, at the edges of the mask, and over ranks."""

import json
import math

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with
from test_attention import CASES, some, tensor

GRADIENTS = ("dq", "dk", "dv")


def differentiate(run, tmp_path, *settings, attributes=None, ranks=None, threads=1, **arrays):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = numpy.asarray(array, "f4")
        file.attrs.update(attributes or {})
    told = run("run", "attention/backward", *ONCE, "--keep", "full", "-i", "input.h5", "-o", "out.h5", "--force",
               *settings, ranks=ranks, threads=threads)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        outputs = next(iter(file["runs/attention/backward"].values()))["outputs"]
        return [outputs[name][()] for name in GRADIENTS]


def exact(q, k, v, dout, causal):
    """float64, from the definition; a pair that the mask hides has weight 0."""
    b, h, sq, d = q.shape
    hk, sk = k.shape[1:3]
    q, k, v, dout = (numpy.asarray(x, float) for x in (q, k, v, dout))
    kg, vg = (numpy.repeat(x, h // hk, axis=1) for x in (k, v))
    scale = 1 / math.sqrt(d)
    s = numpy.einsum("bhqd,bhkd->bhqk", q, kg) * scale
    if causal:
        s = numpy.where(numpy.arange(sk) <= numpy.arange(sq)[:, None] + sk - sq, s, -numpy.inf)
    most = s.max(-1, keepdims=True)
    p = numpy.exp(s - numpy.where(numpy.isfinite(most), most, 0))
    total = p.sum(-1, keepdims=True)
    p /= numpy.where(total > 0, total, 1)
    dp = numpy.einsum("bhqd,bhkd->bhqk", dout, vg)
    ds = scale * p * (dp - (p * dp).sum(-1, keepdims=True))

    def of_group(x):
        return x.reshape(b, hk, h // hk, sk, -1).sum(2)

    return (numpy.einsum("bhqk,bhkd->bhqd", ds, kg), of_group(numpy.einsum("bhqk,bhqd->bhkd", ds, q)),
            of_group(numpy.einsum("bhqk,bhqd->bhkd", p, dout)))


@pytest.mark.parametrize("variant", ["reference", "sable"])
def test_the_golden_gradients_are_met(run, tmp_path, variant):
    case = json.loads((CASES / "tiny_full_grad.json").read_text())
    q, dout = (tensor(case, n, (case["B"], case["H"], case["Sq"], case["D"])) for n in (0, 3))
    k, v = (tensor(case, n, (case["B"], case["Hk"], case["Sk"], case["D"])) for n in (1, 2))
    found = differentiate(run, tmp_path, "-V", variant, q=q, k=k, v=v, dout=dout, threads=2,
                          attributes={"causal": int(case["causal"]), "scale": case["scale"]})
    for name, array in zip(GRADIENTS, found):
        assert len(case[f"{name}_samples"]) == array.size
        for index, expected in case[f"{name}_samples"]:
            assert abs(array.ravel()[index] - expected) <= case[f"{name}_tol"], (name, index)


@pytest.mark.parametrize("shape", [  # B, H, Hk, Sq, Sk, D, Dv
    (1, 1, 1, 1, 1, 1, 1), (2, 4, 2, 65, 63, 7, 5), (1, 1, 1, 130, 130, 80, 80), (1, 1, 1, 5, 700, 72, 72),
    (1, 2, 1, 200, 20, 3, 9), (1, 1, 1, 129, 1025, 192, 128)], ids=str)
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_any_shape_agrees_with_float64(run, tmp_path, shape, mask):
    b, h, hk, sq, sk, d, dv = shape
    q, k, v, dout = some(b, h, sq, d), some(b, hk, sk, d, seed=6), some(b, hk, sk, dv, seed=7), some(b, h, sq, dv, seed=8)
    found = differentiate(run, tmp_path, "-s", f"mask={mask}", q=q, k=k, v=v, dout=dout)
    for name, array, expected in zip(GRADIENTS, found, exact(q, k, v, dout, mask == "causal")):
        numpy.testing.assert_allclose(array, expected, rtol=0, atol=2e-5, err_msg=name)
    if mask == "causal" and sq > sk:
        assert (found[0][:, :, : sq - sk] == 0).all()


@pytest.mark.parametrize("spoilt", [numpy.nan, numpy.inf])
def test_hidden_pairs_change_no_bit_even_if_they_are_not_finite(run, tmp_path, spoilt):
    arrays = dict(q=some(1, 2, 150, 16), k=some(1, 1, 150, 16, seed=6), v=some(1, 1, 150, 16, seed=7),
                  dout=some(1, 2, 150, 16, seed=8))
    dq, dk, dv = differentiate(run, tmp_path, attributes={"causal": 1}, **arrays)
    for at in (1, 70, 149):
        later = {name: array.copy() for name, array in arrays.items()}
        later["k"][:, :, at:] = spoilt
        later["v"][:, :, at:] = spoilt
        found = differentiate(run, tmp_path, attributes={"causal": 1}, **later)[0]
        assert (found[:, :, :at].view("u4") == dq[:, :, :at].view("u4")).all(), at
        earlier = {name: array.copy() for name, array in arrays.items()}
        earlier["q"][:, :, :at] = spoilt
        earlier["dout"][:, :, :at] = spoilt
        _, found_k, found_v = differentiate(run, tmp_path, attributes={"causal": 1}, **earlier)
        assert (found_k[:, :, at:].view("u4") == dk[:, :, at:].view("u4")).all(), at
        assert (found_v[:, :, at:].view("u4") == dv[:, :, at:].view("u4")).all(), at


@pytest.mark.parametrize("mask", ["full", "causal"])
def test_a_pipeline_gives_the_same_bits_and_sends_what_the_model_says(run, tmp_path, mask):
    digests = set()
    for strategy in ("heads", "pipeline"):
        for ranks in (1, 2, 5):
            told = run("run", "attention/backward", *ONCE, "-c", "T", "-s", f"strategy={strategy}", "-s",
                       f"mask={mask}", "-o", "out.h5", "--force", "--json", ranks=ranks)
            assert told.code == 0, told
            digests.add(told.json["runs"][0]["digest"])
            with h5py.File(tmp_path / "out.h5") as file:
                counters = file["runs/attention/backward/sable/counters"][()]
            sent = (ranks - 1) * 4 * 2 * 6 * 77 * 20 if strategy == "pipeline" else 0
            assert counters["bytes_sent"].sum() == counters["bytes_network_model"].sum() == sent
            assert counters["items"].sum() == 2 * 5 * 20 * 12 * (77 * 131 - (77 * 76 // 2 if mask == "causal" else 0))
    assert len(digests) == 1, digests


@pytest.mark.parametrize("fault", ["stale_keys", "lost_rows", "lost_keys", "flip_bit"])
def test_a_fault_of_a_pipeline_is_seen(run, fault):
    told = run("run", "attention/backward", *ONCE, "-c", "T", "-s", "strategy=pipeline", "--inject-fault", fault, ranks=3)
    assert told.code == 1, told


def test_a_gradient_of_another_shape_is_refused(run, tmp_path):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        file["q"], file["dout"] = some(1, 2, 4, 8), some(1, 2, 5, 8)
    failed_with(run("run", "attention/backward", *ONCE, "-i", "input.h5"), 2, "dout")
