"""Problems of sable's attention and state-space workloads for peers: inputs, drawn or of a file, and checks of what a peer computed.

Arrays are NumPy's, float32, in the shapes of sable's own files. Checks are lists for results.File.run(): the first sequence and head
against float64, over a bound on what float32 may round."""

import time

import numpy

U = 2.0**-24
MODELS = {"gpt2": (12, 12, 64, 64), "llama3_8b": (32, 8, 128, 128), "kimi_vl": (16, 16, 192, 128), "moonvit": (16, 16, 72, 72)}


def timed(call, repetitions):
    """(seconds of each repetition after one warm-up, what the last call gave)."""
    seconds = []
    for _ in range(repetitions + 1):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    return seconds[1:], found


def array(path, name, shape, low, high):
    """The file's dataset, or drawn from [low, high)."""
    if path:
        import h5py

        with h5py.File(path) as file:
            if name in file:
                return file[name][()].astype("f4")
    return numpy.random.default_rng(sum(map(ord, name))).uniform(low, high, shape).astype("f4")


# ---- Attention ----


def attention_shape(parameters):
    """(B, H, Hk, Sq, Sk, D, Dv, scale): what 0 stands for is filled in as sable does."""
    p = {name: int(parameters[name]) for name in ("batch", "heads", "kv_heads", "queries", "keys", "dim", "dim_v")}
    heads, kv_heads, dim, dim_v = MODELS[parameters["model"]]
    kv_heads = p["kv_heads"] or p["heads"] or kv_heads
    dim_v = p["dim_v"] or p["dim"] or dim_v
    heads, dim, keys = p["heads"] or heads, p["dim"] or dim, p["keys"] or p["queries"]
    return p["batch"], heads, kv_heads, p["queries"], keys, dim, dim_v, float(parameters["scale"]) or dim**-0.5


def attention_inputs(path, shape):
    """q, k, v and dout."""
    b, h, hk, sq, sk, d, dv, _ = shape
    wanted = {"q": (b, h, sq, d), "k": (b, hk, sk, d), "v": (b, hk, sk, dv), "dout": (b, h, sq, dv)}
    return [array(path, name, size, -2, 2) for name, size in wanted.items()]


def visible_pairs(sq, sk, causal):
    return sum(min(sk, r + 1 + sk - sq) for r in range(max(0, sq - sk), sq)) if causal else sq * sk


def check_attention(out, q, k, v, scale, causal):
    """The largest error of sampled rows of out [B, H, Sq, Dv] over a bound on the rounding of a float32 softmax: E of
    docs/attention.md, and the sum's."""
    sq, sk, d = q.shape[2], k.shape[2], q.shape[3]
    worst = 0.0
    for row in sorted({0, sq // 3, sq // 2, sq - 1}):
        seen = row + 1 + sk - sq if causal else sk
        if seen <= 0:
            continue
        query, keys, values = (x.astype("f8") for x in (q[0, 0, row], k[0, 0, :seen], v[0, 0, :seen]))
        logits = scale * (keys @ query)
        weights = numpy.exp(logits - logits.max())
        exact = weights @ values / weights.sum()
        error = (d + 2) * U * scale * numpy.linalg.norm(query) * numpy.linalg.norm(keys, axis=1).max()
        error += 4 * U * abs(logits).max() + 8 * U
        bound = 2 * (error + (seen + 64) * U) * abs(values).max()
        worst = max(worst, float(abs(out[0, 0, row] - exact).max() / bound))
    return [("error of sampled rows over their rounding bound", worst, 1.0, 0.0, bool(worst <= 1))]


# ---- State spaces ----


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


def check_head(found, exact, sizes, roundings):
    """Each term of a sum may be off by so many roundings of its own size."""
    ratio = float((abs(found - exact) / (roundings * U * sizes + 1e-30)).max())
    return [("error of the first head over its rounding bound", ratio, 1.0, 0.0, bool(ratio <= 1))]


def silu(z):
    return z / (1 + numpy.exp(-z))


def mamba_inputs(p):
    """By name: u, delta_raw, z (None without a gate) [B, D, L], b, c [B, N, L], a [D, N], d, delta_bias [D]."""
    B, D, N, L = (int(p[name]) for name in ("batch", "channels", "states", "length"))
    ranges = {"u": ((B, D, L), -1, 1), "delta_raw": ((B, D, L), -2, 2), "z": ((B, D, L), -4, 4), "b": ((B, N, L), -1, 1)}
    ranges |= {"c": ((B, N, L), -1, 1), "d": ((D,), 0.5, 1.5), "delta_bias": ((D,), -6.9, -2.2)}
    found = {name: array(p["input"], name, *its) for name, its in ranges.items()}
    found["a"] = array(p["input"], "a", (D, N), 0, 0) if p["input"] else numpy.tile(-numpy.arange(1, N + 1, dtype="f4"), (D, 1))
    return found | ({} if p["gate"] == "yes" else {"z": None})


def check_mamba(x, y):
    """`y` [L]: the first channel's outputs of the first sequence of inputs x."""
    first = {name: x[name][0, 0].astype("f8") for name in ("u", "delta_raw")} | {name: x[name][0].T.astype("f8") for name in ("b", "c")}
    delta = numpy.logaddexp(0, first["delta_raw"] + float(x["delta_bias"][0]))
    decay = delta[:, None] * x["a"][0].astype("f8")
    exact, sizes = scan_float64(decay, first["b"], (delta * first["u"])[:, None], first["c"])
    skip = float(x["d"][0]) * first["u"][:, None]
    gate = silu(x["z"][0, 0].astype("f8"))[:, None] if x["z"] is not None else 1
    states, length = x["a"].shape[1], len(y)
    return check_head(y.astype("f8")[:, None], (exact + skip) * gate, (sizes + abs(skip)) * abs(gate), 2 * states + 12 * length)


def mamba2_inputs(p):
    """By name: x [B, L, H, P], delta_raw [B, L, H], b, c [B, L, G, N], a, d, delta_bias [H]."""
    B, H, G, P, N, L = (int(p[name]) for name in ("batch", "heads", "groups", "head_dim", "states", "length"))
    ranges = {"x": ((B, L, H, P), -1, 1), "delta_raw": ((B, L, H), -2, 2), "a": ((H,), -16, -1), "b": ((B, L, G, N), -1, 1)}
    ranges |= {"c": ((B, L, G, N), -1, 1), "d": ((H,), 0.5, 1.5), "delta_bias": ((H,), -6.9, -2.2)}
    return {name: array(p["input"], name, *its) for name, its in ranges.items()}


def check_mamba2(x, y, chunk):
    """`y` [L, P]: the first head's outputs of the first sequence of inputs x; sums go over up to `chunk` steps at once."""
    b, values, c = (x[name][0, :, 0].astype("f8") for name in ("b", "x", "c"))
    delta = numpy.logaddexp(0, x["delta_raw"][0, :, 0].astype("f8") + float(x["delta_bias"][0]))
    exact, sizes = scan_float64(delta[:, None] * float(x["a"][0]), b, delta[:, None] * values, c)
    skip = float(x["d"][0]) * values
    return check_head(y.astype("f8"), exact + skip, sizes + abs(skip), 2 * b.shape[1] + 2 * chunk + 12 * len(y))


def linear_attention_inputs(p):
    """By name: q, k [B, L, H, N], v [B, L, H, P], log_decay [H], or of rwkv [B, L, H, N], which has a bonus [H, N], too."""
    B, H, N, P, L = (int(p[name]) for name in ("batch", "heads", "key_dim", "value_dim", "length"))
    ranges = {"q": ((B, L, H, N), -1, 1), "k": ((B, L, H, N), -1, 1), "v": ((B, L, H, P), -1, 1)}
    if p["model"] == "rwkv":
        ranges |= {"log_decay": ((B, L, H, N), -1, 0), "bonus": ((H, N), -1, 1)}
    elif p["input"]:
        ranges["log_decay"] = ((H,), 0, 0)
    found = {name: array(p["input"], name, *its) for name, its in ranges.items()}
    return found if "log_decay" in found else found | {"log_decay": numpy.log1p(-numpy.exp2(-5.0 - numpy.arange(H))).astype("f4")}


def check_linear_attention(x, y):
    """`y` [L, P]: the first head's outputs of the first sequence of inputs x."""
    k, v, q = (x[name][0, :, 0].astype("f8") for name in ("k", "v", "q"))
    bonus = x["bonus"][0].astype("f8") if "bonus" in x else None
    decay = x["log_decay"][0, :, 0].astype("f8") if bonus is not None else numpy.full((len(v), 1), float(x["log_decay"][0]))
    exact, sizes = scan_float64(decay, k, v, q, bonus)
    return check_head(y.astype("f8"), exact, sizes, 2 * k.shape[1] + 12 * len(v))
