"""What a user types, rightly and wrongly: every mistake is one line on standard error, exit 2, and leaves no file."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

from launcher import ONCE, failed_with

FAULTLESS = ("run", "null/sum", *ONCE)


# ---- What is asked rightly ----


def test_help_and_version_go_to_standard_output(run):
    for arguments in (["--help"], ["help"], ["-h"], ["--version"], ["run", "--help"], ["ceilings", "--help"]):
        told = run(*arguments)
        assert (told.code, told.err) == (0, ""), arguments
        assert "sable" in told.out
    assert run("--version").out.count("\n") == 1


def test_help_of_run_lists_every_option_of_the_contract(run):
    text = run("run", "--help").out
    for option in (
        "--class --variant --set --input --output --reps --warmup --max-time --keep --seed --ceilings --no-verify "
        "--dry-run --json --quiet --no-progress --strict --resume --ranks --memory --inject-fault --shuffle --force"
    ).split():
        assert option in text, option


def test_list_names_every_workload_with_its_parameters(run, workloads):
    assert {"null/sleep", "null/sum"} <= workloads.keys()
    text = run("list").out
    for name, workload in workloads.items():
        assert name in text
        assert list(workload["variants"])[0] == "reference" and "sable" in workload["variants"], name
        assert list(workload["classes"])[:2] == ["T", "S"], name
        assert workload["summary"] and workload["fom"]["name"] and workload["fom"]["unit"], name
        for parameter in workload["parameters"]:
            assert parameter["name"] in text and parameter["help"], (name, parameter)
            assert {"type", "unit", "default"} <= parameter.keys(), (name, parameter)


def test_help_of_a_workload_tells_parameters_variants_classes_faults_and_arrays(run, workloads):
    for name, workload in workloads.items():
        text = run("run", name, "--help").out
        named = [p["name"] for p in workload["parameters"]] + [*workload["variants"], *workload["faults"]]
        named += [*workload["classes"].values()] + [f["name"] for f in workload["inputs"] + workload["outputs"]]
        for word in named:
            assert word in text, (name, word)


def test_dry_run_tells_workloads_parameters_and_memory_and_writes_nothing(run, tmp_path, workloads):
    told = run("run", "all", "null", "--dry-run")
    assert told.code == 0, told.err
    plan = run("run", "all", "null", "--dry-run", "--json").json[0]["would_run"]
    assert [item["workload"] for item in plan] == list(workloads)
    for item in plan:
        assert item["workload"] in told.out and item["memory_per_rank"] > 0, item
        assert item["parameters"].keys() == {p["name"] for p in workloads[item["workload"]]["parameters"]}
    assert list(tmp_path.iterdir()) == []


def test_settings_override_the_class(run):
    plan = run("run", "null/sum", "--class", "A", "--set", "n=77", "--dry-run", "--json").json[0]["would_run"][0]
    assert (plan["class"], plan["parameters"]) == ("A", {"n": "77"})


def test_class_auto_fits_into_the_memory_asked_for(run):
    def chosen(share):
        plan = run("run", "null/sum", "--class", "auto", "--memory", share, "--dry-run", "--json").json[0]
        item = plan["would_run"][0]
        return item["memory_per_rank"], plan["memory_available"], int(item["parameters"]["n"])

    memory, available, most = chosen("100%")
    assert memory <= available
    least = chosen("0.0001%")[2]
    assert least == 100_003 <= most


def test_all_leaves_out_the_tests_of_sable_itself(run, workloads):
    plan = run("run", "all", "--dry-run", "--json")
    if all(workload["test_only"] for workload in workloads.values()):
        failed_with(plan, 2)
        return
    named = {item["workload"] for item in plan.json[0]["would_run"]}
    assert named == {name for name, workload in workloads.items() if not workload["test_only"]}


def test_quiet_prints_only_fom_lines(run):
    told = run(*FAULTLESS, "--quiet")
    assert (told.code, told.err) == (0, "")
    assert len(told.foms) == len(told.out.splitlines()) == 1


def test_json_is_all_that_standard_output_holds(run):
    (only,) = run(*FAULTLESS, "--json").json["runs"]
    assert (only["workload"], only["variant"], only["verified"]) == ("null/sum", "sable", "PASS")
    assert only["parameters"] == {"n": 1_000_000}


def test_only_the_first_rank_speaks(run):
    for arguments in (["--version"], ["list"], ["run", "--help"]):
        assert run(*arguments, ranks=3).out == run(*arguments).out


def test_info_tells_the_binding_of_every_rank_and_thread(run):
    told = run("info", "--json", ranks=3, threads=2).json
    assert (told["ranks"], told["threads"], told["hosts"]) == (3, 2, 1)
    assert [(b["rank"], b["thread"]) for b in told["binding"]] == [(r, t) for r in range(3) for t in range(2)]
    assert all(b["cpuset"] for b in told["binding"])
    assert run("info").code == 0


# ---- Login nodes: some commands never start MPI ----

SHIM = """
#include <stdlib.h>
int MPI_Init(int *argc, char ***argv) { (void)argc, (void)argv; abort(); }
int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{ (void)argc, (void)argv, (void)required, (void)provided; abort(); }
"""


@pytest.fixture
def without_mpi(run, tmp_path_factory):
    """`sable` in a process that dies on MPI_Init."""
    compiler = shutil.which("cc") or shutil.which("gcc") or pytest.skip("no C compiler to make a library of")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=True)
    preload = {"LD_PRELOAD": str(folder / "shim.so"), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    return lambda *arguments: run(*arguments, env=preload)


def test_list_show_and_help_never_start_mpi(run, without_mpi):
    assert run(*FAULTLESS, "-o", "stored.h5").code == 0
    assert without_mpi("info").code < 0, "the shim does not catch MPI_Init: this test would prove nothing"
    for arguments in (["list"], ["list", "--json"], ["show", "stored.h5"], ["show", "stored.h5", "--json"]):
        assert without_mpi(*arguments).code == 0, arguments
    for arguments in (["--help"], ["--version"], ["run", "--help"], ["run", "null/sum", "--help"]):
        assert without_mpi(*arguments).code == 0, arguments
    failed_with(without_mpi("show", "absent.h5"), 2)
    failed_with(without_mpi("run", "null/sum", "--reps", "many"), 2)


# ---- What is asked wrongly ----

SUM, SLEEP = ("run", "null/sum"), ("run", "null/sleep")
MISTAKES = {
    # commands and workloads
    "no_command": ([], "command"),
    "unknown_command": (["frobnicate"], "frobnicate"),
    "empty_command": ([""], "command"),
    "unknown_flag": (["--frobnicate"], "frobnicate"),
    "list_with_argument": (["list", "null"], "null"),
    "list_with_option": (["list", "--class"], "--class"),
    "show_without_file": (["show"], "show"),
    "show_two_files": (["show", "a.h5", "b.h5"], "b.h5"),
    "info_with_argument": (["info", "null"], "null"),
    "ceilings_with_argument": (["ceilings", "null"], "null"),
    "ceilings_with_option_of_run": (["ceilings", "--reps", "3"], "--reps"),
    "run_nothing": (["run"], "run"),
    "unknown_workload": (["run", "null/unknown"], "null/unknown"),
    "unknown_family": (["run", "unknown"], "unknown"),
    "empty_workload": (["run", ""], "workload"),
    "family_with_slash": (["run", "null/"], "null/"),
    "good_and_unknown_workload": (["run", "null/sum", "null/unknown"], "null/unknown"),
    "help_of_unknown_workload": (["run", "null/unknown", "--help"], "null/unknown"),
    "workload_of_several_lines": (["run", "null\nsable: x\r\nnull"], "null"),
    "workload_of_100000_letters": (["run", "n" * 100_000], "nnn"),
    "workload_that_is_a_format": (["run", "%s%n%s%n"], "%s%n"),
    # variants, classes, faults
    "unknown_variant": ([*SUM, "-V", "unknown"], "unknown"),
    "empty_variant": ([*SUM, "-V", ""], "variant"),
    "variant_named_twice": ([*SUM, "-V", "sable,sable"], "sable"),
    "variant_list_ends_with_comma": ([*SUM, "-V", "sable,"], "variant"),
    "too_many_variants": ([*SUM, "-V", ",".join(f"v{i}" for i in range(17))], "variant"),
    "all_among_variants": ([*SUM, "-V", "sable,all"], "all"),
    "variant_without_value": ([*SUM, "-V"], "-V"),
    "unknown_class": ([*SUM, "-c", "Z"], "Z"),
    "empty_class": ([*SUM, "-c", ""], "class"),
    "class_without_value": ([*SUM, "--class"], "--class"),
    "unknown_fault": ([*SUM, "--inject-fault", "unknown"], "unknown"),
    "empty_fault": ([*SUM, "--inject-fault="], "inject-fault"),
    "fault_of_another_workload": ([*SUM, "--inject-fault", "nan"], "nan"),
    # parameters
    "unknown_parameter": ([*SUM, "-s", "unknown=1"], "unknown"),
    "parameter_without_equals": ([*SUM, "-s", "n"], "n"),
    "parameter_without_name": ([*SUM, "-s", "=1"], "=1"),
    "empty_setting": ([*SUM, "-s", ""], "--set"),
    "set_without_value": ([*SUM, "--set"], "--set"),
    "empty_integer": ([*SUM, "-s", "n="], "n="),
    "integer_below_range": ([*SUM, "-s", "n=0"], "n=0"),
    "negative_integer": ([*SUM, "-s", "n=-1"], "n=-1"),
    "integer_above_range": ([*SUM, "-s", "n=1000000000000001"], "n=1000000000000001"),
    "integer_of_64_bits": ([*SUM, "-s", "n=9223372036854775807"], "n=9223372036854775807"),
    "integer_overflow": ([*SUM, "-s", "n=10000000000000000000"], "n=10000000000000000000"),
    "integer_with_fraction": ([*SUM, "-s", "n=1.5"], "n=1.5"),
    "integer_with_rest": ([*SUM, "-s", "n=10k"], "n=10k"),
    "integer_not_a_number": ([*SUM, "-s", "n=nan"], "n=nan"),
    "integer_in_hexadecimal": ([*SUM, "-s", "n=0x10"], "n=0x10"),
    "real_not_a_number": ([*SLEEP, "-s", "delay=nan"], "delay=nan"),
    "real_infinite": ([*SLEEP, "-s", "delay=inf"], "delay=inf"),
    "real_overflow": ([*SLEEP, "-s", "delay=1e400"], "delay=1e400"),
    "real_below_range": ([*SLEEP, "-s", "delay=-1"], "delay=-1"),
    "real_above_range": ([*SLEEP, "-s", "delay=3601"], "delay=3601"),
    "real_with_rest": ([*SLEEP, "-s", "delay=1s"], "delay=1s"),
    "empty_real": ([*SLEEP, "-s", "delay="], "delay="),
    "too_many_settings": ([*SUM, *["-sn=1"] * 65], "settings"),
    # options
    "unknown_option": ([*SUM, "--frobnicate"], "--frobnicate"),
    "unknown_letter": ([*SUM, "-z"], "-z"),
    "ambiguous_option": ([*SUM, "--no"], "--no"),
    "flag_with_value": ([*SUM, "--force=yes"], "--force"),
    "reps_zero": ([*SUM, "-n", "0"], "reps"),
    "reps_negative": ([*SUM, "-n", "-1"], "reps"),
    "reps_word": ([*SUM, "-n", "many"], "reps"),
    "reps_fraction": ([*SUM, "-n", "1.5"], "reps"),
    "reps_overflow": ([*SUM, "-n", "10000000000000000000"], "reps"),
    "reps_empty": ([*SUM, "-n", ""], "reps"),
    "warmup_negative": ([*SUM, "-w", "-1"], "warmup"),
    "warmup_word": ([*SUM, "-w", "some"], "warmup"),
    "time_zero": ([*SUM, "-t", "0"], "max-time"),
    "time_negative": ([*SUM, "-t", "-1"], "max-time"),
    "time_nan": ([*SUM, "-t", "nan"], "max-time"),
    "time_infinite": ([*SUM, "-t", "inf"], "max-time"),
    "time_overflow": ([*SUM, "-t", "1e400"], "max-time"),
    "seed_negative": ([*SUM, "--seed", "-1"], "seed"),
    "seed_word": ([*SUM, "--seed", "one"], "seed"),
    "seed_overflow": ([*SUM, "--seed", "100000000000000000000"], "seed"),
    "keep_unknown": ([*SUM, "--keep", "some"], "keep"),
    "ceilings_unknown": ([*SUM, "--ceilings", "some"], "ceilings"),
    "memory_without_percent": ([*SUM, "--memory", "80"], "memory"),
    "memory_none": ([*SUM, "--memory", "0%"], "memory"),
    "memory_too_much": ([*SUM, "--memory", "101%"], "memory"),
    "memory_nan": ([*SUM, "--memory", "nan%"], "memory"),
    "memory_only_percent": ([*SUM, "--memory", "%"], "memory"),
    "ranks_zero": ([*SUM, "--ranks", "0"], "ranks"),
    "ranks_word": ([*SUM, "--ranks", "two"], "ranks"),
    "ranks_gap": ([*SUM, "--ranks", "1,,1"], "ranks"),
    "ranks_empty": ([*SUM, "--ranks", ""], "ranks"),
    "ranks_more_than_launched": ([*SUM, "--ranks", "1,99"], "99"),
    "ranks_overflow": ([*SUM, "--ranks", "4294967297"], "ranks"),
    "output_empty": ([*SUM, "-o", ""], "output"),
    "output_without_value": ([*SUM, "-o"], "-o"),
    "input_where_none_is_read": ([*SUM, "-i", "any.h5"], "--input"),
    "input_empty": ([*SUM, "-i", ""], "input"),
    "resume_absent_file": ([*SUM, "--resume", "absent.h5"], "absent.h5"),
    "resume_empty": ([*SUM, "--resume", ""], "resume"),
}
ENVIRONMENTS = {
    "threads_word": {"OMP_NUM_THREADS": "abc"},
    "threads_zero": {"OMP_NUM_THREADS": "0"},
    "threads_negative": {"OMP_NUM_THREADS": "-1"},
    "threads_fraction": {"OMP_NUM_THREADS": "1.5"},
    "threads_overflow": {"OMP_NUM_THREADS": "99999999999999999999"},
    "threads_bad_second_level": {"OMP_NUM_THREADS": "2,x"},
    "isa_unknown": {"SABLE_ISA": "bogus"},
    "bind_unknown": {"SABLE_BIND": "bogus"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(run, tmp_path, mistake):
    arguments, word = MISTAKES[mistake]
    failed_with(run(*arguments), 2, word)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mistake", ENVIRONMENTS)
def test_a_mistake_in_the_environment_is_one_line_and_exit_2(run, tmp_path, mistake):
    ((name, value),) = ENVIRONMENTS[mistake].items()
    told = run(*FAULTLESS, env={name: value})
    told.err = "\n".join(line for line in told.err.splitlines() if line and not line.startswith("libgomp:"))
    failed_with(told, 2, name, value)
    assert list(tmp_path.iterdir()) == []


def test_three_ranks_make_one_line_of_a_mistake(run, tmp_path):
    chosen = "unknown_command unknown_workload unknown_variant unknown_fault integer_overflow real_not_a_number"
    for mistake in [*chosen.split(), "unknown_option", "reps_zero", "ranks_more_than_launched", "resume_absent_file"]:
        arguments, word = MISTAKES[mistake]
        failed_with(run(*arguments, ranks=3), 2, word, alone=False)
    for mistake in ("threads_word", "isa_unknown", "bind_unknown"):
        ((name, value),) = ENVIRONMENTS[mistake].items()
        failed_with(run(*FAULTLESS, ranks=3, env={name: value}), 2, name, value, alone=False)
    assert list(tmp_path.iterdir()) == []


def bad_values(parameter):
    if parameter["type"] in ("integer", "real"):
        for limit, outside in (("min", -numpy.inf), ("max", numpy.inf)):
            if parameter["type"] == "integer":
                yield f"{parameter[limit] + numpy.sign(outside) * max(1, abs(parameter[limit]) * 1e-9):.0f}"
            else:
                yield repr(float(numpy.nextafter(parameter[limit], outside)))
        yield from ("nan", "1e", "")
    elif parameter["type"] == "point":
        (low_x, low_y), (high_x, high_y) = parameter["min"], parameter["max"]
        yield from ("", "1", "nan,nan", f"{low_x - 1!r},{low_y!r}", f"{high_x!r},{high_y + 1!r}", "1,2,3")
    elif parameter["type"] == "choice":
        yield from ("", "no such choice")


def test_every_parameter_of_every_workload_refuses_what_is_out_of_range(run, tmp_path, workloads):
    """A tiny real is told from zero, and a huge integer from its neighbour: no limit is soft."""
    settings = [
        (name, f"{parameter['name']}={value}")
        for name, workload in workloads.items()
        for parameter in workload["parameters"]
        for value in bad_values(parameter)
    ]
    assert len(settings) > 20
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda setting: run("run", setting[0], "--dry-run", "-s", setting[1]), settings)
        for (name, setting), told in zip(settings, answers):
            assert told.code == 2 and len(told.errors) == 1, (name, setting, told)
            assert setting.split("=")[0] in told.errors[0], (name, setting, told.errors)
    assert list(tmp_path.iterdir()) == []


def test_more_memory_than_there_is_is_told_before_allocating(run, tmp_path):
    failed_with(run(*SUM, "-s", "n=1000000000000000"), 3, "null/sum", "GiB")
    failed_with(run(*SUM, "-s", "n=1000000000000000", ranks=3), 3, "null/sum", "GiB", alone=False)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_standard_output_is_exit_3(sable, tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            sable.command("list"), cwd=tmp_path, env=sable.environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done
