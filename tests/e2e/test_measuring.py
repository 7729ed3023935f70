"""Times whose truth is known beforehand (null/sleep): differences are found where they are and nowhere else, and times
that can't be trusted are said to be so. No test depends on how fast the machine is: variants are interleaved, and what
a busy machine adds to one it adds to the other."""

import itertools
import re

import h5py
import numpy
import pytest

from launcher import ONCE, failed_with

SLEEP = ("run", "null/sleep", "--ceilings", "none")


@pytest.fixture
def measure(run, tmp_path):
    """The runs of a launch by variant, as JSON and as raw seconds [repetition × rank]."""

    def start(*arguments, code=0, **options):
        told = run(*SLEEP, *arguments, "--json", "-o", "out.h5", "--force", **options)
        assert told.code == code, told
        runs = {run["variant"]: run for run in told.json["runs"]}
        with h5py.File(tmp_path / "out.h5", "r") as file:
            seconds = {variant: file[f"runs/null/sleep/{variant}/seconds"][()] for variant in runs}
        return runs, seconds

    return start


# ---- Differences ----


def claims(run, variants, *settings):
    """What launch after launch says of the ratio. A machine that is busy with other work may spoil some of them."""
    while True:
        told = run(*SLEEP, "-V", variants, "-s", "delay=0.002", "-s", "noise=0.02", *settings, "-n", "60").out
        (line,) = [line for line in told.splitlines() if "times the speed of" in line]
        yield line


def test_a_tenth_slower_is_found(run):
    said = []
    for line in itertools.islice(claims(run, "sable,slower", "-s", "slowdown=0.1"), 6):
        said.append(line)
        assert line.startswith("null/sleep: slower runs at") and not line.endswith(": faster"), said
        low, high = map(float, re.search(r"\(95 %: (\S+) to (\S+)\)", line).groups())
        if line.endswith(": slower") and low <= 1 / 1.1 * 1.005 and high >= 1 / 1.1 * 0.995:
            return
    raise AssertionError(said)


def test_equal_variants_are_not_called_different(run):
    said = list(itertools.islice(claims(run, "reference,sable"), 3))
    assert sum(line.endswith(": no difference shown") for line in said) >= 2, said


def test_the_first_variant_named_is_the_base_of_ratios(measure):
    runs, seconds = measure("-V", "slower,sable", "-s", "delay=0.002", "-s", "slowdown=3", "-n", "25")
    assert (runs["slower"]["ratio"], runs["sable"]["ratio_to"]) == (None, "slower")
    assert runs["sable"]["ratio"] > 1.5
    ratios = seconds["slower"].max(axis=1) / seconds["sable"].max(axis=1)
    assert runs["sable"]["ratio"] == pytest.approx(numpy.median(ratios), rel=1e-12)


def test_variants_take_turns(measure):
    """A disturbance in the middle of the launch would hit both: each has as many repetitions."""
    runs, seconds = measure("-V", "all", "-s", "delay=0.0005", "-n", "9")
    assert list(runs) == ["reference", "sable", "slower"]
    assert {shape.shape for shape in seconds.values()} == {(9, 1)}


# ---- Figures ----


def test_the_figure_of_merit_comes_from_the_median_of_the_slowest_rank(measure):
    runs, seconds = measure("-n", "11", "-s", "noise=0.5", ranks=2)
    slowest = seconds["sable"].max(axis=1)
    assert runs["sable"]["seconds"] == numpy.median(slowest)
    assert runs["sable"]["fom"] == pytest.approx(1 / numpy.median(slowest), rel=1e-12)
    slowest.sort()
    assert runs["sable"]["seconds_ci_low"] == slowest[1] and runs["sable"]["seconds_ci_high"] == slowest[9]
    assert runs["sable"]["fom_ci_low"] == pytest.approx(1 / slowest[9], rel=1e-12)


def test_no_repetition_is_shorter_than_the_wait(measure):
    _, seconds = measure("-n", "20", "-s", "delay=0.003", ranks=2)
    assert (seconds["sable"] >= 0.003).all()


def test_seconds_of_each_rank_show_the_imbalance(measure):
    _, seconds = measure("-n", "11", "-s", "delay=0.004", "-s", "imbalance=2", ranks=2)
    first, last = seconds["sable"].min(axis=0)  # whatever else runs here only adds
    assert 2 < last / first < 4


def test_fom_lines_name_workload_variant_and_verdict(run):
    told = run("run", "null", *ONCE, "-V", "reference,sable")
    assert [fom[:2] + fom[3:4] for fom in told.foms] == [
        ("null/sleep", "reference", "rep/s"),
        ("null/sleep", "sable", "rep/s"),
        ("null/sum", "reference", "Gelement/s"),
        ("null/sum", "sable", "Gelement/s"),
    ]
    assert all(float(fom[2]) > 0 and fom[4:6] == ("nan", "none") for fom in told.foms)


def test_the_share_is_the_figure_over_the_ceiling_of_the_same_launch(run):
    told = run("run", "null/sum", "-n", "10", "--json").json
    (one,) = told["runs"]
    (ceiling,) = [c for c in told["ceilings"] if c["name"] == one["ceiling"]]
    assert (ceiling["ranks"], ceiling["threads"]) == (one["ranks"], one["threads"])
    assert one["ceiling_value"] == pytest.approx(ceiling["value"] / 16, rel=1e-9), "16 bytes an element, or 2 flop"
    assert one["share_of_ceiling"] == pytest.approx(one["fom"] / one["ceiling_value"], rel=1e-9)
    assert one["share_of_ceiling"] > 0


# ---- How often ----


def test_as_many_repetitions_as_asked(measure):
    for reps in (1, 2, 23):
        runs, seconds = measure("-n", reps, "-s", "delay=0.0001")
        assert (runs["sable"]["reps"], runs["sable"]["stopped"], len(seconds["sable"])) == (reps, "asked", reps)


def test_automatic_repetitions_stop_on_a_narrow_interval(measure):
    runs, seconds = measure("-s", "delay=0.005", "--max-time", "60")
    run = runs["sable"]
    assert (run["stopped"], run["reps"] >= 10, len(seconds["sable"])) == ("interval", True, run["reps"])
    assert (run["seconds_ci_high"] - run["seconds_ci_low"]) / (2 * run["seconds"]) <= 0.02


def test_automatic_repetitions_go_on_while_the_interval_is_wide(measure):
    """Of such noise some 600 repetitions are needed to know the median to 2 %; ten can't."""
    runs, _ = measure("-s", "delay=0.0002", "-s", "noise=0.3", "--max-time", "60")
    assert runs["sable"]["reps"] > 50


def test_max_time_ends_a_run_whose_interval_stays_wide(measure):
    runs, seconds = measure("-s", "delay=0.01", "-s", "noise=50", "--max-time", "1", "-w", "0")
    assert runs["sable"]["stopped"] == "max-time"
    assert seconds["sable"][:-1].sum() < 1.5


def test_max_time_ends_also_a_number_of_repetitions(measure):
    runs, _ = measure("-s", "delay=0.01", "-n", "100000", "--max-time", "0.3")
    assert runs["sable"]["stopped"] == "max-time" and 1 <= runs["sable"]["reps"] < 100


def test_warmups_are_counted_and_not_used(measure, tmp_path):
    _, seconds = measure("-n", "3", "-w", "5", "-s", "delay=0.0001")
    assert len(seconds["sable"]) == 3
    with h5py.File(tmp_path / "out.h5", "r") as file:
        assert file["runs/null/sleep/sable/seconds"].attrs["warmups"] == 5


# ---- Trust ----


def test_more_threads_than_processors_are_untrusted(run):
    told = run("run", "null/sum", "-n", "6", "--ceilings", "none", "--json", ranks=3, threads=8)
    (one,) = told.json["runs"]
    assert (told.code, one["verified"], one["verdict"]) == (0, "PASS", "UNTRUSTED")
    assert "24 threads" in one["warnings"]
    strict = run("run", "null/sum", "-n", "6", "--ceilings", "none", "--strict", ranks=3, threads=8)
    assert (strict.code, [fom[-1] for fom in strict.foms]) == (3, ["UNTRUSTED"])


def test_noise_is_untrusted(measure):
    runs, _ = measure("-s", "delay=0.001", "-s", "noise=20", "-n", "12")
    assert (runs["sable"]["verified"], runs["sable"]["verdict"]) == ("PASS", "UNTRUSTED")
    assert "noise" in runs["sable"]["warnings"]


def test_a_wrong_answer_stays_wrong_however_noisy(measure):
    runs, _ = measure("-s", "noise=20", "-n", "12", "--inject-fault", "nan", "--strict", code=1)
    assert runs["sable"]["verdict"] == "FAIL"


# ---- Several sets of ranks, and order ----


def test_one_launch_measures_several_sets_of_ranks(run):
    told = run("run", "null/sum", *ONCE, "--ranks", "1,2,3", "--json", ranks=3)
    assert told.code == 0, told
    runs = told.json["runs"]
    assert [one["ranks"] for one in runs] == [1, 2, 3]
    assert len({one["digest"] for one in runs}) == 1 and {one["verified"] for one in runs} == {"PASS"}


def test_an_error_in_one_set_of_ranks_ends_the_ranks_outside(run):
    told = run(*SLEEP, "-n", "1", "--ranks", "1,3", "--inject-fault", "error", ranks=3, timeout=60)
    failed_with(told, 3, "injected error of rank 0", alone=False)


def test_shuffle_draws_the_order_from_the_seed(run):
    def order(seed):
        plan = run("run", "all", "null", "--shuffle", "--seed", seed, "--dry-run", "--json").json[0]["would_run"]
        return tuple(item["workload"] for item in plan)

    orders = [order(seed) for seed in range(8)]
    assert len(set(orders)) > 1 and {frozenset(one) for one in orders} == {frozenset(orders[0])}
    assert order(3) == orders[3]
