"""PyTorch's reference formulas of selective scans and linear attention, on problems of sable's sizes.

mamba: selective_scan_ref of state-spaces/mamba (a Python loop over steps). mamba2: ssd_minimal_discrete of Dao & Gu 2024, listing 1
(chunks as einsums). linear_attention: RetNet by its parallel form (Sun et al. 2023), RWKV-6 by its recurrence. Drawn
inputs, or those of --input. The first sequence and head are checked against float64, step by step."""

import os

import sequence_models as models

WORKLOADS = ["ssm/mamba", "ssm/mamba2", "ssm/linear_attention"]
REPETITIONS = 6


def available():
    """"" or why this peer can't run here."""
    try:
        import torch  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install torch==2.13.0"
    return ""


def tensors(torch, arrays):
    return {name: torch.from_numpy(value) for name, value in arrays.items() if value is not None}


def mamba(torch, p):
    functional = torch.nn.functional
    given = models.mamba_inputs(p)
    x = tensors(torch, given)
    (B, D, L), N = x["u"].shape, x["a"].shape[1]

    def compute():
        delta = functional.softplus(x["delta_raw"] + x["delta_bias"][:, None])
        decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, x["a"]))
        push = torch.einsum("bdl,bnl,bdl->bdln", delta, x["b"], x["u"])
        state, ys = torch.zeros(B, D, N), []
        for t in range(L):
            state = decay[:, :, t] * state + push[:, :, t]
            ys.append(torch.einsum("bdn,bn->bd", state, x["c"][:, :, t]))
        y = torch.stack(ys, dim=2) + x["u"] * x["d"][:, None]
        return y * functional.silu(x["z"]) if "z" in x else y

    seconds, y = models.timed(compute, REPETITIONS)
    return seconds, B * D * N * L, models.check_mamba(given, y[0, 0].numpy())


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
    chunk = int(p["chunk"])
    given = models.mamba2_inputs(p)
    x = tensors(torch, given)
    (B, L, H, P), (G, N) = x["x"].shape, x["b"].shape[2:]
    if L % chunk:
        return None

    def compute():
        delta = torch.nn.functional.softplus(x["delta_raw"] + x["delta_bias"])
        b, c = (x[name].repeat_interleave(H // G, dim=2) for name in ("b", "c"))
        return ssd(torch, x["x"] * delta[..., None], delta * x["a"], b, c, chunk) + x["x"] * x["d"][:, None]

    seconds, y = models.timed(compute, REPETITIONS)
    return seconds, B * H * P * N * L, models.check_mamba2(given, y[0, :, 0].numpy(), chunk)


def linear_attention(torch, p):
    given = models.linear_attention_inputs(p)
    x = tensors(torch, given)
    q, k, v = x["q"], x["k"], x["v"]
    (B, L, H, N), P = q.shape, v.shape[3]
    step = torch.arange(L)

    def rwkv():
        state, out, w = torch.zeros(B, H, N, P), [], torch.exp(x["log_decay"])
        for t in range(L):
            push = k[:, t, :, :, None] * v[:, t, :, None, :]
            out.append(torch.einsum("bhn,bhnp->bhp", q[:, t], state + x["bonus"][:, :, None] * push))
            state = w[:, t, :, :, None] * state + push
        return torch.stack(out, dim=1)

    def retnet():
        mask = torch.exp(x["log_decay"][:, None, None] * (step[:, None] - step).clamp(min=0)).tril()
        return torch.einsum("bhts,bshp->bthp", torch.einsum("bthn,bshn->bhts", q, k) * mask, v)

    seconds, y = models.timed(rwkv if p["model"] == "rwkv" else retnet, REPETITIONS)
    return seconds, B * H * P * N * L, models.check_linear_attention(given, y[0, :, 0].numpy())


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
