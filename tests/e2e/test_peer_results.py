"""Results files that peers write (scripts/peers/results.py) are sable's own format: `sable show` reads and judges them."""

import pathlib
import sys

import h5py
import numpy
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "peers"))
import results

FOM = ("transitions", "Gtransition/s", 1e9)
TIMES = [0.31, 0.30, 0.305, 0.301, 0.302, 0.303, 0.309]
GOOD = [results.at_most("bound", 3e-9, 1e-8)]


def shown(sable, path):
    return sable("show", path, "--json", cwd=pathlib.Path(path).parent).json


def written(path, **run):
    with results.File(path) as file:
        file.run("value_iteration/model", "peer", **{"seconds": TIMES, "items": 6.4e6, "fom": FOM, "checks": GOOD} | run)
    return path


def test_show_reads_what_a_peer_measured(sable, tmp_path):
    path = written(
        tmp_path / "peer.h5", threads=2, parameters={"tol": 1e-8, "method": "vi", "inner": 3}, outputs={"v": numpy.arange(4.0)}, facts={"peer": "1.0"}
    )
    told = shown(sable, path)
    (run,) = told["runs"]
    assert told["complete"] and told["machine"]["peer"] == "1.0"
    assert (run["workload"], run["variant"], run["verdict"], run["threads"], run["reps"]) == ("value_iteration/model", "peer", "PASS", 2, 7)
    assert run["seconds"] == 0.303 and run["fom"] == pytest.approx(6.4e6 / 0.303 / 1e9, rel=1e-14)
    assert run["parameters"] == {"tol": 1e-8, "method": "vi", "inner": 3}
    with h5py.File(path) as file:
        assert list(file["runs/value_iteration/model/peer/outputs/v"]) == [0, 1, 2, 3]


def test_members_and_attributes_are_those_of_a_file_of_sable(sable, tmp_path):
    """Also for pandas: the same names and the same compounds, whoever wrote the file."""
    ran = sable("run", "value_iteration/garnet", "-c", "T", "-n", "2", "--ceilings", "none", "-o", "own.h5", cwd=tmp_path)
    assert ran.code == 0, ran
    with h5py.File(tmp_path / "own.h5") as own, h5py.File(written(tmp_path / "peer.h5")) as peer:
        parameters = [line.split("=")[0] for line in own["runs/value_iteration/garnet/sable"].attrs["parameters"].decode().split("\n")]
        a, b = own["runs/value_iteration/garnet/sable"], peer["runs/value_iteration/model/peer"]
        assert set(own.attrs) == set(peer.attrs) and set(a) == set(b)
        noted = a.attrs["notes"].decode().split()  # facts of that run, as "values_read_by"
        assert set(a.attrs) - set(parameters) - {"notes", *noted} == set(b.attrs)
        for name in ("counters", "checks"):
            assert {n: a[name].dtype[n] for n in a[name].dtype.names} == {n: b[name].dtype[n] for n in b[name].dtype.names}
        for name in ("seconds", "phases"):
            assert set(a[name].attrs) == set(b[name].attrs)
        assert set(own["machine"]) == set(peer["machine"])


@pytest.mark.parametrize(
    "run, verdict",
    [
        ({"checks": []}, "SKIPPED"),
        ({"checks": [results.at_most("bound", float("nan"), 1)]}, "FAIL"),
        ({"checks": GOOD + [results.near("value", 2, 1, 0.5)]}, "FAIL"),
        ({"seconds": [1, 2, 1, 2, 1, 2, 1]}, "UNTRUSTED"),
    ],
    ids=["unchecked", "nan", "wrong", "noisy"],
)
def test_verdict_of_a_peer_follows_sables_rules(sable, tmp_path, run, verdict):
    assert shown(sable, written(tmp_path / "peer.h5", **run))["runs"][0]["verdict"] == verdict


def test_slowest_rank_counts_and_a_second_run_gets_a_suffix(sable, tmp_path):
    with results.File(tmp_path / "two.h5") as file:
        for _ in range(2):
            name = file.run("ssm/scan", "torch", seconds=[[1, 2], [4, 3], [2, 2]], items=8, fom=("elements", "element/s", 1), checks=GOOD)
    assert name == "/runs/ssm/scan/torch.2"
    first, second = shown(sable, tmp_path / "two.h5")["runs"]
    assert first["fom"] == second["fom"] == 4 and first["ranks"] == 2


def test_a_peer_that_dies_leaves_what_had_finished(sable, tmp_path):
    path = tmp_path / "dies.h5"
    with pytest.raises(RuntimeError), results.File(path) as file:
        file.run("ssm/scan", "torch", seconds=TIMES, items=1, fom=FOM, checks=GOOD)
        raise RuntimeError
    assert not path.exists()
    told = shown(sable, f"{path}.partial")
    assert not told["complete"] and len(told["runs"]) == 1
    with pytest.raises(FileExistsError):
        results.File(path)


def test_times_that_are_no_times_are_refused(tmp_path):
    for seconds in ([], [0.0], [float("nan")], [[[1]]]):
        with pytest.raises(ValueError):
            written(tmp_path / f"{len(list(tmp_path.iterdir()))}.h5", seconds=seconds)
