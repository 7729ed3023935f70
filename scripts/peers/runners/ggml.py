"""ggml, the tensor library of llama.cpp, on problems of sable's sizes: ssm_scan with softplus before it and skip and gate after it
(ssm/mamba, ssm/mamba2), flash_attn_ext with float32 keys and values (attention/prefill).

GGML=DIRECTORY names the folder of libggml-base.so and libggml-cpu.so of a native build; else those of the Python package
llama-cpp-python, which pip builds for the machine. Inputs lie as ggml likes them, time before channels: no transposition is timed.
Drawn inputs, or those of --input; the first head or sampled rows are checked against float64."""

import ctypes
import importlib.util
import os
import pathlib

import numpy
import sequence_models as models

WORKLOADS = ["ssm/mamba", "ssm/mamba2", "attention/prefill"]
REPETITIONS = 10
F32, F16, I32 = 0, 1, 26  # enum ggml_type
NODES = 64  # tensors of a graph, at most
LIBRARIES = ("libggml-base.so", "libggml-cpu.so")


def folder():
    """Where the libraries are, or None."""
    if os.environ.get("GGML"):
        return pathlib.Path(os.environ["GGML"])
    package = importlib.util.find_spec("llama_cpp")
    return pathlib.Path(package.origin).parent / "lib" if package and package.origin else None


def available():
    """"" or why this peer can't run here."""
    found = folder()
    if not found:
        return "GGML is not set to a folder of libggml-cpu.so, and llama-cpp-python is not installed"
    missing = [name for name in LIBRARIES if not (found / name).is_file()]
    return f"{found} has no {missing[0]}" if missing else ""


class InitParams(ctypes.Structure):
    """struct ggml_init_params: `mem_size` bytes that ggml allocates itself."""

    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class Graph:
    """A context of `bytes_` for data of tensors, and the graph made in it. Tensors are addresses; ggml names extents fastest first."""

    def __init__(self, bytes_, threads):
        base, cpu = (ctypes.CDLL(str(folder() / name), mode=ctypes.RTLD_GLOBAL) for name in LIBRARIES)
        self.base, self.cpu, self.kept = base, cpu, []
        base.ggml_init.argtypes = [InitParams]
        for library, names in ((base, ("ggml_init", "ggml_new_graph", "ggml_get_data")), (cpu, ("ggml_backend_cpu_init",))):
            for name in names:
                getattr(library, name).restype = ctypes.c_void_p
        overhead = 1 << 20  # graph and headers of tensors
        self.context = ctypes.c_void_p(base.ggml_init(InitParams(bytes_ + overhead, None, False)))
        self.backend = ctypes.c_void_p(cpu.ggml_backend_cpu_init())
        if not self.context or not self.backend:
            raise MemoryError(f"ggml has no {bytes_} bytes")
        cpu.ggml_backend_cpu_set_n_threads(self.backend, threads)

    def call(self, name, *arguments):
        """A new tensor by ggml_`name`. Integers are passed with 64 bits, as extents and strides are."""
        function = getattr(self.base, f"ggml_{name}")
        function.restype = ctypes.c_void_p
        sent = [ctypes.c_float(x) if isinstance(x, float) else x if isinstance(x, ctypes.c_void_p) or x is None else ctypes.c_int64(x)
                for x in arguments]  # fmt: skip
        return ctypes.c_void_p(function(self.context, *sent))

    def given(self, values, kind=F32):
        """A tensor of a copy of `values` (C order: the last axis is ggml's first)."""
        values = numpy.ascontiguousarray(values, {F32: "f4", F16: "f2", I32: "i4"}[kind])
        tensor = self.call(f"new_tensor_{values.ndim}d", kind, *values.shape[::-1])
        ctypes.memmove(self.base.ggml_get_data(tensor), values.ctypes.data, values.nbytes)
        return tensor

    def timed(self, result, shape):
        """(seconds of each repetition, the first values of `result` as an array of `shape`)."""
        graph = ctypes.c_void_p(self.base.ggml_new_graph(self.context))
        self.base.ggml_build_forward_expand(graph, result)
        seconds, status = models.timed(lambda: self.base.ggml_backend_graph_compute(self.backend, graph), REPETITIONS)
        if status:
            raise RuntimeError(f"ggml_backend_graph_compute: status {status}")
        count = int(numpy.prod(shape))
        data = ctypes.cast(self.base.ggml_get_data(result), ctypes.POINTER(ctypes.c_float))
        return seconds, numpy.ctypeslib.as_array(data, (count,)).reshape(shape).copy()

    def close(self):
        self.base.ggml_backend_free(self.backend)
        self.base.ggml_free(self.context)

    def version(self):
        if not hasattr(self.base, "ggml_version"):
            return "unknown"
        self.base.ggml_version.restype = ctypes.c_char_p
        return self.base.ggml_version().decode()


def scan(graph, state, x, delta, a, b, c):
    """y of ssm_scan, in x's extents: x [B, L, heads, dim], state [B, heads, dim, N], delta [B, L, heads], a [heads, 1 or N], b, c [B, L, groups, N].
    The last argument, of versions since 2026, asks for one state at the end."""
    B, L, heads, dim = x.shape
    ids = graph.given(numpy.arange(B), I32)
    both = graph.call("ssm_scan", graph.given(state), graph.given(x), delta, graph.given(a), graph.given(b), graph.given(c), ids, 1)
    row = 4 * heads * dim
    return graph.call("view_4d", both, dim, heads, L, B, 4 * dim, row, row * L, 0)


def skipped(graph, y, x, d):
    """y + d x."""
    return graph.call("add", y, graph.call("mul", graph.given(x), graph.given(d)))


def mamba(graph_of, p):
    x = models.mamba_inputs(p)
    (B, D, L), N = x["u"].shape, x["a"].shape[1]
    u, raw = (x[name].transpose(0, 2, 1) for name in ("u", "delta_raw"))
    graph = graph_of(4 * (12 * B * D * L + 3 * B * D * N + 4 * B * N * L + D * N))
    delta = graph.call("add", graph.given(raw), graph.given(x["delta_bias"]))
    b, c = (x[name].transpose(0, 2, 1)[:, :, None] for name in ("b", "c"))
    y = scan(graph, numpy.zeros((B, D, 1, N)), u[..., None], delta, x["a"], b, c)
    y = skipped(graph, y, u[..., None], x["d"][:, None])
    if x["z"] is not None:
        y = graph.call("mul", graph.call("silu", graph.given(x["z"].transpose(0, 2, 1)[..., None])), y)
    seconds, y = graph.timed(y, (B, L, D))
    return graph, seconds, B * D * N * L, models.check_mamba(x, y[0, :, 0])


def mamba2(graph_of, p):
    x = models.mamba2_inputs(p)
    (B, L, H, P), (G, N) = x["x"].shape, x["b"].shape[2:]
    graph = graph_of(4 * (8 * B * L * H * P + 4 * B * L * H + 3 * B * H * P * N + 4 * B * L * G * N))
    delta = graph.call("add", graph.given(x["delta_raw"]), graph.given(x["delta_bias"]))
    y = scan(graph, numpy.zeros((B, H, P, N)), x["x"], delta, x["a"][:, None], x["b"], x["c"])
    seconds, y = graph.timed(skipped(graph, y, x["x"], x["d"][:, None]), (B, L, H, P))
    return graph, seconds, B * H * P * N * L, models.check_mamba2(x, y[0, :, 0], 1)


def prefill(graph_of, p):
    shape = models.attention_shape(p)
    b, h, hk, sq, sk, d, dv, scale = shape
    causal = p["mask"] == "causal"
    if p["dtype"] != "fp32" or (causal and sq > sk):
        return None  # rows that see nothing are not ggml's
    q, k, v, _ = models.attention_inputs(p["input"], shape)
    graph = graph_of(4 * (q.size + k.size + v.size + sq * sk + b * h * sq * dv))
    mask = graph.given(numpy.triu(numpy.full((sq, sk), -numpy.inf), 1 + sk - sq), F16) if causal else None
    out = graph.call("flash_attn_ext", graph.given(q), graph.given(k), graph.given(v), mask, scale, 0.0, 0.0)
    seconds, out = graph.timed(out, (b, sq, h, dv))
    items = 2 * (d + dv) * models.visible_pairs(sq, sk, causal) * b * h
    return graph, seconds, items, models.check_attention(out.transpose(0, 2, 1, 3), q, k, v, scale, causal)


def run(workload, threads, parameters):
    """REPETITIONS after one warm-up. Keywords of results.File.run(); [] where ggml computes something else."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    found = {"ssm/mamba": mamba, "ssm/mamba2": mamba2, "attention/prefill": prefill}[workload](lambda bytes_: Graph(bytes_, threads), parameters)
    if not found:
        return []
    graph, seconds, items, checks = found
    facts = {"ggml": graph.version()}
    graph.close()
    return [{"variant": "ggml", "seconds": seconds, "items": items, "warmups": 1, "checks": checks, "facts": facts}]
