"""State-space models against the golden cases in tests/cases/ssm (float64, each found by two methods)."""

import h5py
import numpy
import pytest

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


@pytest.mark.parametrize("strategy", ["channels", "batch", "auto"])
def test_mamba_gives_the_same_bits_by_any_strategy(run, tmp_path, strategy):
    expected = compute(run, tmp_path, "ssm/mamba", CASES / "mamba_gated.h5")["y"]
    for ranks in (2, 5):
        found = compute(run, tmp_path, "ssm/mamba", CASES / "mamba_gated.h5", "-s", f"strategy={strategy}", ranks=ranks)
        assert found["y"].tobytes() == expected.tobytes()


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
