"""`sable show` tells what the launch told, and neither crashes nor believes a file that was spoilt."""

import json
import os
import random
import shutil
import subprocess

import h5py
import numpy
import pytest

from contents import stored_runs, text
from launcher import failed_with


@pytest.fixture
def good(run, tmp_path):
    assert run("run", "null", "-V", "all", "-n", "3", "-o", "good.h5").code == 0
    return tmp_path / "good.h5"


def test_show_tells_of_every_run_what_the_launch_told(run, good):
    shown = run("show", good)
    assert (shown.code, shown.err) == (0, "")
    told = run("show", good, "--json").json
    with h5py.File(good, "r") as file:
        for name, group in stored_runs(file).items():
            workload, variant = name.rsplit("/", 1)
            assert workload in shown.out and variant in shown.out
            (one,) = [r for r in told["runs"] if (r["workload"], r["variant"]) == (workload, variant)]
            assert one["digest"] == text(group.attrs["digest"]) and one["fom"] == group.attrs["fom"]
            names = [text(name) for name in group["phases"].attrs["phases"]]
            assert [phase["name"] for phase in one["phases"]] == names and names[0] in shown.out
            for number, phase in enumerate(one["phases"]):
                seconds = group["phases"][:, :, number]
                expected = [numpy.quantile(seconds, q) for q in (0.5, 0.9, 0.99, 1)]
                assert [phase[name] for name in ("p50", "p90", "p99", "max")] == pytest.approx(expected)
                assert phase["share"] == pytest.approx(seconds.sum() / group["phases"][:].sum())


def spoil(what, file):
    """Makes one thing wrong in a results file that is open for writing."""
    run = file["runs/null/sum/sable"]
    if what == "no_format":
        del file.attrs["format"]
    elif what == "other_format":
        file.attrs["format"] = "sable-mdp"
    elif what == "format_is_a_number":
        file.attrs["format"] = 1.5
    elif what == "format_version_of_the_future":
        file.attrs["format_version"] = 2
    elif what == "format_version_is_a_text":
        file.attrs["format_version"] = "one"
    elif what == "format_version_is_an_array":
        file.attrs["format_version"] = numpy.arange(1000)
    elif what == "no_runs":
        del file["runs"]
    elif what == "runs_is_a_dataset":
        del file["runs"]
        file["runs"] = 1.0
    elif what == "no_machine":
        del file["machine"]
    elif what == "run_without_attributes":
        for name in list(run.attrs):
            del run.attrs[name]
    elif what == "fom_is_a_text":
        run.attrs["fom"] = "fast"
    elif what == "fom_is_an_array":
        run.attrs["fom"] = numpy.zeros((100, 100))
    elif what == "digest_is_a_number":
        run.attrs["digest"] = 7
    elif what == "huge_text":
        run.attrs["fom_unit"] = "u" * 60000
    elif what == "text_of_many_lines":
        run.attrs["warnings"] = "\x1b[2J\n" * 5000
    elif what == "text_not_utf8":
        run.attrs["fom_unit"] = numpy.bytes_(b"\xff\xfe\xfd")
    elif what == "seconds_is_a_group":
        del run["seconds"]
        run.create_group("seconds")
    elif what == "seconds_is_a_text":
        del run["seconds"]
        run["seconds"] = "long"
    elif what == "seconds_has_one_dimension":
        del run["seconds"]
        run["seconds"] = numpy.ones(5)
    elif what == "seconds_is_empty":
        del run["seconds"]
        run.create_dataset("seconds", shape=(0, 1), dtype="f8")
    elif what == "seconds_is_huge":
        del run["seconds"]
        run.create_dataset("seconds", shape=(1 << 40, 1 << 20), dtype="f8", chunks=(1, 1024))
    elif what == "phases_of_other_shape":
        del run["phases"]
        run["phases"] = numpy.ones((2, 3))
    elif what == "phases_without_names":
        del run["phases"].attrs["phases"]
    elif what == "phases_with_more_names":
        run["phases"].attrs["phases"] = numpy.full(9, b"x" * 100)
    elif what == "phases_with_texts_of_variable_length":
        run["phases"].attrs["phases"] = ["compute", "\x1b[2J"]
    elif what == "ranks_is_huge":
        run.attrs["ranks"] = numpy.int64(1 << 62)
    elif what == "ranks_is_negative":
        run.attrs["ranks"] = -1
    elif what == "counters_of_other_columns":
        del run["counters"]
        run["counters"] = numpy.zeros(3, dtype=[("unknown", "i1")])
    elif what == "checks_is_a_scalar":
        del run["checks"]
        run["checks"] = 1.0
    elif what == "ceilings_of_other_columns":
        del file["machine/ceilings"]
        file["machine/ceilings"] = numpy.zeros(3, dtype=[("name", "f8"), ("value", "S3")])
    elif what == "groups_in_a_circle":
        run["again"] = file["runs"]
        file["runs/null/null"] = file["runs/null"]
    elif what == "links_to_nowhere":
        file["runs/null/soft"] = h5py.SoftLink("/nowhere")
        file["runs/null/external"] = h5py.ExternalLink("absent.h5", "/")
    elif what == "link_to_itself":
        file["runs/null/loop"] = h5py.SoftLink("/runs/null/loop")
    elif what == "hostile_name":
        file.move("runs/null/sum", "runs/null/\x1b[2Jsum\n%s%n")
    else:
        raise AssertionError(what)


SPOILT = """no_format other_format format_is_a_number format_version_of_the_future format_version_is_a_text
format_version_is_an_array no_runs runs_is_a_dataset no_machine run_without_attributes fom_is_a_text fom_is_an_array
digest_is_a_number huge_text text_of_many_lines text_not_utf8 seconds_is_a_group seconds_is_a_text
seconds_has_one_dimension seconds_is_empty seconds_is_huge phases_of_other_shape
phases_without_names phases_with_more_names phases_with_texts_of_variable_length ranks_is_huge ranks_is_negative counters_of_other_columns
checks_is_a_scalar ceilings_of_other_columns groups_in_a_circle links_to_nowhere link_to_itself hostile_name""".split()
REFUSED = set(SPOILT[:6])


def shows_or_refuses(run, path):
    """Either exit 0 with well-formed output, or exit 2 with one line; never a crash. Returns the exit status."""
    for arguments in (["show", path], ["show", path, "--json"]):
        told = run(*arguments, timeout=20)
        if told.code == 0:
            assert told.err == "" and "\x1b" not in told.out, told
            assert "--json" not in arguments or json.loads(told.out)
        else:
            failed_with(told, 2)
    return told.code


def test_show_neither_crashes_nor_believes_a_spoilt_file(run, good, tmp_path):
    crashed = []
    for what in SPOILT:
        path = tmp_path / f"{what}.h5"
        shutil.copy(good, path)
        with h5py.File(path, "r+") as file:
            spoil(what, file)
        try:
            code = shows_or_refuses(run, path)
            assert what not in REFUSED or code == 2, "it was shown"
        except (AssertionError, subprocess.TimeoutExpired, json.JSONDecodeError) as problem:
            crashed.append(f"{what}: {str(problem)[:200]}")
    assert not crashed, "\n".join(crashed)


def test_show_refuses_what_is_no_hdf5(run, good, tmp_path):
    whole = good.read_bytes()
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("text")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.h5")
    for name in ("empty.h5", "text.h5", "folder.h5", "half.h5", "pipe.h5", "absent.h5", "/dev/null", ""):
        failed_with(run("show", name, timeout=10), 2, name)


def test_show_survives_flipped_bytes(run, good, tmp_path):
    """HDF5 itself notices most of them; none may crash sable or hang it."""
    whole = good.read_bytes()
    chance = random.Random(1)
    for _ in range(60):
        spoilt = bytearray(whole)
        for _ in range(chance.choice([1, 8, 64])):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        path = tmp_path / "flipped.h5"
        path.write_bytes(spoilt)
        shows_or_refuses(run, path)
