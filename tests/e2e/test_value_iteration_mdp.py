"""value_iteration over stored transitions: golden models solved elsewhere, exact solves of the greedy policy, refusals."""

import math
import shutil

import h5py
import numpy
import pytest

from conftest import SOURCE
from launcher import ONCE, failed_with

CASES = sorted((SOURCE / "tests/cases/value_iteration").glob("*.h5"))
MODEL = "value_iteration/model"
METHODS = ["vi", "mpi", "ipi", "pi", "gs", "anderson", "auto", "ipi krylov=bicgstab", "pi krylov=bicgstab preconditioner=jacobi"]
# γ = 0.9999 there: roundings of rewards up to 1 reach 1e-9 only with values of size 1.
TOLERANCE = 1e-9


def solve(run, tmp_path, path, *settings, ranks=None, variant="sable"):
    told = run("run", MODEL, *ONCE, "--keep", "full", "-V", variant, "-i", path, "-o", "out.h5", "--force",
               "-s", f"tol={TOLERANCE}", *settings, ranks=ranks)  # fmt: skip
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        group = file[f"runs/{MODEL}/{variant}"]
        return {name: data[()] for name, data in group["outputs"].items()} | {"digest": group.attrs["digest"]}


def method_settings(method):
    return [word for setting in f"method={method}".split() for word in ("-s", setting)]


def close(found, expected, tolerance):
    same = numpy.isneginf(found) & numpy.isneginf(expected)
    return bool((same | (numpy.abs(numpy.where(same, 0, found) - numpy.where(same, 0, expected)) <= tolerance)).all())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_golden_models_have_their_values_and_policies(run, tmp_path, case, method):
    found = solve(run, tmp_path, case, *method_settings(method))
    with h5py.File(case) as file:
        v, q, sense = file["v_star"][()], file["q_star"][()], file.attrs["sense"]
    assert close(found["v"], v, 1e-8)
    assert close(found["q"], q, 1e-8)
    best = q.min(axis=1) if sense == "min" else q.max(axis=1)
    chosen = q[numpy.arange(len(q)), found["policy"]]
    assert (numpy.abs(chosen - best) <= 1e-8 * (1 + numpy.abs(best))).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_same_bits_on_any_ranks_and_in_both_variants(run, tmp_path, method):
    case = SOURCE / "tests/cases/value_iteration/garnet_local_2000_3_5.h5"
    digests = {solve(run, tmp_path, case, *method_settings(method), ranks=n, variant=v)["digest"]
               for n, v in [(None, "sable"), (None, "reference"), (3, "sable"), (5, "reference")]}  # fmt: skip
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["frozenlake4x4", "frozenlake8x8", "taxi", "jacks_car_rental", "gambler"])
def test_the_models_in_data_agree_with_a_direct_solve_of_the_greedy_policy(run, tmp_path, name):
    path = SOURCE / f"data/{name}.h5"
    found = solve(run, tmp_path, path, ranks=2)
    with h5py.File(path) as file:
        gamma, rewards, indptr = file.attrs["gamma"], file["rewards"][()], file["indptr"][()]
        indices, probs = file["indices"][()], file["probs"][()].copy()
        if "transition_terminal" in file:
            probs[file["transition_terminal"][()] == 1] = 0
    states, actions = rewards.shape
    matrix = numpy.eye(states)
    for s, a in enumerate(found["policy"]):
        row = slice(*indptr[s * actions + a : s * actions + a + 2])
        numpy.subtract.at(matrix[s], indices[row], gamma * probs[row])
    exact = numpy.linalg.solve(matrix, rewards[numpy.arange(states), found["policy"]])
    # The policy loses at most twice the bound, and V is within it.
    assert numpy.abs(found["v"] - exact).max() <= 3 * TOLERANCE
    assert found["bound"][0] <= TOLERANCE


def test_a_large_model_agrees_with_a_sparse_direct_solve_of_the_greedy_policy(run, tmp_path):
    """As many states, actions and successors as garnet's class S has; near ones, so that an LU factorisation is possible."""
    sparse, linalg = pytest.importorskip("scipy.sparse"), pytest.importorskip("scipy.sparse.linalg")
    states, actions, branching, gamma = 100_000, 8, 8, 0.99
    draw = numpy.random.default_rng(4)
    steps = numpy.cumsum(draw.integers(1, 6, (states * actions, branching)), axis=1) - 24
    indices = (numpy.arange(states).repeat(actions)[:, None] + steps).clip(0, states - 1)
    probs = draw.dirichlet(numpy.ones(branching), states * actions)
    with h5py.File(tmp_path / "near.h5", "w") as file:
        file.attrs.update({"format": "sable-mdp", "gamma": gamma, "actions": actions})
        file["indptr"] = branching * numpy.arange(states * actions + 1)
        file["indices"], file["probs"] = indices.ravel(), probs.ravel()
        file["rewards"] = draw.uniform(0, 1, (states, actions))
        rewards = file["rewards"][()]
    found = solve(run, tmp_path, "near.h5", ranks=2)
    greedy = numpy.arange(states) * actions + found["policy"]
    transitions = sparse.csr_matrix((probs[greedy].ravel(), indices[greedy].ravel(), branching * numpy.arange(states + 1)), (states, states))
    exact = linalg.splu((sparse.identity(states) - gamma * transitions).tocsc()).solve(rewards[numpy.arange(states), found["policy"]])
    assert numpy.abs(found["v"] - exact).max() <= 3 * TOLERANCE
    assert found["bound"][0] <= TOLERANCE


def test_golden_cases_of_the_same_name_hold_the_models_in_data(run, tmp_path):
    """Two recipes, one model: the frozen lakes."""
    for name in ("frozenlake4x4", "frozenlake8x8"):
        found = solve(run, tmp_path, SOURCE / f"data/{name}.h5")
        with h5py.File(SOURCE / f"tests/cases/value_iteration/{name}.h5") as file:
            assert close(found["v"], file["v_star"][()], 1e-8)


def test_ends_and_rewards_of_transitions_count(run, tmp_path):
    """State 0: toss for 3 and the end, or for 1 and another try; V = (3 + 1 + γV)/2. State 1 is terminal."""
    with h5py.File(tmp_path / "toss.h5", "w") as file:
        file.attrs.update({"format": "sable-mdp", "gamma": 0.5, "actions": 1})
        file["indptr"], file["indices"], file["probs"] = [0, 2, 3], [1, 0, 1], [0.5, 0.5, 1.0]
        file["transition_rewards"] = [3.0, 1.0, 100.0]
        file["transition_terminal"] = numpy.array([1, 0, 0], "u1")
        file["terminal"] = numpy.array([0, 1], "u1")
    found = solve(run, tmp_path, "toss.h5")
    assert numpy.abs(found["v"] - [2 / 0.75, 0]).max() <= TOLERANCE


def set_value(dataset, index, value):
    def change(file):
        file[dataset][index] = value

    return change


def set_attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


def remove(name):
    def change(file):
        del file[name]

    return change


REFUSED = {
    "gamma_of_one": (set_attribute("gamma", 1.0), "gamma"),
    "gamma_nan": (set_attribute("gamma", math.nan), "gamma"),
    "another_format": (set_attribute("format", "other"), "sable-mdp"),
    "another_sense": (set_attribute("sense", "most"), "sense"),
    "a_row_that_does_not_sum_to_one": (set_value("probs", 7, 0.4), "sums to"),
    "a_negative_probability": (set_value("probs", 7, -0.1), "probability"),
    "a_probability_that_is_nan": (set_value("probs", 7, math.nan), "probability"),
    "a_successor_out_of_range": (set_value("indices", 5, 50), "state 50 of 50"),
    "a_negative_successor": (set_value("indices", 5, -1), "state -1"),
    "a_reward_that_is_nan": (set_value("rewards", (3, 1), math.nan), "state 3, action 1"),
    "an_infinite_reward": (set_value("rewards", (3, 1), math.inf), "state 3, action 1"),
    "a_state_without_actions": (set_value("rewards", (3, slice(None)), -math.inf), "state 3"),
    "indptr_that_goes_back": (set_value("indptr", 5, 10**12), "indptr[5]"),
    "indptr_that_ends_early": (set_value("indptr", 100, 149), "indptr"),
    "no_probs": (remove("probs"), "probs"),
    "no_rewards": (remove("rewards"), "rewards"),
}


ON_THREE_RANKS = ["gamma_of_one", "a_row_that_does_not_sum_to_one", "no_rewards"]


@pytest.mark.parametrize("what, ranks", [*((what, None) for what in REFUSED), *((what, 3) for what in ON_THREE_RANKS)])
def test_a_file_that_is_no_model_is_refused_in_one_line(run, tmp_path, what, ranks):
    change, word = REFUSED[what]
    shutil.copy(SOURCE / "tests/cases/value_iteration/forest_50.h5", tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        change(file)
    failed_with(run("run", MODEL, *ONCE, "-i", "bad.h5", ranks=ranks), 2, "bad.h5", word, alone=ranks is None)
    assert [path.name for path in tmp_path.iterdir() if path.name != "bad.h5" and not path.is_dir()] == []


def test_a_tolerance_that_double_precision_cannot_prove_is_refused(run):
    case = SOURCE / "tests/cases/value_iteration/gambler_p0.4.h5"
    failed_with(run("run", MODEL, *ONCE, "-i", case, "-s", "tol=1e-14"), 2, "tol=1e-14", "at least")
    failed_with(run("run", "value_iteration/garnet", *ONCE, "-c", "T", "-s", "tol=1e-18"), 2, "tol=1e-18", "at least")


def test_a_name_of_a_model_is_no_path(run):
    failed_with(run("run", MODEL, *ONCE, "-s", "file=../data/taxi.h5"), 2, "file=")
    failed_with(run("run", MODEL, *ONCE, "-s", "file=nosuch.h5"), 2, "nosuch.h5")


@pytest.mark.parametrize("settings", ["branching=8 states=7", "branching=8 locality=3", "states=1000000000000000"])
def test_a_garnet_that_cannot_be_is_refused(run, settings):
    words = [word for setting in settings.split() for word in ("-s", setting)]
    assert run("run", "value_iteration/garnet", *ONCE, *words).code in (2, 3)


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_messages_carry_the_needed_values_only(run, tmp_path, ranks):
    """Successors within 40 states of a ring, so many rows that all are met: 40 values on either side of a rank."""
    shape = ["states=1280", "locality=40", "actions=64", "branching=40", "method=vi", "gamma=0.9"]
    settings = [word for setting in shape for word in ("-s", setting)]
    told = run("run", "value_iteration/garnet", *ONCE, *settings, "-o", "out.h5", ranks=ranks)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        group = file["runs/value_iteration/garnet/sable"]
        sent, sweeps = group["counters"]["bytes_sent"], int(group["outputs/sweeps"][0])
    halo = 0 if ranks == 1 else 8 * 80 * sweeps
    # A reduction of four numbers a sweep, but for one that only made the policy.
    assert set((sent - halo).tolist()) <= {32 * sweeps, 32 * (sweeps - 1)}


def test_coded_probabilities_give_the_same_bits_in_less_memory(run, tmp_path):
    """Mazes have few different ones; garnets too many, and stay as they are."""
    for workload, fewer in [("maze", True), ("garnet", False)]:
        shape = ["-s", "rows=300", "-s", "columns=300"] if fewer else []
        found = []
        for probabilities in ("float64", "codes"):
            told = run("run", f"value_iteration/{workload}", *ONCE, "-c", "T", *shape, "-V", "sable", "-s", f"probabilities={probabilities}", "-o", "out.h5", "--force")
            assert told.code == 0, told
            with h5py.File(tmp_path / "out.h5") as file:
                group = file[f"runs/value_iteration/{workload}/sable"]
                found.append((group.attrs["digest"], group["counters"]["bytes_memory"][0]))
        assert found[0][0] == found[1][0] and (found[1][1] < 0.8 * found[0][1]) == fewer, found


def test_values_read_by_gathers_or_loads_have_the_same_bits(run, tmp_path):
    digests, ways = set(), {}
    for reads in ("gathers", "loads", "auto"):
        told = run("run", "value_iteration/garnet", *ONCE, "-c", "T", "-V", "sable", "-s", f"reads={reads}", "-o", "out.h5", "--force")
        assert told.code == 0, told
        with h5py.File(tmp_path / "out.h5") as file:
            group = file["runs/value_iteration/garnet/sable"]
            digests.add(group.attrs["digest"])
            ways[reads] = group.attrs["values_read_by"].decode()
            best = "gathers" if file["machine"].attrs["simd"].decode() == "v4" else "loads"
    assert len(digests) == 1
    assert ways["gathers"] == best and ways["loads"] == "loads" and ways["auto"] in {best, "loads"}, ways


MEMORY = ["garnet states=200000 method=vi", "maze rows=1500 columns=1500 gamma=0.5 tol=1 probabilities=codes", "garnet states=200000 method=mpi", "garnet states=100000 method=ipi", "gridworld n=4000 tol=1",
          "maze rows=1000 columns=1000 gamma=0.5 tol=1", "pendulum angles=301 speeds=301 gamma=0.5 tol=1"]  # fmt: skip


@pytest.mark.parametrize("setting", MEMORY)
def test_memory_is_within_a_seventh_of_what_a_dry_run_tells(run, tmp_path, setting):
    def peak(*arguments):
        # Below mpirun: a process inherits the peak of what started it, and pytest is large.
        told = run("run", *arguments, *ONCE, "-V", "sable", "-o", "out.h5", "--force", ranks=1)
        assert told.code == 0, told
        with h5py.File(tmp_path / "out.h5") as file:
            return file[f"runs/{arguments[0]}/sable/counters"]["peak_rss"].max()

    workload, *shape = setting.split()
    arguments = [f"value_iteration/{workload}", *(word for one in shape for word in ("-s", one))]
    program = peak("null/sum", "-s", "n=1")  # program text, MPI, HDF5
    told = run("run", *arguments, "--dry-run", "--json").json[0]["would_run"][0]["memory_per_rank"]
    assert told > 3 * program
    assert told / 1.15 <= peak(*arguments) - program <= 1.15 * told


# ---- How methods get there ----


def sweeps(run, tmp_path, workload, *settings):
    words = [word for setting in settings for word in ("-s", setting)]
    told = run("run", f"value_iteration/{workload}", *ONCE, "-c", "T", *words, "-o", "out.h5", "--force")
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        return file[f"runs/value_iteration/{workload}/sable/outputs/sweeps"][()].tolist()


def test_gauss_seidel_needs_fewer_sweeps_with_more_colours(run, tmp_path):
    """What a colour has found the next one sees. The span's bound would hide that: it favours sweeps of all at once."""
    settings = ["stop=residual", "gamma=0.95"]
    by_colours = [sweeps(run, tmp_path, "garnet", "method=gs", f"colours={c}", *settings)[0] for c in (16, 4, 2)]
    at_once = sweeps(run, tmp_path, "garnet", "method=vi", *settings)[0]
    assert by_colours == sorted(set(by_colours)) and by_colours[-1] < at_once, (by_colours, at_once)


def test_anderson_combines_sweeps_to_fewer(run, tmp_path):
    settings = ["gamma=0.99", "stop=residual"]  # the span would remove by itself what all states share
    assert 2 * sweeps(run, tmp_path, "epidemic", "method=anderson", *settings)[0] < \
        sweeps(run, tmp_path, "epidemic", "method=vi", *settings)[0]


def test_auto_evaluates_where_it_pays_only(run, tmp_path):
    assert sweeps(run, tmp_path, "garnet", "method=auto") == sweeps(run, tmp_path, "garnet", "method=mpi")
    maze = ["rows=64", "columns=64"]
    assert sweeps(run, tmp_path, "maze", "method=auto", *maze)[1] < sweeps(run, tmp_path, "maze", "method=mpi", *maze)[1] / 2


def test_jacobi_helps_where_states_stay(run, tmp_path):
    """States that stay with probability 0.5 to 0.99: the diagonal of I − γP is far from constant."""
    states, gamma = 500, 0.99
    stay = numpy.random.default_rng(2).uniform(0.5, 0.99, states)
    with h5py.File(tmp_path / "lazy.h5", "w") as file:
        file.attrs.update({"format": "sable-mdp", "gamma": gamma, "actions": 1})
        file["indptr"] = 2 * numpy.arange(states + 1)
        file["indices"] = numpy.stack([numpy.arange(states), (numpy.arange(states) * 7 + 1) % states], 1).ravel()
        file["probs"] = numpy.stack([stay, 1 - stay], 1).ravel()
        file["rewards"] = numpy.random.default_rng(3).uniform(0, 1, (states, 1))
    products = []
    for preconditioner in ("none", "jacobi"):
        told = run("run", MODEL, *ONCE, "-i", "lazy.h5", "-o", "out.h5", "--force", "-s", "method=pi", "-s", "tol=1e-8",
                   "-s", f"preconditioner={preconditioner}")  # fmt: skip
        assert told.code == 0, told
        with h5py.File(tmp_path / "out.h5") as file:
            products.append(file[f"runs/{MODEL}/sable/outputs/sweeps"][2])
    assert products[1] < 0.8 * products[0], products


# ---- PETSc in the same run ----


@pytest.fixture
def petsc(workloads):
    if "petsc" not in workloads[MODEL]["peers"]:
        pytest.skip("built without PETSc of this MPI")


@pytest.mark.parametrize("method", ["ipi", "pi krylov=bicgstab", "vi preconditioner=jacobi"])
@pytest.mark.parametrize("ranks", [None, 3])
def test_petsc_finds_the_same_values(run, tmp_path, petsc, method, ranks):
    for name in ("garnet_local_2000_3_5", "frozenlake8x8", "queue_60"):
        case = SOURCE / f"tests/cases/value_iteration/{name}.h5"
        found = solve(run, tmp_path, case, *method_settings(method), ranks=ranks, variant="petsc")
        with h5py.File(case) as file:
            assert close(found["v"], file["v_star"][()], 1e-8)
        assert found["bound"][0] <= TOLERANCE and found["sweeps"][2] > 0


def test_petsc_runs_on_some_ranks_and_then_on_others(run, petsc):
    told = run("run", "value_iteration/garnet", *ONCE, "-c", "T", "-V", "petsc", "--ranks", "1,2,3", ranks=3)
    assert told.code == 0 and len(told.foms) == 3, told


def test_petsc_takes_no_options_from_the_environment(run, tmp_path, petsc):
    (tmp_path / ".petscrc").write_text("-help\n")
    arguments = ["run", "value_iteration/garnet", *ONCE, "-c", "T", "-V", "petsc", "-o", "out.h5"]
    told = run(*arguments, env={"PETSC_OPTIONS": "-help -log_view -ksp_type preonly"})
    assert told.code == 0 and "ksp" not in told.out + told.err, told
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["runs/value_iteration/garnet/petsc"].attrs["peer_library"].startswith(b"PETSc 3")


# ---- Generated models with known answers ----


def solved(run, tmp_path, workload, *settings, ranks=None):
    words = [word for setting in settings for word in ("-s", setting)]
    told = run("run", f"value_iteration/{workload}", *ONCE, "--keep", "full", "-c", "T", *words, "-o", "out.h5", "--force", ranks=ranks)
    assert told.code == 0, told
    with h5py.File(tmp_path / "out.h5") as file:
        outputs = file[f"runs/value_iteration/{workload}/sable/outputs"]
        return outputs["v"][()], outputs["bound"][0]


@pytest.mark.parametrize("ranks", [None, 3])
def test_without_slip_the_way_out_of_a_tree_maze_is_as_long_as_rows_and_columns(run, tmp_path, ranks):
    rows, columns, gamma = 22, 31, 0.95
    v, bound = solved(run, tmp_path, "maze", f"rows={rows}", f"columns={columns}", "slip=0", f"gamma={gamma}", ranks=ranks)
    r, c = numpy.mgrid[:rows, :columns]
    steps = (rows - 1 - r) + (columns - 1 - c)
    expected = (1 - gamma**steps) / (1 - gamma)
    error = numpy.abs(v.reshape(rows, columns) - expected)
    is_wall = v.reshape(rows, columns) < 0.5  # free and absorbing
    assert is_wall[-1, -1] and 0.3 < is_wall.mean() < 0.7
    assert error[~is_wall].max() <= bound and numpy.abs(v[is_wall.ravel()]).max() <= bound


def test_the_pendulum_costs_the_same_mirrored(run, tmp_path):
    v, bound = solved(run, tmp_path, "pendulum", "angles=24", "speeds=19", ranks=2)
    v = v.reshape(24, 19)
    assert numpy.abs(v - numpy.roll(v[::-1], 1, axis=0)[:, ::-1]).max() <= 2 * bound
    assert v.argmin() == 12 * 19 + 9 and abs(v[12, 9]) <= bound  # upright and still


def test_an_epidemic_that_is_over_costs_nothing_and_more_infected_cost_more(run, tmp_path):
    v, bound = solved(run, tmp_path, "epidemic", ranks=2)
    assert abs(v[-1]) <= bound
    assert v[1] > v[75] > v[140] > v[-1]


@pytest.mark.parametrize(
    "workload, setting",
    [("maze", "rows=0"), ("maze", "slip=1.5"), ("maze", "rows=1000000000"), ("pendulum", "angles=2"), ("pendulum", "tol=1e-30"), ("epidemic", "window=0")],
)
def test_generated_models_that_cannot_be_are_refused(run, workload, setting):
    assert run("run", f"value_iteration/{workload}", *ONCE, "-c", "T", "-s", setting).code in (2, 3)
