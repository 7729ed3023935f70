"""What stands in integrations/: ReFrame's test is run against the built binary, the others are looked at as far as that goes without
their tools. REFRAME names the command (see ./scripts/check integrations)."""

import ast
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
FOLDER = SOURCE / "integrations"
BINARY = pathlib.Path(os.environ.get("SABLE_BINARY") or SOURCE / "build/release/sable").resolve()
REFRAME = os.environ.get("REFRAME") or shutil.which("reframe")


def reframe(folder, *arguments, binary=BINARY):
    if not REFRAME:
        pytest.skip("no reframe is at hand: ./scripts/check integrations installs it")
    command = [REFRAME, "-C", FOLDER / "reframe/settings.py", "-c", FOLDER / "reframe/sable_check.py", "--system=generic:default"]
    command += ["--report-file", folder / "report.json", "-S", "class_name=T", "-S", "max_time=0.2", *arguments]
    environment = os.environ | {"SABLE": str(binary), "HOME": str(folder)}
    return subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False)


def workloads():
    listing = json.loads(subprocess.run([BINARY, "list", "--json"], capture_output=True, text=True, check=True).stdout)
    return [workload["name"] for workload in listing["workloads"] if not workload["test_only"]]


def test_reframe_runs_every_workload_and_reads_its_figures(tmp_path):
    done = reframe(tmp_path, "-r", "--exec-policy=serial")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    cases = [case for run in report.get("runs", report.get("sessions", [])) for case in run["testcases"]]
    assert len(cases) == len(workloads())
    for case in cases:
        figures = {name.split(":")[-1]: values for name, values in case["perfvalues"].items()}
        assert case["result"] == "pass" and {"fom", "share_of_ceiling"} <= set(figures), case["name"]
        assert figures["fom"][0] > 0


def test_reframe_sees_a_wrong_answer(tmp_path):
    """A binary whose answers are wrong: the same one with a fault."""
    wrong = tmp_path / "sable"
    wrong.write_text(f'#!/bin/sh\n[ "$1" = run ] && exec {BINARY} "$@" --inject-fault nan\nexec {BINARY} "$@"\n')
    wrong.chmod(0o755)
    done = reframe(tmp_path, "-r", "-n", "ssm/scan", binary=wrong)
    assert done.returncode != 0 and "FAILED" in done.stdout


@pytest.mark.parametrize("path", ["spack/packages/sable/package.py", "ramble/applications/sable/application.py", "easybuild/sable-0.1.0-foss-2023b.eb"])
def test_recipes_are_python(path):
    ast.parse((FOLDER / path).read_text())


def test_the_ramble_application_takes_the_lines_that_sable_prints(tmp_path):
    line = re.search(r'line = r"(.*)"', (FOLDER / "ramble/applications/sable/application.py").read_text()).group(1)
    done = subprocess.run(
        [BINARY, "run", "null/sum", "-c", "T", "-n", "1", "--ceilings", "quick", "-o", tmp_path / "out.h5"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(line, done.stdout, re.MULTILINE)
    assert found and found["workload"] == "null/sum" and found["verdict"] in ("PASS", "UNTRUSTED") and float(found["fom"]) > 0


def test_spack_and_setup_ask_for_the_same_libraries():
    spack = (FOLDER / "spack/packages/sable/package.py").read_text()
    asked = set(re.findall(r'depends_on\("([a-z0-9-]+)', spack))
    table = (SOURCE / "README.md").read_text().split("## What it is built from")[1]
    for name in ("hdf5", "hwloc", "random123", "xxhash", "jansson"):
        assert name in asked and name in table, name
