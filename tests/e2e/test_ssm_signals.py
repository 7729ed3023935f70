"""Real signals through ssm/hippo: WAV files, good and hostile, the one in data/, and how far reconstructions are off."""

import struct

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

SIGNAL = numpy.random.default_rng(7).uniform(-0.99, 0.99, (301, 3))
EXTENDED = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"


def stored(kind):
    """The samples' bytes in format `kind`, and what they mean."""
    if kind.startswith("f"):
        data = SIGNAL.astype(f"<{kind}")
        return data.tobytes(), data.astype("f4")
    bits = int(kind)
    whole = numpy.round(SIGNAL * 2.0 ** (bits - 1)).astype("i8")
    raw = (whole + 128 if bits == 8 else whole).astype("<i8").view("u1").reshape(-1, 8)[:, : bits // 8]
    return raw.tobytes(), (whole / 2.0 ** (bits - 1)).astype("f4")


def chunk(name, data, length=None):
    return name + struct.pack("<I", len(data) if length is None else length) + data + b"\0" * (len(data) % 2)


def form(kind, channels=3, code=None, align=None, extended=False, bits=None):
    bits = (8 * int(kind[1]) if kind.startswith("f") else int(kind)) if bits is None else bits
    code = (3 if kind.startswith("f") else 1) if code is None else code
    align = channels * bits // 8 if align is None else align
    head = struct.pack("<HHIIHH", 0xFFFE if extended else code, channels, 8000, (8000 * align) % 2**32, align % 2**16, bits)
    return head + (struct.pack("<HHIH", 22, bits, 0, code) + EXTENDED if extended else b"")


def wav(tmp_path, *chunks, length=None):
    body = b"WAVE" + b"".join(chunks)
    path = tmp_path / "signal.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body)
    return path


def outputs(run, tmp_path, path, *settings, variant="sable", **options):
    told = run("run", "ssm/hippo", *ONCE, "-i", path, "-o", "out.h5", "--force", "-V", variant, "-s", "order=8", *settings, **options)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: data[()] for name, data in file[f"runs/ssm/hippo/{variant}/outputs"].items()}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("kind", ["8", "16", "24", "32", "f4", "f8"])
def test_a_wav_file_gives_the_bits_of_its_samples_in_hdf5(run, tmp_path, kind, extended):
    data, meaning = stored(kind)
    path = wav(tmp_path, chunk(b"LIST", b"odd"), chunk(b"fmt ", form(kind, extended=extended)), chunk(b"data", data), b"tail")
    with h5py.File(tmp_path / "signal.h5", "w") as file:
        file["signal"] = meaning
    expected = outputs(run, tmp_path, tmp_path / "signal.h5")
    found = outputs(run, tmp_path, path, ranks=2 if kind == "24" else None)
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


def test_hostile_wav_files_are_refused_in_one_line(run, tmp_path):
    data, _ = stored("16")
    good, samples = chunk(b"fmt ", form("16")), chunk(b"data", data)

    def refused(*words, chunks=(good, samples), **change):
        failed_with(run("run", "ssm/hippo", *ONCE, "-i", wav(tmp_path, *chunks, **change)), 2, "signal.wav", *words)

    def fmt(**change):
        return chunk(b"fmt ", form("16", **change)), samples

    refused("truncated", length=2**32 - 1)
    refused("beyond", chunks=(good, chunk(b"data", data, length=2**32 - 2)))
    refused("beyond", chunks=(chunk(b"fmt ", form("16"), length=2**31), samples))
    refused("beyond", chunks=(chunk(b"junk", b"", length=2**32 - 1), good, samples))
    refused("too short", chunks=(chunk(b"fmt ", form("16")[:14]), samples))
    refused("no channels", chunks=fmt(channels=0))
    refused("bytes a frame", chunks=fmt(align=5))
    refused("bytes a frame", chunks=fmt(channels=65535))
    refused("12 bits", chunks=fmt(bits=12, align=6))
    refused("0 bits", chunks=fmt(bits=0))
    refused("format 7", chunks=fmt(code=7))
    refused("16 bits", chunks=fmt(code=3))
    refused("extended", chunks=(chunk(b"fmt ", form("16", code=0xFFFE)), samples))
    refused("extended", chunks=(chunk(b"fmt ", form("16", extended=True)[:-1] + b"?"), samples))
    refused("before their format", chunks=(samples, good))
    refused("two format", chunks=(good, good, samples))
    refused("no samples", chunks=(good,))
    refused("no samples", length=4)
    refused("no frames", chunks=(good, chunk(b"data", data[:-1])))
    refused("no frames", chunks=(good, chunk(b"data", b"")))
    refused("not finite", chunks=(chunk(b"fmt ", form("f4")), chunk(b"data", struct.pack("<3f", 1, numpy.nan, 2))))
    refused("not finite", chunks=(chunk(b"fmt ", form("f8")), chunk(b"data", struct.pack("<3d", 1, 1e300, 2))))
    path = wav(tmp_path, good, samples)
    whole = path.read_bytes()
    for length in (1, 11, 12, 19, 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        failed_with(run("run", "ssm/hippo", *ONCE, "-i", path), 2, "signal.wav")
    path.write_bytes(b"RIFX" + whole[4:])
    failed_with(run("run", "ssm/hippo", *ONCE, "-i", path), 2, "neither an HDF5 nor a WAV file")
    path.write_bytes(whole)
    failed_with(run("run", "ssm/scan", *ONCE, "-i", path), 2, "not an HDF5 file")


def basis(measure, order, age):
    """Functions of the measures at `age`, in windows, written anew by NumPy."""
    n = numpy.arange(order)
    if measure == "lagt":
        laguerre = numpy.polynomial.laguerre.lagvander(age, order - 1)
        return numpy.exp(-age / 2)[:, None] * laguerre
    if measure == "fout":
        angle = 2 * numpy.pi * (n // 2) * age[:, None]
        return numpy.where(n == 0, 1, numpy.where(n == 1, 0, 2**0.5 * numpy.where(n % 2, numpy.sin(angle), numpy.cos(angle))))
    return (2 * n + 1) ** 0.5 * numpy.polynomial.legendre.legvander(2 * (1 - age) - 1, order - 1)


def test_the_electrocardiogram_is_scipys_and_says_its_licence():
    scipy = pytest.importorskip("scipy.misc")
    if not hasattr(scipy, "electrocardiogram"):
        pytest.skip("later versions of SciPy download it")
    with h5py.File(SOURCE / "data/ecg.h5") as file:
        assert file["signal"][:, 0].tobytes() == scipy.electrocardiogram().astype("f4").tobytes()
        assert file.attrs["licence"].startswith("ODC-By-1.0")
        assert "MIT-BIH Arrhythmia Database" in file.attrs["source"]


@pytest.mark.parametrize("measure", ["legs", "legt", "lagt", "fout"])
def test_the_error_of_an_electrocardiogram_is_what_numpy_finds(run, tmp_path, measure):
    with h5py.File(SOURCE / "data/ecg.h5") as file:
        assert file.attrs["licence"].startswith("ODC-By")
        signal = file["signal"][:3000].astype("f8")
    with h5py.File(tmp_path / "signal.h5", "w") as file:
        file["signal"] = numpy.hstack([signal, 0 * signal])
    found = outputs(run, tmp_path, tmp_path / "signal.h5", "-s", f"measure={measure}", "-s", "window=360")
    span = 3000 if measure == "legs" else 360
    age = (numpy.arange(span) + 0.5) / span
    off = basis(measure, 8, age) @ found["coefficients"] - numpy.hstack([signal, 0 * signal])[::-1][:span]
    exact = numpy.linalg.norm(off[:, 0]) / numpy.linalg.norm(signal[-span:])
    assert abs(found["reconstruction_error"][0] - exact) < 1e-9 and 0.1 < exact < 1.5
    assert found["reconstruction_error"][1] == 0


def test_a_polynomial_has_no_error_but_its_steps(run, tmp_path):
    x = (numpy.arange(2000) + 0.5) / 2000
    with h5py.File(tmp_path / "signal.h5", "w") as file:
        file["signal"] = (x**3 - x)[:, None]
    found = outputs(run, tmp_path, tmp_path / "signal.h5", "-s", "discretisation=zoh")
    assert found["reconstruction_error"][0] < 1e-5


@pytest.mark.parametrize("settings", [("measure=legs",), ("measure=legs", "discretisation=backward"), ("measure=legt",)])
@pytest.mark.parametrize("channels", [1, 70])
def test_openblas_is_within_its_bound_and_near_sable(run, tmp_path, settings, channels):
    if "openblas" not in run("list", "--json").out:
        pytest.skip("sable was built without OpenBLAS")
    signal = numpy.random.default_rng(8).standard_normal((400, channels)).astype("f4")
    with h5py.File(tmp_path / "signal.h5", "w") as file:
        file["signal"] = signal
    settings = [word for setting in settings for word in ("-s", setting)]
    expected = outputs(run, tmp_path, tmp_path / "signal.h5", *settings)["coefficients"]
    found = outputs(run, tmp_path, tmp_path / "signal.h5", *settings, variant="openblas", threads=2)["coefficients"]
    assert numpy.abs(found - expected).max() < 2e-5 * numpy.abs(expected).max()
