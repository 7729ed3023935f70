"""PyTorch's reference formulas of S4 and S4D, on problems of sable's sizes.

s4d: kernel by the Vandermonde product of listing 1 of Gu, Gupta, Goel & Ré 2022; s4: Cauchy sums over one of each pair of conjugates, as
without extensions in state-spaces/s4 (Gu, Goel & Ré 2022, appendix C.3); both convolve by rfft, product, irfft of 2L points. The kernel is
made in every repetition (kernel=every), or once. Drawn c and u; S4D-Lin or S4D-Inv, LegS. The first channel is checked against float64
steps. mode= is not looked at: PyTorch has the convolution only. Phases as sable's: kernel, apply."""

import os
import time

import numpy

WORKLOADS = ["ssm/s4", "ssm/s4d"]
REPETITIONS, U = 6, 2.0**-24


def available():
    """"" or why this peer can't run here."""
    try:
        import torch  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install torch==2.13.0"
    return ""


def legs(n):
    """λ, p, b of LegS in the basis of eigenvectors, one of each pair."""
    root = numpy.sqrt(2 * numpy.arange(n) + 1)
    skew = -numpy.tril(numpy.outer(root, root), -1) / 2
    values, vectors = numpy.linalg.eigh(-1j * (skew - skew.T))
    upper = values > 0
    low = vectors.conj().T @ (root / 2**0.5)
    return (-0.5 + 1j * values)[upper], low[upper], (2**0.5 * low)[upper]


def s4d(torch, p, dt, c):
    states = int(p["states"])
    n = numpy.arange(states // 2)
    a = -0.5 + 1j * (numpy.pi * n if p["start"] == "lin" else states / numpy.pi * (states / (2 * n + 1) - 1))
    a, delta, weight = torch.from_numpy(a.astype("c8")), torch.from_numpy(dt.astype("f4")), torch.from_numpy(c.astype("c8"))
    length = int(p["length"])

    def kernel():
        step = a * delta[:, None]
        powers = torch.exp(step[..., None] * torch.arange(length))
        return 2 * torch.einsum("hn,hnl->hl", weight * (torch.exp(step) - 1) / a, powers).real

    q = numpy.exp(dt[0] * a.numpy().astype("c16"))
    return kernel, numpy.diag(q), (q - 1) / a.numpy().astype("c16"), 2 * c[0]


def bilinear(lam, low, b, dt, c):
    """Dense Ā, B̄ and c̄ of all N states of one channel."""
    both = [numpy.r_[x, x.conj()] for x in (lam, low, b)]
    a = numpy.diag(both[0]) - numpy.outer(both[1], both[1].conj())
    left = numpy.linalg.inv(numpy.eye(len(a)) - dt / 2 * a)
    return left @ (numpy.eye(len(a)) + dt / 2 * a), dt * left @ both[2], numpy.r_[c, c.conj()].conj()


def s4(torch, p, dt, c):
    length = int(p["length"])
    lam, low, b = legs(int(p["states"]))
    truncated = []
    for h in range(len(dt)):
        step, _, row = bilinear(lam, low, b, dt[h], c[h])
        truncated.append((row - row @ numpy.linalg.matrix_power(step, length))[: len(lam)])
    weight = torch.from_numpy(numpy.array(truncated).astype("c8"))
    lam_t, low_t, b_t = (torch.from_numpy(x.astype("c8")) for x in (lam, low, b))
    delta = torch.from_numpy(dt.astype("f4"))[:, None]
    # z at the roots of unity; at z = -1 g is infinite, so that node is moved by a rounding.
    z = torch.from_numpy(numpy.exp(-2j * numpy.pi * numpy.minimum(numpy.arange(length // 2 + 1) / length, 0.5 - 1e-7)).astype("c8"))

    def cauchy(v, g, poles):
        return ((v[..., None, :] / (g[..., None] - poles)) + (v.conj()[..., None, :] / (g[..., None] - poles.conj()))).sum(-1)

    def kernel():
        rows = []
        for h in range(len(delta)):  # all channels at once would hold H × L × N complex numbers several times
            g = 2 / delta[h] * (1 - z) / (1 + z)
            k00, k01 = cauchy(weight[h] * b_t, g, lam_t), cauchy(weight[h] * low_t, g, lam_t)
            k10, k11 = cauchy(low_t.conj() * b_t, g, lam_t), cauchy(low_t.conj() * low_t, g, lam_t)
            rows.append(2 / (1 + z) * (k00 - k01 * k10 / (1 + k11)))
        return torch.fft.irfft(torch.stack(rows), n=length)

    step, inward, row = bilinear(lam, low, b, dt[0], c[0])
    return kernel, step, inward, row


def exact(step, inward, row, u):
    """The first channel's y, and its kernel's norm, in float64."""
    x, pulse, y, k = numpy.zeros(len(row), complex), inward, numpy.empty(len(u)), numpy.empty(len(u))
    diagonal = numpy.count_nonzero(step - numpy.diag(numpy.diag(step))) == 0
    advance = (lambda v: numpy.diag(step) * v) if diagonal else (lambda v: step @ v)
    for t, value in enumerate(u):
        x = advance(x) + inward * value
        y[t], k[t] = (row @ x).real, (row @ pulse).real
        pulse = advance(pulse)
    return y, numpy.linalg.norm(k)


def run(workload, threads, parameters):
    """REPETITIONS after one warm-up. Keywords of results.File.run(); [] for a file, whose model this does not read."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    if parameters["input"]:
        return []
    torch.set_num_threads(threads)
    B, H, N, L = (int(parameters[name]) for name in ("batch", "channels", "states", "length"))
    random = numpy.random.default_rng(1)
    dt = numpy.exp(random.uniform(numpy.log(0.001), numpy.log(0.1), H)).astype("f4").astype("f8")
    c = (random.uniform(-1, 1, (H, N // 2)) + 1j * random.uniform(-1, 1, (H, N // 2))).astype("c8").astype("c16")
    u = torch.from_numpy(random.uniform(-1, 1, (B, L, H)).astype("f4"))
    d = torch.from_numpy(random.uniform(0.5, 1.5, H).astype("f4"))
    with torch.inference_mode():
        make, step, inward, row = (s4 if workload == "ssm/s4" else s4d)(torch, parameters, dt, c)
        seconds, of_kernel, kernel = [], [], make()
        for _ in range(REPETITIONS + 1):
            started = time.perf_counter()
            if parameters["kernel"] == "every":
                kernel = make()
            made = time.perf_counter()
            spectrum = torch.fft.rfft(kernel, n=2 * L)
            signal = torch.fft.rfft(u.transpose(1, 2), n=2 * L)
            y = torch.fft.irfft(signal * spectrum, n=2 * L)[..., :L].transpose(1, 2) + d * u
            seconds.append(time.perf_counter() - started)
            of_kernel.append(made - started)
    first = u[0, :, 0].double().numpy()
    expected, norm = exact(step, inward, row, first)
    off = abs(y[0, :, 0].double().numpy() - expected - float(d[0]) * first).max() / (norm * numpy.linalg.norm(first))
    # s4d: exponentials of arguments up to |Δ a| L, rounded; s4: λ and g, rounded by u |λ| each, in denominators of 1/2 at least (Re λ = -1/2)
    # and in two factors of a product; and transforms.
    largest = numpy.pi * N if workload == "ssm/s4d" and parameters["start"] == "lin" else N * N
    roundings = (float(dt[0] * largest * L) if workload == "ssm/s4d" else 8.0 * largest) + 60 * float(numpy.log2(2 * L))
    checks = [("error of the first channel over |k||u| and its rounding bound", float(off), roundings * U, 0.0, bool(off <= roundings * U))]
    phases = {"kernel": of_kernel[1:], "apply": [all_ - kernel_ for all_, kernel_ in zip(seconds, of_kernel)][1:]}
    facts = {"pytorch": torch.__version__}
    return [{"variant": "pytorch", "seconds": seconds[1:], "items": B * H * L, "warmups": 1, "checks": checks, "phases": phases, "facts": facts}]
