"""PyTorch's reference formulas of selective scans and linear attention, on problems of sable's sizes.

mamba: selective_scan_ref of state-spaces/mamba (a Python loop over steps). mamba2: ssd_minimal_discrete of Dao & Gu 2024, listing 1
(chunks as einsums). linear_attention: RetNet by its parallel form (Sun et al. 2023), RWKV-6 by its recurrence. Drawn
inputs, or those of --input. The first sequence and head are checked against float64, step by step."""

import os
import time

import numpy

WORKLOADS = ["ssm/mamba", "ssm/mamba2", "ssm/linear_attention"]
REPETITIONS, U = 6, 2.0**-24


def available():
    """"" or why this peer can't run here."""
    try:
        import torch  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install torch==2.13.0"
    return ""


def timed(call):
    seconds = []
    for _ in range(REPETITIONS + 1):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    return seconds[1:], found


def array(torch, path, name, shape, low, high):
    """The file's, or drawn; float32."""
    if path:
        import h5py

        with h5py.File(path) as file:
            if name in file:
                return torch.from_numpy(file[name][()].astype("f4"))
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return torch.rand(shape, generator=generator) * (high - low) + low


def scan_float64(decay, k, v, q, bonus=None):
    """(o, sum of absolute terms) of one head: S <- diag(exp decay_t) S + k v^T; with a bonus o_t reads S before."""
    state = numpy.zeros((k.shape[1], v.shape[1]))
    size, out, sizes = state.copy(), numpy.empty_like(v), numpy.empty_like(v)
    for t in range(len(v)):
        w, push = numpy.exp(decay[t])[:, None], numpy.outer(k[t], v[t])
        if bonus is not None:
            out[t], sizes[t] = q[t] @ (state + bonus[:, None] * push), abs(q[t]) @ (size + abs(bonus[:, None] * push))
        state, size = w * state + push, w * size + abs(push)
        if bonus is None:
            out[t], sizes[t] = q[t] @ state, abs(q[t]) @ size
    return out, sizes


def check(found, exact, sizes, roundings):
    """Each term of a sum may be off by so many roundings of its own size."""
    ratio = float((abs(found - exact) / (roundings * U * sizes + 1e-30)).max())
    return [("error of the first head over its rounding bound", ratio, 1.0, 0.0, bool(ratio <= 1))]


def mamba(torch, p):
    functional = torch.nn.functional
    B, D, N, L = (int(p[name]) for name in ("batch", "channels", "states", "length"))

    def draw(name, shape, low, high):
        return array(torch, p["input"], name, shape, low, high)

    u, raw = draw("u", (B, D, L), -1, 1), draw("delta_raw", (B, D, L), -2, 2)
    z = draw("z", (B, D, L), -4, 4) if p["gate"] == "yes" else None
    a, b, c = -torch.arange(1.0, N + 1).repeat(D, 1), draw("b", (B, N, L), -1, 1), draw("c", (B, N, L), -1, 1)
    a = draw("a", (D, N), 0, 0) if p["input"] else a
    d, bias = draw("d", (D,), 0.5, 1.5), draw("delta_bias", (D,), -6.9, -2.2)

    def compute():
        delta = functional.softplus(raw + bias[:, None])
        decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, a))
        push = torch.einsum("bdl,bnl,bdl->bdln", delta, b, u)
        x, ys = torch.zeros(B, D, N), []
        for t in range(L):
            x = decay[:, :, t] * x + push[:, :, t]
            ys.append(torch.einsum("bdn,bn->bd", x, c[:, :, t]))
        y = torch.stack(ys, dim=2) + u * d[:, None]
        return y * functional.silu(z) if z is not None else y

    seconds, y = timed(compute)
    delta = numpy.logaddexp(0, raw[0, 0].double().numpy() + float(bias[0]))
    first = [x.double().numpy() for x in (a[0], b[0].T, u[0, 0], c[0].T)]
    exact, sizes = scan_float64(delta[:, None] * first[0], first[1], (delta * first[2])[:, None], first[3])
    skip = float(d[0]) * first[2][:, None]
    gate = functional.silu(z[0, 0].double()).numpy()[:, None] if z is not None else 1
    found = y[0, 0].double().numpy()[:, None]
    return seconds, B * D * N * L, check(found, (exact + skip) * gate, (sizes + abs(skip)) * abs(gate), 2 * N + 12 * L)


def segment_sums(torch, x):
    """[…, Q] to [..., Q, Q]: sums over j < i' <= i, and -inf above the diagonal."""
    Q = x.shape[-1]
    spread = x[..., None].expand(*x.shape, Q).masked_fill(~torch.tril(torch.ones(Q, Q, dtype=torch.bool), -1), 0)
    return torch.cumsum(spread, dim=-2).masked_fill(~torch.tril(torch.ones(Q, Q, dtype=torch.bool)), -torch.inf)


def ssd(torch, x, decay, b, c, Q):
    """x [B, L, H, P], decay [B, L, H], b, c [B, L, H, N]; L a multiple of Q. Listing 1."""
    x, b, c = (v.unflatten(1, (-1, Q)) for v in (x, b, c))
    decay = decay.unflatten(1, (-1, Q)).permute(0, 3, 1, 2)
    total = torch.cumsum(decay, dim=-1)
    weights = torch.exp(segment_sums(torch, decay))
    y = torch.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", c, b, weights, x)
    states = torch.einsum("bclhn,bhcl,bclhp->bchpn", b, torch.exp(total[..., -1:] - total), x)
    states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)
    between = torch.exp(segment_sums(torch, torch.nn.functional.pad(total[..., -1], (1, 0))))
    states = torch.einsum("bhzc,bchpn->bzhpn", between, states)[:, :-1]
    return (y + torch.einsum("bclhn,bchpn,bhcl->bclhp", c, states, torch.exp(total))).flatten(1, 2)


def mamba2(torch, p):
    B, H, G, P, N, L, Q = (int(p[name]) for name in ("batch", "heads", "groups", "head_dim", "states", "length", "chunk"))

    def draw(name, shape, low, high):
        return array(torch, p["input"], name, shape, low, high)

    x, raw, a = draw("x", (B, L, H, P), -1, 1), draw("delta_raw", (B, L, H), -2, 2), draw("a", (H,), -16, -1)
    b, c, d = draw("b", (B, L, G, N), -1, 1), draw("c", (B, L, G, N), -1, 1), draw("d", (H,), 0.5, 1.5)
    bias = draw("delta_bias", (H,), -6.9, -2.2)
    if L % Q:
        return None

    def compute():
        delta = torch.nn.functional.softplus(raw + bias)
        heads = [v.repeat_interleave(H // G, dim=2) for v in (b, c)]
        return ssd(torch, x * delta[..., None], delta * a, *heads, Q) + x * d[:, None]

    seconds, y = timed(compute)
    delta = numpy.logaddexp(0, raw[0, :, 0].double().numpy() + float(bias[0]))
    first = [v[0, :, 0].double().numpy() for v in (b, x, c)]
    exact, sizes = scan_float64(delta[:, None] * float(a[0]), first[0], delta[:, None] * first[1], first[2])
    skip = float(d[0]) * first[1]
    return seconds, B * H * P * N * L, check(y[0, :, 0].double().numpy(), exact + skip, sizes + abs(skip), 2 * N + 2 * Q + 12 * L)


def linear_attention(torch, p):
    B, H, N, P, L = (int(p[name]) for name in ("batch", "heads", "key_dim", "value_dim", "length"))

    def draw(name, shape, low, high):
        return array(torch, p["input"], name, shape, low, high)

    q, k, v = draw("q", (B, L, H, N), -1, 1), draw("k", (B, L, H, N), -1, 1), draw("v", (B, L, H, P), -1, 1)
    bonus = None
    if p["model"] == "rwkv":
        decay, bonus = draw("log_decay", (B, L, H, N), -1, 0), draw("bonus", (H, N), -1, 1)

        def compute():
            state, out, w = torch.zeros(B, H, N, P), [], torch.exp(decay)
            for t in range(L):
                push = k[:, t, :, :, None] * v[:, t, :, None, :]
                out.append(torch.einsum("bhn,bhnp->bhp", q[:, t], state + bonus[:, :, None] * push))
                state = w[:, t, :, :, None] * state + push
            return torch.stack(out, dim=1)

        first = decay[0, :, 0].double().numpy()
    else:
        decay = draw("log_decay", (H,), 0, 0) if p["input"] else torch.log1p(-torch.exp2(-5.0 - torch.arange(H)))
        step = torch.arange(L)

        def compute():
            mask = torch.exp(decay[:, None, None] * (step[:, None] - step).clamp(min=0)).tril()
            return torch.einsum("bhts,bshp->bthp", torch.einsum("bthn,bshn->bhts", q, k) * mask, v)

        first = numpy.full((L, 1), float(decay[0]))
    seconds, y = timed(compute)
    heads = [x[0, :, 0].double().numpy() for x in (k, v, q)]
    exact, sizes = scan_float64(first, *heads, bonus[0].double().numpy() if bonus is not None else None)
    return seconds, B * H * P * N * L, check(y[0, :, 0].double().numpy(), exact, sizes, 2 * N + 12 * L)


def run(workload, threads, parameters):
    """REPETITIONS after one warm-up. Keywords of results.File.run(); [] where the formula can't take the sizes."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    with torch.inference_mode():
        found = {"ssm/mamba": mamba, "ssm/mamba2": mamba2, "ssm/linear_attention": linear_attention}[workload](torch, parameters)
    if not found:
        return []
    seconds, items, checks = found
    return [{"variant": "pytorch", "seconds": seconds, "items": items, "warmups": 1, "checks": checks, "facts": {"pytorch": torch.__version__}}]
