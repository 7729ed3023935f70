"""The worked example of docs/adding-a-benchmark.md: built into a sable of its own, it holds to what every workload must."""

import pathlib
import re

import pytest

from conftest import SOURCE
from launcher import ONCE, Sable

T = ["run", "example/returns", "-c", "T", "-V", "all"]


@pytest.fixture(scope="module")
def example(sable):
    binary = sable.binary.parent / "tests" / "sable_with_example"
    if not binary.exists():
        pytest.skip(f"{binary} was not built (SABLE_TESTS=ON builds it)")
    return Sable(binary, sable.mpirun)


def test_it_is_listed_beside_all_others(example, workloads, tmp_path):
    listing = {w["name"]: w for w in example("list", "--json", cwd=tmp_path).json["workloads"]}
    assert listing.keys() - workloads.keys() == {"example/returns"} and not workloads.keys() - listing.keys()
    assert listing["example/returns"]["weak"] == [{"parameter": "episodes", "exponent": 1.0}]


def test_the_same_digest_of_all_variants_on_any_layout(example, tmp_path):
    digests = set()
    for ranks, threads in ((1, 1), (1, 3), (3, 2), (7, 1)):
        done = example(*T, *ONCE, "--json", "-o", f"{ranks}x{threads}.h5", ranks=ranks, threads=threads, cwd=tmp_path,
                       env={"SABLE_BIND": "none"})
        assert done.code == 0, done.err
        digests |= {run["digest"] for run in done.json["runs"]}
        assert all(run["verified"] == "PASS" for run in done.json["runs"])
    assert len(digests) == 1


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("fault", ["skip_block", "nan"])
def test_every_fault_is_seen(example, tmp_path, fault, ranks):
    done = example(*T, *ONCE, "--inject-fault", fault, "-o", "f.h5", ranks=ranks, cwd=tmp_path)
    assert done.code == 1 and [fom[-1] for fom in done.foms] == ["FAIL", "FAIL"], done


def test_the_page_names_files_that_are_there():
    page = SOURCE / "docs/adding-a-benchmark.md"
    text = page.read_text(encoding="utf-8")
    for name in ("sable_returns.h", "returns.c", "example_returns.c"):
        assert f"`{name}`" in text and (SOURCE / "docs/examples/returns" / name).is_file()
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (page.parent / pathlib.PurePosixPath(link)).exists(), link
