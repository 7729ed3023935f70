"""ssm/s4 and ssm/s4d against the golden cases, closed forms, and each other's ways to the same answer."""

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

CASES = SOURCE / "tests/cases/ssm"
U32 = 2.0**-24
S4D_MODES = ["convolution", "recurrence", "chunked"]
S4_MODES = ["convolution", "recurrence", "dense"]
FAULTS = ["lost_carry", "wrong_chunk", "shift", "skip_block", "flip_bit", "nan", "wrong_pole"]


def case(name):
    with h5py.File(CASES / f"{name}.h5") as file:
        return {key: data[()] for key, data in file.items()}


def compute(run, tmp_path, workload, path, *settings, variant="sable", **options):
    """The stored outputs of one run on the file `path`."""
    words = [word for setting in settings for word in ("-s", setting)]
    told = run("run", workload, *ONCE, "--keep", "full", "-i", path, "-o", "out.h5", "--force", "-V", variant, *words, **options)
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


# ---- S4D ----


@pytest.mark.parametrize("name", ["s4d_lin", "s4d_inv"])
@pytest.mark.parametrize("mode", S4D_MODES)
@pytest.mark.parametrize("variant, ranks, strategy", [("reference", None, "auto"), ("sable", None, "auto"), ("sable", 3, "sequence"), ("fftw_convolution", None, "auto")])  # fmt: skip
def test_s4d_gives_the_golden_outputs(run, tmp_path, name, mode, variant, ranks, strategy):
    if variant == "fftw_convolution" and mode != "convolution":
        pytest.skip("it has one mode")
    golden = case(name)
    found = compute(run, tmp_path, "ssm/s4d", CASES / f"{name}.h5", f"mode={mode}", f"strategy={strategy}", "chunk=32", variant=variant, ranks=ranks)
    # u and y are single; q is rounded, too, and remembered for up to 300 steps, in a sum of up to 16 pairs.
    assert_near(found["y"], golden["y"], 2 if variant == "reference" else 64)
    if "state" in found:
        assert_near(found["state"], golden["state"], 2 if variant == "reference" else 300)
    if mode == "convolution":
        assert_near(found["kernel"], golden["kernel"], 16)
    assert ("state" in found) == (mode != "convolution" or variant == "reference")


def constant_input(length, deltas, rates):
    """u = 1, b = c = 1, d = 0: y_t = 2 Re Σ (e^{Δa(t+1)} − 1)/a, in closed form."""
    t = numpy.arange(1, length + 1)
    a = rates[None, :]
    exponent = (deltas[:, None] * a)[:, :, None] * t
    y = 2 * (numpy.expm1(exponent.real) * numpy.cos(exponent.imag) - 2 * numpy.sin(exponent.imag / 2) ** 2 + 1j * numpy.exp(exponent.real) * numpy.sin(exponent.imag))
    return (y / a[:, :, None]).real.sum(axis=1).T[None]


@pytest.mark.parametrize("mode", S4D_MODES)
def test_a_constant_through_s4d_has_its_closed_form_for_steps_from_1e_minus_6_to_10(run, tmp_path, mode):
    length, deltas, rates = 3000, numpy.array([1e-6, 1e-4, 1e-2, 0.3, 10]), numpy.array([-1e-4 + 0.1j, -0.5 + 1j, -2.0])
    shape = (len(deltas), len(rates))
    path = write(tmp_path, u=numpy.ones((1, length, len(deltas))), a=numpy.tile(rates, (len(deltas), 1)),
                 b=numpy.ones(shape) + 0j, c=numpy.ones(shape) + 0j, d=numpy.zeros(len(deltas)), dt=deltas)  # fmt: skip
    found = compute(run, tmp_path, "ssm/s4d", path, f"mode={mode}")["y"]
    exact = constant_input(length, deltas, rates)
    # Steps round x and q by a few u each, over no more steps than a state remembers, 3000 at most; a convolution rounds
    # by some 3 u log2(M) of the norms of k and u.
    assert (numpy.abs(found - exact) <= 6 * length * U32 * numpy.abs(exact).max(axis=1, keepdims=True)).all()
    assert numpy.median(numpy.abs(found - exact) / numpy.abs(exact).max(axis=1, keepdims=True)) < 1e-5


# ---- S4 ----


@pytest.mark.parametrize("variant, ranks, strategy", [("reference", None, "auto"), ("sable", None, "auto"), ("sable", 3, "sequence"), ("fftw_convolution", None, "auto")])  # fmt: skip
@pytest.mark.parametrize("length", [64, 37])
def test_the_kernel_by_cauchy_sums_is_the_golden_one(run, tmp_path, variant, ranks, strategy, length):
    found = compute(run, tmp_path, "ssm/s4", CASES / "s4_dplr.h5", f"length={length}", f"strategy={strategy}", "chunk=16", variant=variant, ranks=ranks)
    assert_near(found["kernel"][0], case("s4_dplr")["kernel"][:length], 2 if variant == "reference" else 64)


def s4_outputs(golden, u, d):
    """y and the last state of the golden model's steps, state by state in the basis of the file."""
    n, dt = len(golden["b"]), golden["dt"]
    a = numpy.diag(golden["lambda_"]) - numpy.outer(golden["p"], golden["p"].conj())
    left = numpy.linalg.inv(numpy.eye(n) - dt / 2 * a)
    step, inward = left @ (numpy.eye(n) + dt / 2 * a), dt * left @ golden["b"]
    x, y = numpy.zeros(n, complex), numpy.zeros(len(u))
    for t, value in enumerate(u):
        x = step @ x + inward * value
        y[t] = (golden["c"].conj() @ x).real + d * value
    return y, x


@pytest.mark.parametrize("mode", S4_MODES)
@pytest.mark.parametrize("variant, ranks", [("reference", None), ("sable", None), ("sable", 2)])
def test_s4_filters_as_the_dense_steps_of_its_matrix_do(run, tmp_path, mode, variant, ranks):
    golden = case("s4_dplr")
    u = numpy.sin(0.05 * numpy.arange(200) ** 1.3)[None, :, None].astype("f4")
    model = {name: golden[name] for name in ("lambda_", "p", "b", "c", "dt")}
    path = write(tmp_path, u=u, d=numpy.array([0.25]), **model)
    found = compute(run, tmp_path, "ssm/s4", path, f"mode={mode}", variant=variant, ranks=ranks)
    y, x = s4_outputs(golden, u[0, :, 0].astype("f8"), 0.25)
    assert_near(found["y"][0, :, 0], y, 2 if variant == "reference" else 64)
    if "state" in found:
        assert_near(found["state"][0, 0], x[golden["lambda_"].imag > 0], 2 if variant == "reference" else 64)


def test_a_file_may_hold_one_of_each_pair_of_states(run, tmp_path):
    """The golden λ, p, b with a c in conjugates, too: all N, or half of them."""
    golden = case("s4_dplr")
    half = {name: golden[name][golden["lambda_"].imag > 0] for name in ("lambda_", "p", "b", "c")}
    whole = {name: numpy.r_[half[name], half[name].conj()] for name in half}
    found = [
        compute(run, tmp_path, "ssm/s4", write(tmp_path, dt=0.02, **model), "length=100")["kernel"]
        for model in (half, whole, {name: array[None] for name, array in half.items()})
    ]
    assert found[0].dtype == found[2].dtype == "f4" and found[1].dtype == "c8"
    assert_near(found[1], found[0], 4)
    assert numpy.array_equal(found[0], found[2])


@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.1, 10])
def test_kernels_by_cauchy_are_those_by_powers_for_steps_from_1e_minus_6_to_10(run, tmp_path, delta):
    path = write(tmp_path, dt=numpy.full(3, delta))
    settings = ("channels=3", "states=16", "length=500")
    cauchy = compute(run, tmp_path, "ssm/s4", path, *settings)["kernel"]
    powers = compute(run, tmp_path, "ssm/s4", path, *settings, variant="reference")["kernel"]
    assert_near(cauchy, powers, 400)


# ---- Both ----


@pytest.mark.parametrize("workload, mode", [("ssm/s4d", m) for m in S4D_MODES] + [("ssm/s4", m) for m in S4_MODES])
def test_every_way_has_the_same_bits_on_any_layout_and_simd_level(run, workload, mode):
    digests = {}
    for strategy, ranks, threads, level in [("auto", None, 1, "v4"), ("batch", 2, 2, "base"), ("channels", None, 1, "v2"), ("sequence", 4, 1, "v4"), ("sequence", None, 3, "v3")]:  # fmt: skip
        told = run("run", workload, *ONCE, "-c", "T", "-s", f"mode={mode}", "-s", f"strategy={strategy}", "-V", "reference,sable", "--json", ranks=ranks, threads=threads, env={"SABLE_ISA": level})
        if told.code != 2:  # a level that is not here
            assert told.code == 0, told
            digests[strategy, ranks, threads, level] = tuple(result["digest"] for result in told.json["runs"])
    assert len(digests) > 2 and len(set(digests.values())) == 1, digests


# The default mode is test_verification.py's; over ranks, what ranks add.
FAULTS_OF = [("ssm/s4d", mode, None, "auto", FAULTS) for mode in ("convolution", "chunked")] + [
    *[("ssm/s4", mode, None, "auto", FAULTS) for mode in ("recurrence", "dense")],
    ("ssm/s4d", "chunked", 3, "sequence", ["lost_carry", "wrong_chunk"]),
    ("ssm/s4", "convolution", 3, "sequence", ["shift", "nan"]),
]


@pytest.mark.parametrize("workload, mode, ranks, strategy, faults", FAULTS_OF)
def test_every_fault_is_seen_in_every_mode(run, workload, mode, ranks, strategy, faults):
    missed = []
    for fault in faults:
        told = run("run", workload, "-c", "T", *ONCE, "-s", f"mode={mode}", "-s", f"strategy={strategy}", "--inject-fault", fault, "-V", "all", ranks=ranks)
        if (told.code, [fom[-1] for fom in told.foms]) != (1, ["FAIL"] * 4):
            missed.append((fault, told.code, [fom[-1] for fom in told.foms]))
    assert missed == []


def test_auto_takes_steps_for_few_states_and_transforms_for_many(run, tmp_path):
    def outputs(states):
        told = run("run", "ssm/s4d", *ONCE, "-s", "channels=2", "-s", f"states={states}", "-s", "length=1000", "-s", "batch=64", "--keep", "full", "-o", "out.h5", "--force")
        assert told.code == 0, told
        with h5py.File(tmp_path / "out.h5") as file:
            return set(file["runs/ssm/s4d/sable/outputs"])

    assert outputs(16) == {"y", "state"}
    assert outputs(512) == {"y", "kernel"}


def test_what_is_no_model_is_refused(run, tmp_path):
    golden = case("s4d_lin")

    def refused(*words, workload="ssm/s4d", **arrays):
        failed_with(run("run", workload, *ONCE, "-i", write(tmp_path, **arrays)), 2, *words)

    refused("'a'", "at most 0", **{**golden, "a": -golden["a"]})
    refused("'b'", "instead of", **{**golden, "b": golden["b"][:1]})
    refused("'c'", "complex", **{**golden, "c": golden["c"].real})
    refused("'c'", "not finite", **{**golden, "c": golden["c"] * numpy.nan})
    refused("'u'", "not finite", **{**golden, "u": golden["u"] * numpy.inf})
    refused("'dt'", "no step", **{**golden, "dt": -golden["dt"]})
    refused("'d'", "instead of", **{**golden, "d": golden["d"][:1]})
    model = {name: array for name, array in case("s4_dplr").items() if name in ("lambda_", "p", "b", "c", "dt")}
    refused("no conjugate", workload="ssm/s4", **{**model, "p": model["p"] * numpy.arange(1, 9)})
    refused("all of", workload="ssm/s4", lambda_=model["lambda_"])
    refused("at most 0", workload="ssm/s4", **{**model, "lambda_": model["lambda_"] + 1})
    failed_with(run("run", "ssm/s4d", "-s", "states=7"), 2, "even")
    failed_with(run("run", "ssm/s4", "-s", "length=1000000000", "-s", "channels=1000000000", "-s", "batch=1000"), 2, "64 bits")
