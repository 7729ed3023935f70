"""`sable compare`: verdicts on times that are known, outputs that differ by what is known, and files that do not belong
together. Real results files whose raw times or outputs were changed afterwards by a known amount."""

import shutil
import subprocess
import sys

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with

REPS = 41


@pytest.fixture(scope="module")
def base(sable, tmp_path_factory):
    """A file of null/sum and null/sleep with outputs; times of null/sum are made known: 1 s and noise of 1 %."""
    folder = tmp_path_factory.mktemp("base")
    done = sable("run", "null", "-c", "T", "-k", "full", "-n", REPS, "--ceilings", "quick", "-o", "base.h5", cwd=folder)
    assert done.code == 0, done
    set_times(folder / "base.h5", 1, seed=1)
    return folder / "base.h5"


def set_times(path, scale, seed, noise=0.01, reps=None):
    with h5py.File(path, "r+") as file:
        for run in ("runs/null/sum/sable", "runs/null/sleep/sable"):
            times = scale * numpy.exp(noise * numpy.random.default_rng(seed).standard_normal((reps or REPS, 1)))
            attrs = dict(file[run]["seconds"].attrs)
            cube = file[run]["phases"][()][: reps or REPS]
            names = dict(file[run]["phases"].attrs)
            del file[run]["seconds"], file[run]["phases"]
            for name, data, old in (("seconds", times, attrs), ("phases", cube, names)):
                made = file[run].create_dataset(name, data=data)
                for key, value in old.items():
                    made.attrs[key] = value


@pytest.fixture
def new(base, tmp_path):
    """A second launch of the same, to be changed."""
    shutil.copy(base, tmp_path / "new.h5")
    set_times(tmp_path / "new.h5", 1, seed=2)
    return tmp_path / "new.h5"


def compared(run, base, new, *options):
    told = run("compare", base, new, "--json", *options)
    assert told.code in (0, 1, 4), told
    return told.code, told.json, {r["workload"]: r for r in told.json["runs"]}


@pytest.mark.parametrize(
    "scale, verdict, code", [(1, "same", 0), (1.02, "same", 0), (1.08, "slower", 4), (0.9, "faster", 0), (1.05, "undecided", 0)]
)
def test_verdict_follows_the_interval_and_the_threshold(run, base, new, scale, verdict, code):
    set_times(new, scale, seed=3)
    status, told, runs = compared(run, base, new)
    assert (runs["null/sum"]["verdict"], status, told["status"]) == (verdict, code, code)
    assert runs["null/sum"]["ratio_ci_low"] < scale < runs["null/sum"]["ratio_ci_high"]
    assert runs["null/sum"]["ratio"] == pytest.approx(scale, rel=0.01)


def test_threshold_is_the_users(run, base, new):
    set_times(new, 1.08, seed=3)
    assert compared(run, base, new, "--threshold", "20")[0] == 0
    assert compared(run, base, new, "--threshold", "2%")[0] == 4


def test_no_verdict_without_an_interval(run, base, new):
    set_times(new, 3, seed=3, reps=5)
    status, _, runs = compared(run, base, new)
    assert (status, runs["null/sum"]["verdict"], runs["null/sum"]["ratio_ci_low"]) == (0, "undecided", None)


def test_lines_for_scripts_and_people(run, base, new):
    set_times(new, 1.5, seed=3)
    told = run("compare", base, new)
    assert told.code == 4 and told.err == ""
    lines = [line.split() for line in told.out.splitlines() if line.startswith("COMPARE")]
    assert [(words[1], words[2], words[3], words[7], words[8]) for words in lines] == [
        ("null/sleep", "sable", "1x1", "slower", "same"), ("null/sum", "sable", "1x1", "slower", "same")]
    assert all(float(low) < float(ratio) < float(high) for _, _, _, _, ratio, low, high, *_ in lines)


# ---- Outputs ----


def change_output(path, name, change, tolerance=None):
    with h5py.File(path, "r+") as file:
        run = file["runs/null/sum/sable"]
        run["outputs"][name][...] += change
        run.attrs.create("digest", numpy.bytes_("%016x" % 1), dtype="S17")
        if tolerance is not None:
            run["outputs"][name].attrs["tolerance"] = tolerance


def test_other_outputs_exit_with_1_and_are_named_with_their_difference(run, base, new):
    change_output(new, "x", 0.25)
    told = run("compare", base, new)
    assert told.code == 1
    assert "output x differs by up to 0.25" in told.out and "DIFFERENT" in told.out
    status, _, runs = compared(run, base, new)
    assert status == 1 and runs["null/sum"]["outputs"] == "DIFFERENT" and runs["null/sleep"]["outputs"] == "same"


def test_outputs_within_the_stored_tolerance_pass_if_asked(run, base, new, tmp_path):
    wider = tmp_path / "base.h5"
    shutil.copy(base, wider)
    with h5py.File(wider, "r+") as file:
        file["runs/null/sum/sable/outputs/x"].attrs["tolerance"] = 0.3
    change_output(new, "x", 0.25, tolerance=1e9)  # only what the base says counts
    assert compared(run, wider, new)[0] == 1
    status, _, runs = compared(run, wider, new, "--outputs", "tolerance")
    assert (status, runs["null/sum"]["outputs"]) == (0, "within")
    change_output(new, "x", 0.1)
    assert compared(run, wider, new, "--outputs", "tolerance")[0] == 1
    assert compared(run, wider, new, "--outputs", "ignore")[0] == 0


def test_nan_in_an_output_is_a_difference(run, base, new):
    change_output(new, "total", numpy.nan, tolerance=1e300)
    assert compared(run, base, new, "--outputs", "tolerance")[0] == 1


def test_an_output_that_one_file_lacks_is_no_agreement(run, base, new):
    change_output(new, "total", 0)
    with h5py.File(new, "r+") as file:
        del file["runs/null/sum/sable/outputs/x"]
    status, _, runs = compared(run, base, new, "--outputs", "tolerance")
    assert status == 1
    assert {a["name"]: a["why"] for a in runs["null/sum"]["arrays"]} == {"total": "", "x": "not stored in both"}


def test_a_wrong_answer_exits_with_1(run, base, tmp_path):
    done = run("run", "null/sleep", "-c", "T", *ONCE, "--inject-fault", "wrong", "-o", "new.h5")
    assert done.code == 1
    told = run("compare", base, "new.h5", "--outputs", "ignore")
    assert told.code == 1 and "WRONG" in told.out


def test_large_outputs_in_files_of_their_own_are_compared_too(run, tmp_path):
    for name in ("a", "b"):
        done = run("run", "null/sum", "-s", "n=9000000", "-k", "full", *ONCE, "-o", f"{name}.h5")
        assert done.code == 0, done
    own = tmp_path / "b.null.sum.sable.x.h5"
    with h5py.File(own, "r+") as file:
        file["x"][7_000_000] += 0.5
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["runs/null/sum/sable"].attrs.create("digest", numpy.bytes_("%016x" % 1), dtype="S17")
    told = run("compare", "a.h5", "b.h5")
    assert told.code == 1 and "output x differs by up to 0.5" in told.out


# ---- What belongs together ----


def test_different_problems_are_refused_with_what_differs(run, base):
    assert run("run", "null/sum", "-c", "T", "-s", "n=77", *ONCE, "-o", "other.h5").code == 0
    failed_with(run("compare", base, "other.h5"), 2, "different problems", "null/sum", "n=100003 against 77")
    assert run("run", "null/sum", "-c", "T", "--seed", "9", *ONCE, "-o", "seed.h5").code == 0
    failed_with(run("compare", base, "seed.h5"), 2, "seed=1 against 9")


def test_files_without_anything_in_common_are_refused(run, base):
    assert run("run", "null/sum", "-c", "T", "-V", "reference", *ONCE, "-o", "other.h5").code == 0
    failed_with(run("compare", base, "other.h5"), 2, "in common")


def test_runs_of_a_sweep_are_paired_by_layout(run):
    for name in ("a", "b"):
        done = run("run", "null/sum", "-c", "T", "--ranks", "1,2", *ONCE, "-o", f"{name}.h5", ranks=2)
        assert done.code == 0, done
    told = run("compare", "a.h5", "b.h5", "--json").json
    assert [(r["ranks"], r["new_ranks"], r["outputs"]) for r in told["runs"]] == [(1, 1, "same"), (2, 2, "same")]


def test_two_layouts_of_one_problem_can_be_compared(run, base):
    assert run("run", "null/sum", "-c", "T", *ONCE, "-o", "two.h5", ranks=2).code == 0
    told = run("compare", base, "two.h5")
    assert told.code == 0 and "1x1->2x1" in told.out and "without a partner: 1 run of the base" in told.out


def test_differences_of_provenance_and_ceilings_are_named(run, base, new):
    with h5py.File(new, "r+") as file:
        file["machine"].attrs.create("cpu_model", numpy.bytes_("Another Processor"), dtype="S20")
        ceilings = file["machine/ceilings"][()]
        assert len(ceilings) > 0
        for name in ("value", "low", "high"):
            ceilings[name][0] *= 0.5
        file["machine/ceilings"][...] = ceilings
    _, told, _ = compared(run, base, new)
    assert [d for d in told["provenance"] if d["name"] == "cpu_model"][0]["new"] == "Another Processor"
    assert [c["new"] / c["base"] for c in told["ceilings"]] == pytest.approx([0.5])


# ---- Anything may be handed in ----


def test_what_is_no_results_file_is_refused_in_one_line(run, base, tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    whole = base.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for bad in ("text.h5", "cut.h5", "missing.h5", "."):
        failed_with(run("compare", base, bad), 2)
        failed_with(run("compare", bad, base), 2)
    failed_with(run("compare", base), 2, "which two files")
    failed_with(run("compare", base, base, "--threshold", "-1"), 2, "--threshold")
    failed_with(run("compare", base, base, "--outputs", "some"), 2, "exact, tolerance, ignore")


def test_links_are_not_followed_to_other_places(run, base, new, tmp_path):
    """An output that is a link to another file must not make us read it."""
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    shutil.copy(base, secret / "secret.h5")
    change_output(new, "total", 1, tolerance=10)
    with h5py.File(new, "r+") as file:
        del file["runs/null/sum/sable/outputs/x"]
        file["runs/null/sum/sable/outputs/x"] = h5py.ExternalLink(str(secret / "secret.h5"), "runs/null/sum/sable/outputs/x")
    status, _, runs = compared(run, base, new)
    assert status == 1
    assert {a["name"]: a["why"] for a in runs["null/sum"]["arrays"]}["x"] == "can't be read"


def test_a_changed_byte_anywhere_ends_in_a_status_of_ours(run, base, tmp_path):
    whole = bytearray(base.read_bytes())
    generator = numpy.random.default_rng(5)
    for place in generator.integers(0, len(whole), 25):
        spoilt = bytearray(whole)
        spoilt[place] ^= int(generator.integers(1, 256))
        (tmp_path / "spoilt.h5").write_bytes(spoilt)
        told = run("compare", base, "spoilt.h5")
        assert told.code in (0, 1, 2, 4), (place, told)


def test_the_experiment_counts_what_is_found(sable, tmp_path):
    """scripts/experiments/compare-errors runs, and tells a known slowdown of null/sleep from none: one that shows on a busy machine."""
    from conftest import SOURCE

    script = SOURCE / "scripts/experiments/compare-errors"
    done = subprocess.run(
        [sys.executable, script, "--binary", sable.binary, "--pairs", "2", "--window", "2", "--reps", "25", "--slowdown", "400", "--folder", tmp_path],
        env=sable.environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done
    rows = [line for line in done.stdout.splitlines() if "null/sleep" in line]
    assert len(rows) == 4 and "| 0.0 % of 2 |" in rows[0] and "| 100.0 % of 2 |" in rows[1], done.stdout
