"""PyTorch's scaled_dot_product_attention (2.x: flash attention on the CPU) on problems of sable's shapes: attention/prefill, and its
gradients for attention/backward. Drawn inputs, or those of --input; sampled rows are checked against float64."""

import os
import time

import numpy

WORKLOADS = ["attention/prefill", "attention/backward"]
REPETITIONS, U = 10, 2.0**-24
MODELS = {"gpt2": (12, 12, 64, 64), "llama3_8b": (32, 8, 128, 128), "kimi_vl": (16, 16, 192, 128), "moonvit": (16, 16, 72, 72)}


def available():
    """"" or why this peer can't run here."""
    try:
        import torch  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install torch==2.13.0"
    return ""


def shape_of(parameters):
    """(B, H, Hk, Sq, Sk, D, Dv, scale): what 0 stands for is filled in as sable does."""
    p = {name: int(parameters[name]) for name in ("batch", "heads", "kv_heads", "queries", "keys", "dim", "dim_v")}
    heads, kv_heads, dim, dim_v = MODELS[parameters["model"]]
    kv_heads = p["kv_heads"] or p["heads"] or kv_heads
    dim_v = p["dim_v"] or p["dim"] or dim_v
    heads, dim, keys = p["heads"] or heads, p["dim"] or dim, p["keys"] or p["queries"]
    return p["batch"], heads, kv_heads, p["queries"], keys, dim, dim_v, float(parameters["scale"]) or dim**-0.5


def tensors(torch, path, shape):
    """q, k, v and dout: the file's, or drawn from [−2, 2)."""
    b, h, hk, sq, sk, d, dv, _ = shape
    wanted = {"q": (b, h, sq, d), "k": (b, hk, sk, d), "v": (b, hk, sk, dv), "dout": (b, h, sq, dv)}
    generator, found = torch.Generator().manual_seed(1), {}
    if path:
        import h5py

        with h5py.File(path) as file:
            found = {name: torch.from_numpy(file[name][()].astype("f4")) for name in wanted if name in file}
    return [found[name] if name in found else 4 * torch.rand(size, generator=generator) - 2 for name, size in wanted.items()]


def check_rows(out, q, k, v, scale, causal):
    """The largest error of sampled rows over a bound on the rounding of a float32 softmax: E of docs/attention.md, and the sum's."""
    sq, sk, d = q.shape[2], k.shape[2], q.shape[3]
    worst = 0.0
    for row in sorted({0, sq // 3, sq // 2, sq - 1}):
        seen = row + 1 + sk - sq if causal else sk
        keys, values = k[0, 0, :seen].double().numpy(), v[0, 0, :seen].double().numpy()
        logits = scale * (keys @ q[0, 0, row].double().numpy())
        weights = numpy.exp(logits - logits.max())
        exact = weights @ values / weights.sum()
        error = (d + 2) * U * scale * numpy.linalg.norm(q[0, 0, row]) * numpy.linalg.norm(keys, axis=1).max()
        error += 4 * U * abs(logits).max() + 8 * U
        bound = 2 * (error + (seen + 64) * U) * abs(values).max()
        worst = max(worst, float(abs(out[0, 0, row].double().numpy() - exact).max() / bound))
    return [("error of sampled rows over their rounding bound", worst, 1.0, 0.0, bool(worst <= 1))]


def timed(call):
    seconds = []
    for _ in range(REPETITIONS + 1):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    return seconds[1:], found


def run(workload, threads, parameters):
    """REPETITIONS after one warm-up. Keywords of results.File.run(); [] for masks that PyTorch aligns otherwise."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    shape = shape_of(parameters)
    b, h, hk, sq, sk, d, dv, scale = shape
    causal = parameters["mask"] == "causal"
    if causal and sq != sk:
        return []  # aligned at the top left there
    q, k, v, dout = tensors(torch, parameters["input"], shape)
    attend = torch.nn.functional.scaled_dot_product_attention
    options = {"is_causal": causal, "scale": scale, "enable_gqa": h != hk}
    pairs = sum(min(sk, r + 1) for r in range(sq)) if causal else sq * sk
    if workload == "attention/prefill":
        with torch.inference_mode():
            seconds, out = timed(lambda: attend(q, k, v, **options))
        items, checks = 2 * (d + dv) * pairs * b * h, check_rows(out, q, k, v, scale, causal)
    else:
        for tensor in (q, k, v):
            tensor.requires_grad_(True)
        out = attend(q, k, v, **options)
        seconds, grads = timed(lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True))
        # <dv, v> = <dout, out>: exact, as out is linear in v.
        left, right = (float((x.double() * y.double()).sum()) for x, y in ((grads[2], v), (dout, out)))
        size = float((dout.abs().double() * out.abs().double()).sum())
        items = 2 * (3 * d + 2 * dv) * pairs * b * h
        checks = [("<dv, v> against <dout, out>", left, right, 2 * (sq + sk) * U * size, abs(left - right) <= 2 * (sq + sk) * U * size)]
    return [{"variant": "pytorch", "seconds": seconds, "items": items, "warmups": 1, "checks": checks, "facts": {"pytorch": torch.__version__}}]
