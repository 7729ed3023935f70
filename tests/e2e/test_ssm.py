"""State-space models against the golden cases in tests/cases/ssm (float64, each found by two methods)."""

import h5py
import numpy
import pytest
import scipy.linalg

from conftest import SOURCE
from launcher import ONCE, failed_with

CASES = SOURCE / "tests/cases/ssm"
U32 = 2.0**-24


def case(name):
    with h5py.File(CASES / f"{name}.h5") as file:
        return {key: data[()] for key, data in file.items()}


def compute(run, tmp_path, workload, path, *settings, variant="sable", **options):
    """The stored outputs of one run on the file `path`."""
    told = run("run", workload, *ONCE, "--keep", "full", "-i", path, "-o", "out.h5", "--force", "-V", variant, *settings, **options)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file[f"runs/{workload}/{variant}/outputs"].items()}


def write(tmp_path, **arrays):
    with h5py.File(tmp_path / "input.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return tmp_path / "input.h5"


def assert_near(found, expected, roundings):
    """Within so many single-precision roundings of the largest value."""
    assert found.shape == expected.shape
    assert numpy.abs(found - expected).max() <= roundings * U32 * numpy.abs(expected).max()


# ---- mamba ----


@pytest.mark.parametrize("variant", ["reference", "sable"])
@pytest.mark.parametrize("ranks", [None, 3])
def test_mamba_gives_the_golden_outputs(run, tmp_path, variant, ranks):
    golden = case("mamba_gated")
    found = compute(run, tmp_path, "ssm/mamba", CASES / "mamba_gated.h5", variant=variant, ranks=ranks)
    # Inputs are rounded to single precision: a few roundings each, and Δ A of up to 20 in the exponent.
    assert_near(found["y"], golden["y"], 64)
    assert_near(found["state"], golden["state"], 64)


def test_mamba_without_a_gate_is_the_gated_one_divided_by_silu(run, tmp_path):
    golden = case("mamba_gated")
    z = golden.pop("z")
    path = write(tmp_path, **{name: golden[name] for name in ("u", "delta_raw", "a", "b", "c", "d", "delta_bias")})
    found = compute(run, tmp_path, "ssm/mamba", path)
    assert_near(found["y"] * z / (1 + numpy.exp(-z)), golden["y"], 128)


def test_a_constant_through_mamba_has_its_closed_form(run, tmp_path):
    """Constant Δ, B, u: x_t = Δ B u (1 − q^t)/(1 − q) with q = exp(Δ A), also for Δ of 1e-6 and 10."""
    length, deltas, rates = 3000, numpy.array([1e-6, 1e-3, 0.1, 10]), numpy.array([-1e-3, -1.0, -30.0])
    bias = numpy.where(deltas > 5, deltas + numpy.log(-numpy.expm1(-deltas)), numpy.log(numpy.expm1(deltas)))
    ones = numpy.ones((1, 3, length))
    path = write(
        tmp_path, u=numpy.full((1, 4, length), 0.5), delta_raw=numpy.zeros((1, 4, length)), a=numpy.tile(rates, (4, 1)),
        b=ones, c=ones, d=numpy.zeros(4), delta_bias=bias,
    )  # fmt: skip
    state = compute(run, tmp_path, "ssm/mamba", path)["state"][0]
    bias = bias.astype("f4").astype("f8")
    rates = rates.astype("f4").astype("f8")
    exponent = numpy.log1p(numpy.exp(bias))[:, None] * rates
    exact = 0.5 * numpy.log1p(numpy.exp(bias))[:, None] * numpy.expm1(length * exponent) / numpy.expm1(exponent)
    # Each step rounds q to 2 ulp and x to 1/2: at most 5 u of x a step, over no more steps than the state remembers.
    memory = numpy.minimum(length, 1 / -numpy.expm1(exponent))
    assert (numpy.abs(state - exact) <= 6 * U32 * memory * numpy.abs(exact) + 20 * U32 * exact).all()


@pytest.mark.parametrize("strategy", ["channels", "batch", "sequence"])
def test_mamba_gives_the_same_bits_by_any_strategy(run, tmp_path, strategy):
    expected = compute(run, tmp_path, "ssm/mamba", CASES / "mamba_gated.h5")["y"]
    found = compute(run, tmp_path, "ssm/mamba", CASES / "mamba_gated.h5", "-s", f"strategy={strategy}", ranks=5)
    assert found["y"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("variant", ["reference", "sable"])
def test_mamba_over_time_has_the_bits_of_one_rank_also_where_a_rank_has_no_step(run, tmp_path, variant):
    golden = case("mamba_gated")
    short = {name: golden[name] if golden[name].ndim < 3 else golden[name][:, :, :4] for name in golden if name not in ("y", "state")}
    path = write(tmp_path, **short)
    expected = compute(run, tmp_path, "ssm/mamba", path, variant=variant)
    found = compute(run, tmp_path, "ssm/mamba", path, "-s", "strategy=sequence", variant=variant, ranks=6)
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("fault", ["lost_carry", "shift", "skip_block", "flip_bit", "nan"])
def test_every_fault_is_seen_in_mamba_over_time(run, fault):
    told = run("run", "ssm/mamba", "-c", "T", *ONCE, "-s", "strategy=sequence", "--inject-fault", fault, "-V", "all", ranks=3)
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL"] * 2), told


def test_mamba_refuses_arrays_that_do_not_fit_together(run, tmp_path):
    golden = case("mamba_gated")

    def refused(*words, **change):
        arrays = {**golden, **change}
        failed_with(run("run", "ssm/mamba", *ONCE, "-i", write(tmp_path, **arrays)), 2, *words)

    refused("'b'", "instead of", b=golden["b"][:, :, :-1])
    refused("'a'", "at most 0", a=-golden["a"])
    refused("'u'", "not finite", u=golden["u"] * numpy.inf)
    refused("'u'", "dimensions", u=golden["u"][0])
    refused("'d'", "real", d=golden["d"] + 0j)


def test_the_largest_sizes_are_refused_and_not_wrapped(run):
    failed_with(run("run", "ssm/mamba", "-s", "length=1000000000000", "-s", "batch=1000000000"), 2, "64 bits")
    failed_with(run("run", "ssm/mamba", "-s", "length=1000000000", "-s", "channels=100000"), 3, "GiB on a rank")


# ---- hippo ----

LEGS = [("legs_mix", 32), ("legs_polynomial", 8)]


@pytest.mark.parametrize("name, order", LEGS)
@pytest.mark.parametrize("rule", ["bilinear", "zoh"])
@pytest.mark.parametrize("variant, ranks", [("reference", None), ("sable", None), ("sable", 2)])
def test_legs_gives_the_golden_coefficients(run, tmp_path, name, order, rule, variant, ranks):
    expected = case(name)[f"coefficients_{rule}"]
    rules = ("-s", f"order={order}", "-s", f"discretisation={rule}")
    found = compute(run, tmp_path, "ssm/hippo", CASES / f"{name}.h5", *rules, variant=variant, ranks=ranks)["coefficients"]
    # The signal is rounded to single precision (half a unit of 2^-23); steps of single precision add some.
    single = variant == "sable" and rule == "bilinear"
    assert_near(found, expected, 40 if single else 1)


def legendre_signal(length, order):
    """Values between steps that are exact averages of 2 x^2 - x over each step: its projection has three terms."""
    edge = numpy.arange(length + 1) / length
    mean = numpy.diff(2 * edge**3 / 3 - edge**2 / 2) * length
    return mean.astype("f4").astype("f8")[:, None], numpy.r_[1 / 6, 1 / (2 * 3**0.5), 1 / (3 * 5**0.5), numpy.zeros(order - 3)]


def test_both_rules_converge_to_the_projection_bilinear_from_nearer(run, tmp_path):
    """At first order, bilinear, too: the equation is singular at t = 0, where the steps start from nothing."""
    error = {"bilinear": [], "backward": []}
    for rule, length in ((rule, length) for rule in error for length in (400, 800, 1600)):
        signal, exact = legendre_signal(length, 6)
        rules = ("-s", "order=6", "-s", f"discretisation={rule}")
        found = compute(run, tmp_path, "ssm/hippo", write(tmp_path, signal=signal), *rules, variant="reference")
        error[rule].append(numpy.abs(found["coefficients"][:, 0] - exact).max())
    for found in error.values():
        halvings = numpy.log2(numpy.array(found[:-1]) / found[1:])
        assert (halvings > 0.95).all() and (halvings < 1.05).all(), error
    assert error["bilinear"][-1] < error["backward"][-1] / 3, error


def test_a_polynomial_is_reconstructed(run, tmp_path):
    signal, exact = legendre_signal(1600, 6)
    rules = ("-s", "order=6", "-s", "discretisation=zoh")
    found = compute(run, tmp_path, "ssm/hippo", write(tmp_path, signal=signal), *rules)
    x = (numpy.arange(64) + 0.5) / 64
    # f less its mean over a step, against a change of p_n over it: at most h^2/12 max|f'| max|p_n'| in coefficient n,
    # h^2/4 (2n + 1)^(1/2) n (n + 1), and (2n + 1)^(1/2) times that in the sum.
    n, h2 = numpy.arange(6), 1 / 1600**2
    bound = h2 / 4 * (2 * n + 1) ** 0.5 * n * (n + 1) + U32
    assert (numpy.abs(found["coefficients"][:, 0] - exact) <= bound).all()
    assert (numpy.abs(found["reconstruction"][:, 0] - (2 * x**2 - x)) <= (bound * (2 * n + 1) ** 0.5).sum()).all()


def test_hippo_refuses_what_is_no_signal(run, tmp_path):
    failed_with(run("run", "ssm/hippo", *ONCE, "-i", write(tmp_path, other=numpy.zeros(3))), 2, "signal")
    failed_with(run("run", "ssm/hippo", *ONCE, "-i", write(tmp_path, signal=numpy.zeros(3))), 2, "dimensions")
    failed_with(run("run", "ssm/hippo", *ONCE, "-i", write(tmp_path, signal=numpy.full((3, 2), numpy.nan))), 2, "not finite")


WINDOWS = ["legt", "lagt", "fout"]


def stepped(measure, rule, order, h, signal):
    """The coefficients by NumPy and SciPy from the golden A and B."""
    golden = case("hippo_matrices")
    a, b, one = golden[f"{measure}_{order}_A"], golden[f"{measure}_{order}_B"], numpy.eye(order)
    if rule == "zoh":
        whole = scipy.linalg.expm(h * numpy.block([[a, b[:, None]], [numpy.zeros((1, order + 1))]]))
        next, gain = whole[:order, :order], whole[:order, order]
    else:
        before = {"bilinear": h / 2, "backward": 0, "forward": h}[rule]
        left = one - (h - before) * a
        next, gain = numpy.linalg.solve(left, one + before * a), numpy.linalg.solve(left, h * b)
    c = numpy.zeros((order, signal.shape[1]))
    for row in signal:
        c = next @ c + gain[:, None] * row
    return c


@pytest.mark.parametrize("measure", WINDOWS)
@pytest.mark.parametrize("rule", ["bilinear", "backward", "zoh", "forward"])
@pytest.mark.parametrize("variant, ranks", [("reference", None), ("sable", 3)])
def test_windows_give_the_coefficients_of_the_golden_matrices(run, tmp_path, measure, rule, variant, ranks):
    signal = numpy.random.default_rng(6).standard_normal((500, 5)).astype("f4").astype("f8")
    h = 1 / 300 if measure == "lagt" else 2 / 300
    rules = ("-s", "order=8", "-s", "window=300", "-s", f"measure={measure}", "-s", f"discretisation={rule}")
    found = compute(run, tmp_path, "ssm/hippo", write(tmp_path, signal=signal), *rules, variant=variant, ranks=ranks)
    assert_near(found["coefficients"], stepped(measure, rule, 8, h, signal), 200 if variant == "sable" else 2e-4)


@pytest.mark.parametrize("measure", ["legt", "fout"])
def test_the_last_window_is_reconstructed(run, tmp_path, measure):
    """One period of a wave that turns through the window, which both bases hold but for the rule's own error."""
    at = numpy.arange(2000) + 0.5
    signal = numpy.sin(2 * numpy.pi * at / 1000)[:, None]
    rules = ("-s", "order=16", "-s", "window=1000", "-s", f"measure={measure}")
    found = compute(run, tmp_path, "ssm/hippo", write(tmp_path, signal=signal), *rules)["reconstruction"][:, 0]
    assert numpy.abs(found - numpy.sin(2 * numpy.pi * (numpy.arange(64) + 0.5) / 64)).max() < 0.02


def test_an_unstable_forward_rule_is_refused(run):
    failed_with(run("run", "ssm/hippo", "-c", "T", *ONCE, "-s", "discretisation=forward"), 2, "not stable")
    rules = ("-s", "discretisation=forward", "-s", "measure=legt", "-s", "window=20")
    failed_with(run("run", "ssm/hippo", "-c", "T", *ONCE, *rules), 2, "not stable", "order=19")


@pytest.mark.parametrize("measure, window", [("lagt", 3000), ("fout", 3000), ("legt", 3000)])
def test_a_stable_forward_rule_is_not_refused(run, measure, window):
    """Of an odd order, 19, with a step below 2 |Re|/|.|^2 of all eigenvalues that a signal reaches."""
    rules = ("-s", "discretisation=forward", "-s", f"measure={measure}", "-s", f"window={window}")
    told = run("run", "ssm/hippo", "-c", "T", *ONCE, *rules, "-V", "all")
    assert told.code == 0 and "FAIL" not in told.out, told


@pytest.mark.parametrize("measure", WINDOWS)
@pytest.mark.parametrize("fault", ["lost_carry", "shift", "skip_block", "flip_bit", "nan"])
@pytest.mark.parametrize("ranks", [None, 3])
def test_every_fault_is_seen_in_every_window(run, measure, fault, ranks):
    told = run("run", "ssm/hippo", "-c", "T", *ONCE, "-s", f"measure={measure}", "--inject-fault", fault, "-V", "all", ranks=ranks)
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL"] * len(told.foms)), told


@pytest.mark.parametrize("rule", ["backward", "zoh"])
@pytest.mark.parametrize("fault", ["lost_carry", "shift", "skip_block", "flip_bit", "nan"])
def test_every_fault_is_seen_by_every_rule(run, rule, fault):
    told = run("run", "ssm/hippo", "-c", "T", *ONCE, "-s", f"discretisation={rule}", "--inject-fault", fault, "-V", "all")
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL"] * len(told.foms)), told


# ---- scan ----

SCAN = CASES / "scan.h5"
BY = [("strategy=channels",), ("strategy=sequence", "chunk=16"), ("strategy=sequence", "chunk=7")]


def settings(by):
    return [word for setting in by for word in ("-s", setting)]


@pytest.mark.parametrize("by", BY, ids="-".join)
@pytest.mark.parametrize("variant, ranks", [("reference", 3), ("sable", None), ("sable", 3)])
def test_scan_gives_the_golden_states(run, tmp_path, by, variant, ranks):
    golden = case("scan")
    found = compute(run, tmp_path, "ssm/scan", SCAN, *settings(by), variant=variant, ranks=ranks)
    assert_near(found["x"][15::16], golden["x_every_16"], 64)
    assert_near(found["state"], golden["x_last"], 64)
    assert_near(found["x"].astype("c16").sum(axis=0), golden["x_sum"], 64)


@pytest.mark.parametrize("by", BY, ids="-".join)
def test_a_scan_has_the_same_bits_on_any_ranks_and_threads(run, tmp_path, by):
    same = {}
    for ranks, threads in ((None, 3), (2, 2), (5, 1)):
        found = compute(run, tmp_path, "ssm/scan", SCAN, *settings(by), ranks=ranks, threads=threads)
        same[ranks, threads] = found["x"].tobytes() + found["state"].tobytes()
    assert len(set(same.values())) == 1


@pytest.mark.parametrize("ranks, threads", [(None, 1), (None, 3), (3, 1)])
@pytest.mark.parametrize("sizes", [(1, 1), (5, 13)])
def test_native_carries_are_right_and_not_digested(run, tmp_path, ranks, threads, sizes):
    rng = numpy.random.default_rng(9)
    a = (rng.uniform(0.5, 1, sizes) * numpy.exp(1j * rng.uniform(0, 3, sizes))).astype("c8")
    b = (rng.standard_normal((1301, *sizes)) + 1j * rng.standard_normal((1301, *sizes))).astype("c8")
    rules = ("-s", "strategy=sequence", "-s", "carries=native")
    found = compute(run, tmp_path, "ssm/scan", write(tmp_path, a=a, b=b), *rules, ranks=ranks, threads=threads)
    x, all = numpy.zeros(sizes, "c16"), []
    for step in b:
        x = a * x + step
        all.append(x)
    assert_near(found["x"], numpy.array(all), 200)
    fixed = run("run", "ssm/scan", "-c", "T", *ONCE, "-s", "strategy=sequence", "--json").json["runs"][0]["digest"]
    native = run("run", "ssm/scan", "-c", "T", *ONCE, *rules, "--json").json["runs"][0]["digest"]
    assert native != fixed


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (3, 5), (5, 13)])
def test_chunks_in_lanes_give_the_bits_of_chunks_in_turn(run, tmp_path, sizes):
    """SIMD levels differ in lanes, so they cut M and the chunks in other places."""
    channels, states = sizes
    rules = ("-s", f"channels={channels}", "-s", f"states={states}", "-s", "length=1301", "-s", "chunk=37", "-s", "strategy=sequence")
    digests = set()
    for level in ("base", "v3", "v4"):
        told = run("run", "ssm/scan", *ONCE, *rules, "--json", env={"SABLE_ISA": level})
        if told.code != 2:
            assert told.code == 0, told
            digests.add(told.json["runs"][0]["digest"])
    assert len(digests) == 1


def test_a_long_scan_of_one_state_has_the_same_bits_in_one_pass_and_in_two(run):
    """One rank goes through time once, x around the caches; two ranks read b twice."""
    rules = ("-s", "channels=1", "-s", "states=1", "-s", "length=2200001", "-s", "strategy=sequence")
    digests = set()
    for level, ranks, threads in (("v4", None, 1), ("v4", None, 2), ("v3", None, 1), ("v4", 2, 1)):
        told = run("run", "ssm/scan", *ONCE, *rules, "--json", env={"SABLE_ISA": level}, ranks=ranks, threads=threads)
        assert told.code == 0, told
        digests.add(told.json["runs"][0]["digest"])
    assert len(digests) == 1


def test_a_constant_through_a_scan_has_its_closed_form_also_where_a_is_nearly_one(run, tmp_path):
    """x_t = b (1 − a^(t+1))/(1 − a)."""
    a = numpy.array([[0.5, 0.999, 1 - 2.0**-18, -0.9, 0.99j, 0.7 - 0.7j]]).astype("c8")
    b = numpy.full((5000, 1, 6), 1 + 0.5j)
    steps = numpy.arange(1, 5001)[:, None, None]
    wide = a.astype("c16")
    exact = (1 + 0.5j) * (1 - wide**steps) / (1 - wide)
    # Each step adds at most 4 roundings of |x| or so, over no more steps than the state remembers.
    memory = numpy.minimum(5000, 1 / (1 - numpy.abs(wide)))
    for by in BY[:2]:
        found = compute(run, tmp_path, "ssm/scan", write(tmp_path, a=a, b=b), *settings(by))["x"]
        assert (numpy.abs(found - exact) <= 6 * U32 * memory * numpy.abs(exact).max(axis=0)).all()


@pytest.mark.parametrize("ranks, threads", [(None, 1), (2, 1), (3, 2), (5, 1), (9, 1)])
def test_carries_of_a_scan_are_as_many_bytes_as_the_model_says(run, tmp_path, ranks, threads):
    """Ends of a rank's chunks go to the slices of others, seeds of its slice to the chunks of others; 8 bytes each."""
    states, length, chunk, ranks = 7, 2003, 17, ranks or 1
    told = run("run", "ssm/scan", "-c", "T", *ONCE, "-s", "strategy=sequence", "-o", "out.h5", ranks=None if ranks == 1 else ranks, threads=threads)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        counters = file["runs/ssm/scan/sable/counters"][()]

    def share(items, rank):
        return items // ranks + (rank < items % ranks)

    all = -(-length // chunk)
    sent = [8 * (share(all, r) * (states - share(states, r)) + (all - share(all, r)) * share(states, r)) for r in range(ranks)]
    assert counters["bytes_sent"].tolist() == counters["bytes_network_model"].tolist() == sent
    assert counters["messages"].tolist() == counters["messages_model"].tolist() == [2 * (ranks - 1)] * ranks


@pytest.mark.parametrize("fault", ["lost_carry", "shift", "skip_block", "flip_bit", "nan"])
@pytest.mark.parametrize("ranks", [None, 3])
@pytest.mark.parametrize("sizes", ["channels=7", "channels=30"])  # lanes over chunks, over states
def test_every_fault_is_seen_over_time(run, sizes, fault, ranks):
    told = run("run", "ssm/scan", "-c", "T", *ONCE, "-s", "strategy=sequence", "-s", sizes, "--inject-fault", fault, "-V", "all", ranks=ranks)
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL"] * len(told.foms)), told


@pytest.mark.parametrize("fault", ["lost_carry", "shift", "skip_block", "flip_bit", "nan"])
def test_every_fault_is_seen_over_channels_too(run, fault):
    told = run("run", "ssm/scan", "-c", "T", *ONCE, "-s", "strategy=channels", "--inject-fault", fault, "-V", "all", ranks=3)
    assert (told.code, [fom[-1] for fom in told.foms]) == (1, ["FAIL"] * len(told.foms)), told


def test_scan_refuses_what_grows_or_does_not_fit(run, tmp_path):
    golden = case("scan")
    arrays = {name: golden[name] for name in ("a", "b", "x0")}

    def refused(*words, **change):
        failed_with(run("run", "ssm/scan", *ONCE, "-i", write(tmp_path, **{**arrays, **change})), 2, *words)

    refused("'a'", "more than 1", a=arrays["a"] / abs(arrays["a"]) * 1.01)
    refused("'b'", "complex", b=arrays["b"].real)
    refused("'x0'", "instead of", x0=arrays["x0"][:1])
    refused("'b'", "not finite", b=arrays["b"] * numpy.nan)
    failed_with(run("run", "ssm/scan", "-s", "length=1000000000000000", "-s", "channels=1", "-s", "chunk=1"), 2, "chunk")
