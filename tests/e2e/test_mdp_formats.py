"""value_iteration/model by --input from PETSc's binary matrices and PRISM's explicit text: golden models rewritten in these
formats have their values; hostile and truncated files are refused with one clear line."""

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

MODEL = "value_iteration/model"
CASES = {name: SOURCE / f"tests/cases/value_iteration/{name}.h5" for name in ("forest_50", "garnet_local_2000_3_5", "gambler_p0.4", "queue_60")}


def golden(name):
    with h5py.File(CASES[name]) as file:
        return {key: file[key][()] for key in ("indptr", "indices", "probs", "rewards", "v_star")} | dict(file.attrs)


def solve(run, tmp_path, path, case, *words, ranks=None):
    told = run("run", MODEL, *ONCE, "--keep", "full", "-i", path, "-o", "out.h5", "--force", "-s", "tol=1e-9",
               "-s", f"gamma={case['gamma']}", "-s", f"sense={case['sense']}", *words, ranks=ranks)  # fmt: skip
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        group = file[f"runs/{MODEL}/sable"]
        return group["outputs/v"][()], group.attrs["digest"]


def petsc_matrix(shape, indptr, indices, values, integer=">i4"):
    head = numpy.array([1211216, *shape, len(values)], integer)
    return b"".join(part.tobytes() for part in (head, numpy.diff(indptr).astype(integer), indices.astype(integer), values.astype(">f8")))


def petsc_dense(values, integer=">i4"):
    return numpy.array([1211216, *values.shape, -1], integer).tobytes() + values.astype(">f8").tobytes()


def petsc_vector(values, integer=">i4"):
    return numpy.array([1211214, values.size], integer).tobytes() + values.astype(">f8").tobytes()


def transitions(case, integer=">i4"):
    states, actions = case["rewards"].shape
    return petsc_matrix((states * actions, states), case["indptr"], case["indices"], case["probs"], integer)


@pytest.mark.parametrize("ranks", [None, 3])
@pytest.mark.parametrize("kind", ["dense", "sparse", "vector", "wide"])
def test_petsc_matrices_have_the_golden_values(run, tmp_path, kind, ranks):
    case = golden("garnet_local_2000_3_5")
    rewards, integer = case["rewards"], ">i8" if kind == "wide" else ">i4"
    costs = {"dense": petsc_dense, "wide": petsc_dense, "vector": petsc_vector}.get(kind)
    if costs:
        second = costs(rewards, integer)
    else:
        rows, columns = numpy.nonzero(rewards)
        second = petsc_matrix(rewards.shape, numpy.searchsorted(rows, numpy.arange(len(rewards) + 1)), columns, rewards[rows, columns])
    (tmp_path / "P.bin").write_bytes(transitions(case, integer))
    (tmp_path / "g.bin").write_bytes(second)
    (tmp_path / "both.bin").write_bytes(transitions(case, integer) + second)
    v, digest = solve(run, tmp_path, "P.bin", case, "-s", "rewards=g.bin", ranks=ranks)
    assert numpy.abs(v - case["v_star"]).max() <= 1e-8
    assert solve(run, tmp_path, "both.bin", case, ranks=ranks)[1] == digest == solve(run, tmp_path, CASES["garnet_local_2000_3_5"], case)[1]


def prism(case):
    """(.tra, .trew): unavailable actions have no lines; the reward is paid with every transition of the choice."""
    states, actions = case["rewards"].shape
    tra, trew, choices = [], [], 0
    for row in range(states * actions):
        s, a = divmod(row, actions)
        if case["rewards"][s, a] == -numpy.inf:
            continue
        choices += 1
        for k in range(case["indptr"][row], case["indptr"][row + 1]):
            tra.append(f"{s} {a} {case['indices'][k]} {case['probs'][k]!r} act{a}")
            trew.append(f"{s} {a} {case['indices'][k]} {case['rewards'][s, a]!r}")
    return "\n".join([f"{states} {choices} {len(tra)}", *tra, ""]), "\n".join(["# Reward structure", f"{states} {choices} {len(trew)}", *trew, ""])


@pytest.mark.parametrize("ranks", [None, 3])
@pytest.mark.parametrize("name", ["forest_50", "gambler_p0.4", "queue_60"])
def test_prisms_text_has_the_golden_values(run, tmp_path, name, ranks):
    case = golden(name)
    tra, trew = prism(case)
    (tmp_path / "m.tra").write_text(tra)
    (tmp_path / "m.trew").write_text(trew)
    assert numpy.abs(solve(run, tmp_path, "m.tra", case, ranks=ranks)[0] - case["v_star"]).max() <= 1e-8


def test_a_markov_chain_of_prism_with_rewards_of_states(run, tmp_path):
    """A coin that pays 1 on heads: V = pay + γ (V0 + V1)/2."""
    (tmp_path / "coin.tra").write_text("2 4\n0 0 0.5\n0 1 0.5\n1 0 0.5\n1 1 0.5\n")
    (tmp_path / "coin.rews").write_text("2 1\n0 1\n")
    v, _ = solve(run, tmp_path, "coin.tra", {"gamma": 0.5, "sense": "max"})
    assert numpy.abs(v - [1.5, 0.5]).max() <= 1e-9


TRA = "2 2 3\n0 0 0 0.5\n0 0 1 0.5\n1 0 1 1\n"
BAD_TEXT = {
    "truncated": (TRA[:-8], "truncated"),
    "not_a_number": (TRA.replace("1 1\n", "1 x\n"), "line 4"),
    "nan": (TRA.replace("1 1\n", "1 nan\n"), "line 4"),
    "state_beyond": (TRA.replace("0 0 1", "0 0 7"), "line 3"),
    "negative_state": (TRA.replace("0 0 1", "0 0 -1"), "line 3"),
    "not_ascending": ("2 2 3\n1 0 1 1\n0 0 0 0.5\n0 0 1 0.5\n", "ascend"),
    "row_sum": (TRA.replace("1 0.5", "1 0.4"), "sums to"),
    "huge_head": (TRA.replace("2 2 3", "9000000000000000 2 3", 1), ""),
    "words": ("some text\nof nobody\n", "line 1"),
    "long_line": ("2 2 3 " + "x" * 10000, "line 1"),
    "zeros": ("\0" * 100, "line 1"),
    "too_many_choices": (TRA.replace("1 0 1 1", "1 5 1 1"), "line 4"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_text_is_refused_in_one_line(run, tmp_path, name):
    text, what = BAD_TEXT[name]
    (tmp_path / "bad.tra").write_text(text)
    (tmp_path / "bad.rews").write_text("2 1\n0 1\n")
    told = run("run", MODEL, *ONCE, "-i", "bad.tra")
    failed_with(told, 3 if name == "huge_head" and told.code == 3 else 2, what)


def with_head(index, value):
    def change(data):
        return data[: 4 * index] + numpy.array(value, ">i4").tobytes() + data[4 * index + 4 :]

    return change


BAD_BINARY = {
    "truncated": lambda data: data[: len(data) // 2],
    "only_a_head": lambda data: data[:16],
    "no_rewards": lambda data: data[: len(transitions(golden("forest_50")))],
    "huge_rows": with_head(1, 2**31 - 1),
    "negative_columns": with_head(2, -5),
    "other_states": with_head(2, 49),
    "huge_numbers": with_head(3, 2**31 - 1),
    "row_length": with_head(4, 2**30),
    "negative_length": with_head(4, -1),
    "successor": with_head(4 + 100, 50),
}


@pytest.mark.parametrize("name", BAD_BINARY)
def test_bad_matrices_are_refused_in_one_line(run, tmp_path, name):
    case = golden("forest_50")
    (tmp_path / "bad.bin").write_bytes(BAD_BINARY[name](transitions(case) + petsc_dense(case["rewards"])))
    failed_with(run("run", MODEL, *ONCE, "-i", "bad.bin"), 2, "bad.bin")


def test_rewards_that_are_not_there_are_told(run, tmp_path):
    (tmp_path / "m.tra").write_text(TRA)
    failed_with(run("run", MODEL, *ONCE, "-i", "m.tra"), 2, "rewards=FILE")
    failed_with(run("run", MODEL, *ONCE, "-i", "m.tra", "-s", "rewards=nowhere.rews"), 2, "nowhere.rews")


def test_other_workloads_still_refuse_what_is_no_hdf5(run, tmp_path):
    (tmp_path / "m.tra").write_text(TRA)
    failed_with(run("run", "value_iteration/gridworld", *ONCE, "-c", "T", "-i", "m.tra"), 2, "not an HDF5 file")
