"""attention/varlen: packed sequences, each as attention/prefill has it alone."""

import json

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with
from test_attention import CASES, assert_samples, attend, exact, some, tensor

VARLEN = "attention/varlen"
STRATEGIES = ["heads", "sequences"]
LENGTHS = [(5, 5), (0, 3), (64, 64), (1, 77), (100, 60), (7, 0), (130, 300), (0, 0), (65, 64)]  # queries, keys


def packed(lengths, heads=4, kv_heads=2, dim=24, dim_v=17):
    tq, tk = (sum(n[i] for n in lengths) for i in (0, 1))
    return some(tq, heads, dim), some(tk, kv_heads, dim, seed=6), some(tk, kv_heads, dim_v, seed=7)


def places(lengths, which):
    return numpy.cumsum([0, *(n[which] for n in lengths)])


def write(tmp_path, q, k, v, cu_q, cu_k, **attributes):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        file["q"], file["k"], file["v"] = (numpy.asarray(x, "f4") for x in (q, k, v))
        file["cu_seqlens_q"], file["cu_seqlens_k"] = numpy.asarray(cu_q, "i4"), numpy.asarray(cu_k, "i4")
        file.attrs.update(attributes)


def attend_packed(run, tmp_path, *settings, ranks=None, threads=1, env=None):
    told = run("run", VARLEN, *ONCE, "--keep", "full", "-i", "input.h5", "-o", "packed.h5", "--force", *settings,
               ranks=ranks, threads=threads, env=env)
    assert told.code == 0, told
    with h5py.File(tmp_path / "packed.h5") as file:
        outputs = next(iter(file[f"runs/{VARLEN}"].values()))["outputs"]
        return outputs["out"][()], outputs["lse"][()]


def same(a, b):
    return (a.view("u4") == b.view("u4")).all()


@pytest.mark.parametrize("variant", ["reference", "sable"])
@pytest.mark.parametrize("ranks, strategy", [(None, "heads"), (3, "heads"), (3, "sequences")])
def test_the_golden_case_is_met_within_the_tight_bound(run, tmp_path, variant, ranks, strategy):
    case = json.loads((CASES / "varlen_packed.json").read_text())
    cu_q, cu_k = case["cu_seqlens_q"], case["cu_seqlens_k"]
    q = tensor(case, 0, (cu_q[-1], case["H"], case["D"]))
    k, v = (tensor(case, n, (cu_k[-1], case["Hk"], case["D"])) for n in (1, 2))
    write(tmp_path, q, k, v, cu_q, cu_k, causal=int(case["causal"]), scale=case["scale"])
    out, lse = attend_packed(run, tmp_path, "-V", variant, "-s", f"strategy={strategy}", ranks=ranks, threads=2)
    assert out.shape == q.shape and lse.shape == q.shape[:2]
    assert_samples(case, out, lse, quality=True)


@pytest.mark.parametrize("variant", ["openblas", "onednn", "libxsmm"])
@pytest.mark.parametrize("causal, ranks, strategy", [(0, None, "heads"), (1, None, "heads"), (1, 3, "heads"),
                                                     (1, 3, "sequences")])
def test_peers_agree_with_float64_and_name_their_library(run, tmp_path, workloads, variant, causal, ranks, strategy):
    """Sequences without queries or keys, shorter and longer than a block of rows; grouped heads; rows that see nothing."""
    if variant not in workloads[VARLEN]["peers"]:
        pytest.skip(f"sable was built without {variant}")
    q, k, v = packed(LENGTHS)
    cu_q, cu_k = places(LENGTHS, 0), places(LENGTHS, 1)
    write(tmp_path, q, k, v, cu_q, cu_k, causal=causal)
    out, lse = attend_packed(run, tmp_path, "-V", variant, "-s", f"strategy={strategy}", ranks=ranks, threads=2)
    for i, (queries, keys) in enumerate(LENGTHS):
        rows, seen = slice(cu_q[i], cu_q[i + 1]), slice(cu_k[i], cu_k[i + 1])
        if queries == 0:
            continue
        if keys == 0:
            assert (out[rows] == 0).all() and (lse[rows] == -numpy.inf).all()
            continue
        expected, expected_lse = exact(*(x.swapaxes(0, 1)[None] for x in (q[rows], k[seen], v[seen])), causal)
        numpy.testing.assert_allclose(out[rows], expected[0].swapaxes(0, 1), rtol=0, atol=5e-6)
        numpy.testing.assert_allclose(lse[rows], expected_lse[0].swapaxes(0, 1), rtol=0, atol=5e-6)
    with h5py.File(tmp_path / "packed.h5") as file:
        library = file[f"runs/{VARLEN}/{variant}"].attrs["peer_library"].decode()
    assert library.startswith({"openblas": "OpenBLAS", "onednn": "oneDNN", "libxsmm": "LIBXSMM"}[variant])


@pytest.mark.parametrize("causal", [0, 1])
def test_each_sequence_has_the_bits_that_prefill_gives_it_alone(run, tmp_path, causal):
    q, k, v = packed(LENGTHS)
    cu_q, cu_k = places(LENGTHS, 0), places(LENGTHS, 1)
    write(tmp_path, q, k, v, cu_q, cu_k, causal=causal)
    out, lse = attend_packed(run, tmp_path, "-s", "leaf=32", threads=2)
    for i, (queries, keys) in enumerate(LENGTHS):
        a, b = slice(cu_q[i], cu_q[i + 1]), slice(cu_k[i], cu_k[i + 1])
        if queries == 0:
            continue
        if keys == 0:
            assert (out[a] == 0).all() and (lse[a] == -numpy.inf).all()
            continue
        alone, alone_lse = attend(run, tmp_path, "-s", "leaf=32", q=q[None, a].swapaxes(1, 2),
                                  k=k[None, b].swapaxes(1, 2), v=v[None, b].swapaxes(1, 2),
                                  attributes={"causal": causal})
        assert same(out[a], alone[0].swapaxes(0, 1).copy()) and same(lse[a], alone_lse[0].T.copy()), i


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_bits_do_not_depend_on_how_ranks_share_the_work(run, tmp_path, kv_heads):
    cu_q, cu_k = places(LENGTHS, 0), places(LENGTHS, 1)
    write(tmp_path, *packed(LENGTHS, kv_heads=kv_heads), cu_q, cu_k, causal=1)
    out, lse = attend_packed(run, tmp_path)
    for strategy in STRATEGIES:
        for ranks in (2, 5, 11):
            found, found_lse = attend_packed(run, tmp_path, "-s", f"strategy={strategy}", ranks=ranks)
            assert same(out, found) and same(lse, found_lse), (strategy, ranks)


def test_no_sequence_sees_another(run, tmp_path):
    """Not even where the others are not finite."""
    cu_q, cu_k = places(LENGTHS, 0), places(LENGTHS, 1)
    q, k, v = packed(LENGTHS)
    write(tmp_path, q, k, v, cu_q, cu_k, causal=0)
    out, lse = attend_packed(run, tmp_path)
    for i in (0, 2, 4, 6):
        rows, keys = slice(cu_q[i], cu_q[i + 1]), slice(cu_k[i], cu_k[i + 1])
        q2, k2, v2 = (numpy.full_like(x, numpy.nan) for x in (q, k, v))
        q2[rows], k2[keys], v2[keys] = q[rows], k[keys], v[keys]
        write(tmp_path, q2, k2, v2, cu_q, cu_k, causal=0)
        found, found_lse = attend_packed(run, tmp_path)
        assert same(out[rows], found[rows]) and same(lse[rows], found_lse[rows]), i


def drawn(run, tmp_path, *settings):
    told = run("run", VARLEN, *ONCE, "-c", "T", "-s", "heads=1", "-s", "kv_heads=1", "-s", "dim=1", "-s", "dim_v=1",
               "--keep", "full", "-o", "out.h5", "--force", *[word for s in settings for word in ("-s", s)])
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        outputs = file[f"runs/{VARLEN}/sable/outputs"]
        return numpy.diff(outputs["cu_seqlens_q"][()]), numpy.diff(outputs["cu_seqlens_k"][()])


def test_lengths_have_the_distribution_that_is_asked_for(run, tmp_path):
    n, mean = 400, 60

    def lengths(name):
        return drawn(run, tmp_path, f"sequences={n}", f"queries={mean}", "keys=30", f"lengths={name}")

    assert [set(x) for x in lengths("fixed")] == [{60}, {30}]
    for x, m in zip(lengths("uniform"), (60, 30)):
        assert x.min() >= 0 and x.max() <= 2 * m and abs(x.mean() - m) < 5 * m / (3 * n) ** 0.5
    for x, m in zip(lengths("geometric"), (60, 30)):
        assert abs(x.mean() - m) < 5 * (m * (m + 1) / n) ** 0.5 and abs((x >= m).mean() - (m / (m + 1)) ** m) < 0.13
    for x, m in zip(lengths("zipf"), (60, 30)):
        descending = numpy.sort(x)[::-1]
        expected = m * n / (1 / numpy.arange(1, n + 1)).sum() / numpy.arange(1, n + 1)
        assert abs(descending - expected).max() <= 0.5 and (x != descending).any()
    q, k = drawn(run, tmp_path, "sequences=20", "keys=0", "lengths=uniform")
    assert (q == k).all() and len(set(q)) > 5


def test_lengths_do_not_depend_on_the_seed_but_values_do(run, tmp_path):
    first, second = (run("run", VARLEN, *ONCE, "-c", "T", "--seed", seed, "--json", "-o", f"{seed}.h5") for seed in "12")
    assert first.json["runs"][0]["digest"] != second.json["runs"][0]["digest"]
    with h5py.File(tmp_path / "1.h5") as one, h5py.File(tmp_path / "2.h5") as two:
        at = f"runs/{VARLEN}/sable/outputs/cu_seqlens_q"
        assert (one[at][()] == two[at][()]).all()


def test_whole_sequences_are_shared_by_work(run, tmp_path):
    """By the lengths alone: flops of the busiest rank near their mean."""
    told = run("run", VARLEN, *ONCE, "-c", "T", "-s", "sequences=200", "-s", "lengths=uniform", "-s",
               "strategy=sequences", "-o", "out.h5", ranks=3)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        flops = file[f"runs/{VARLEN}/sable/counters"]["flops_fp32"]
    assert flops.max() < 1.02 * flops.mean()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_fault_is_seen_in_a_sample_too(run, strategy):
    size = ["-s", "queries=700", "-s", "keys=600", "-s", "leaf=64", "-s", "sequences=10", "-s", f"strategy={strategy}"]
    for fault in ("leaked_key", "top_left", "flip_bit", "lost_rows", "wrong_rescale"):
        told = run("run", VARLEN, *ONCE, "-c", "T", *size, "--inject-fault", fault, ranks=2)
        assert told.code == 1, (fault, told)


def test_sequences_that_make_no_sense_are_refused(run, tmp_path):
    q, k, v = packed([(3, 4), (2, 5)])

    def refused(cu_q, cu_k, *words):
        write(tmp_path, q, k, v, cu_q, cu_k)
        failed_with(run("run", VARLEN, *ONCE, "-i", "input.h5"), 2, *words)

    refused([0, 3, 6], [0, 4, 9], "cu_seqlens_q", "6", "5")
    refused([0, 3, 5], [0, 10, 9], "cu_seqlens_k[2]", "9")
    refused([1, 3, 5], [0, 4, 9], "cu_seqlens_q", "begins")
    refused([0, 3, 5], [0, 9], "entries")
    refused([0, 0, 0], [0, 4, 9], "cu_seqlens_q", "0")
    with h5py.File(tmp_path / "input.h5", "w") as file:
        file["q"] = q
    failed_with(run("run", VARLEN, *ONCE, "-i", "input.h5"), 2, "cu_seqlens_q")
    failed_with(run("run", VARLEN, *ONCE, "-s", "heads=6", "-s", "kv_heads=4"), 2, "6", "4")


def test_lengths_alone_can_be_given(run, tmp_path):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        file["cu_seqlens_q"] = numpy.array([0, 70, 70, 71], "i8")
    out, lse = attend_packed(run, tmp_path, "-c", "T")
    assert out.shape == (71, 6, 13) and lse.shape == (71, 6)


def test_memory_is_predicted_from_the_input(run, tmp_path):
    def predicted(*arguments):
        told = run("run", VARLEN, "-c", "T", "--dry-run", "--json", *arguments)
        return told.json[0]["would_run"][0]["memory_per_rank"]

    with h5py.File(tmp_path / "input.h5", "w") as file:
        file.create_dataset("q", (300, 4, 24), "f4")
        file.create_dataset("k", (300, 2, 24), "f4")
        file.create_dataset("v", (300, 2, 16), "f4")
        file["cu_seqlens_q"] = numpy.arange(0, 301, 100)
    shape = ["sequences=3", "lengths=fixed", "queries=100", "keys=0", "heads=4", "kv_heads=2", "dim=24", "dim_v=16"]
    assert predicted("-i", "input.h5") == predicted(*[w for s in shape for w in ("-s", s)]) != predicted()
