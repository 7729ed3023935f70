"""PyTorch's scaled_dot_product_attention (2.x: flash attention on the CPU) on problems of sable's shapes: attention/prefill, and its
gradients for attention/backward. Drawn inputs, or those of --input; sampled rows are checked against float64."""

import os

import sequence_models as models

WORKLOADS = ["attention/prefill", "attention/backward"]
REPETITIONS, U = 10, models.U


def available():
    """"" or why this peer can't run here."""
    try:
        import torch  # noqa: F401
    except ImportError as missing:
        return f"{missing}: pip install torch==2.13.0"
    return ""


def run(workload, threads, parameters):
    """REPETITIONS after one warm-up. Keywords of results.File.run(); [] for bfloat16, and for masks that PyTorch aligns otherwise."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    shape = models.attention_shape(parameters)
    b, h, hk, sq, sk, d, dv, scale = shape
    causal = parameters["mask"] == "causal"
    if (causal and sq != sk) or parameters["dtype"] != "fp32":
        return []  # the mask is aligned at the top left there
    arrays = models.attention_inputs(parameters["input"], shape)
    q, k, v, dout = map(torch.from_numpy, arrays)
    attend = torch.nn.functional.scaled_dot_product_attention
    options = {"is_causal": causal, "scale": scale, "enable_gqa": h != hk}
    pairs = models.visible_pairs(sq, sk, causal)
    if workload == "attention/prefill":
        with torch.inference_mode():
            seconds, out = models.timed(lambda: attend(q, k, v, **options), REPETITIONS)
        items, checks = 2 * (d + dv) * pairs * b * h, models.check_attention(out.numpy(), *arrays[:3], scale, causal)
    else:
        for tensor in (q, k, v):
            tensor.requires_grad_(True)
        out = attend(q, k, v, **options)
        seconds, grads = models.timed(lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True), REPETITIONS)
        # <dv, v> = <dout, out>: exact, as out is linear in v.
        left, right = (float((x.double() * y.double()).sum()) for x, y in ((grads[2], v), (dout, out)))
        size = float((dout.abs().double() * out.abs().double()).sum())
        items = 2 * (3 * d + 2 * dv) * pairs * b * h
        checks = [("<dv, v> against <dout, out>", left, right, 2 * (sq + sk) * U * size, abs(left - right) <= 2 * (sq + sk) * U * size)]
    return [{"variant": "pytorch", "seconds": seconds, "items": items, "warmups": 1, "checks": checks, "facts": {"pytorch": torch.__version__}}]
