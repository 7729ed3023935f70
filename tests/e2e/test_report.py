"""scripts/report and scripts/scaling: a sweep of class T to a page that holds what it should, looks right in a browser at
desktop and phone width, and says what it was given that is no results file."""

import csv
import html
import json
import math
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy
import pytest

from conftest import SOURCE

sys.path.insert(0, str(SOURCE / "scripts"))
sys.dont_write_bytecode = True
pytest.importorskip("matplotlib", reason="python3-matplotlib is not installed: scripts/report needs it")
from reportlib import fits, scaling, stats  # noqa: E402

WORKLOADS = ["value_iteration/gridworld", "rollouts/steps", "ssm/scan"]


def sweep(sable, folder, *arguments):
    command = [SOURCE / "scripts/scaling", "--binary", sable.binary, "-c", "T", "--ranks", "1,2", "--threads", "1", "-n", "7",
               "--oversubscribe", "-o", folder, *arguments, *WORKLOADS]
    env = sable.environment(SABLE_BIND="none", OMPI_MCA_rmaps_base_oversubscribe=1)
    return subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def swept(sable, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    done = sweep(sable, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def fake(source, path, attrs, scale, ranks=None, variant=None):
    """A copy of a results file as somebody else would write one: other times, attributes, ranks or variant."""
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        for workload in WORKLOADS:
            group = file[f"runs/{workload}"]
            run = group["sable"]
            seconds = run["seconds"][()][:, :1] * scale
            del run["seconds"], run["phases"], run["counters"]
            run["seconds"] = numpy.repeat(seconds, ranks or 1, axis=1)
            run.attrs["ranks"] = ranks or 1
            run.attrs["fom"] = run.attrs["fom"] / scale
            for name, value in attrs.items():
                run.attrs[name] = value
            if variant:
                group.move("sable", variant)
    return path


@pytest.fixture(scope="module")
def page(swept, tmp_path_factory):
    """The report over a sweep, a prediction of 64 ranks, a peer, and files that are none."""
    folder = tmp_path_factory.mktemp("report")
    files = sorted(swept[0].glob("*.h5"))
    one = next(f for f in files if "strong-T-1x1" in f.name)
    simulated = {"simulated": 1, "assumptions": "fat tree of 12.5 GB/s, rates measured on one core"}
    files += [fake(one, folder / f"predicted-{n}.h5", simulated, 1 / n**0.9, ranks=n) for n in (1, 8, 64)]
    files.append(fake(one, folder / "peer.h5", {"peer": 1}, 1.7, variant="numpy"))
    other = fake(one, folder / "unlike.h5", {"peer": 1, "strategy": "pool; not like for like"}, 0.5, variant="pool")
    with h5py.File(other, "r+") as file:
        for workload in WORKLOADS:  # it took half the time for a tenth of the items
            file[f"runs/{workload}/pool"].attrs["fom"] *= 0.1
    files.append(other)
    (folder / "text.h5").write_text("no HDF5")
    with h5py.File(folder / "other.h5", "w") as file:
        file.attrs["format"] = "something else"
    files += [folder / "text.h5", folder / "other.h5", folder / "missing.h5"]
    done = subprocess.run([SOURCE / "scripts/report", *files, "-o", folder / "r.html", "--title", "A <title> & more"],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, (folder / "r.html").read_text(encoding="utf-8"), done


# ---- scripts/scaling ----


def test_a_sweep_has_a_file_for_each_point_and_goes_on_where_it_stopped(sable, swept):
    folder, _ = swept
    names = sorted(f.name for f in folder.glob("*.h5"))
    assert [re.sub("-[0-9a-f]{10}[.]h5", "", n) for n in names] == [
        "scaling-strong-T-1x1", "scaling-strong-T-2x1", "scaling-weak-T-2x1"]
    with h5py.File(folder / names[2]) as file:
        assert file["runs/ssm/scan/sable"].attrs["growth"] == 2
    before = {f: f.stat().st_mtime_ns for f in folder.iterdir()}
    (folder / names[1]).unlink()
    again = sweep(sable, folder)
    assert again.returncode == 0 and again.stdout.count(": kept, ") == 2
    assert {f for f in folder.iterdir() if before[f] != f.stat().st_mtime_ns} == {folder / names[1]}


def test_another_configuration_is_another_point(sable, swept):
    told = sweep(sable, swept[0], "--seed-is-no-option")
    assert told.returncode == 2
    told = sweep(sable, swept[0], "-s", "n=99", "--dry-run")
    assert told.returncode == 0 and told.stdout.count("kept") == 0 and told.stdout.count(" run ") == 3


def test_one_launch_can_sweep_over_its_ranks(sable, tmp_path):
    done = sweep(sable, tmp_path, "--launcher", "inside", "--kinds", "strong")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        assert [r.attrs["ranks"] for r in file["runs/ssm/scan"].values()] == [1, 2]


def test_points_beyond_the_cores_are_left_out_by_name(sable, tmp_path):
    many = len(os.sched_getaffinity(0)) + 1
    done = subprocess.run([SOURCE / "scripts/scaling", "--binary", sable.binary, "--ranks", str(many), "--dry-run", "ssm/scan"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"{many} ranks x 1 threads need more cores" in done.stdout


def test_batch_scripts_hold_the_points_that_a_sweep_would_run(sable, tmp_path, swept):
    done = sweep(sable, swept[0], "--emit-sbatch", str(tmp_path), "--sbatch=--account=me")
    assert done.returncode == 0, done.stderr
    scripts = sorted(tmp_path.glob("*.sbatch"))
    assert len(scripts) == 3
    for script in scripts:
        text = script.read_text()
        subprocess.run(["bash", "-n", script], check=True)
        assert "#SBATCH --account=me\n" in text and str(swept[0] / f"{script.stem}.h5") in text
        assert ("--weak" in text) == ("weak" in script.name)
    assert (tmp_path / "submit").read_text().count("sbatch ") == 3


# ---- The page ----


def test_the_page_is_self_contained(page):
    _, text, _ = page
    assert not re.search(r'(src|href)="(?!#|data:)', text.replace('xlink:href="data:', ""))
    assert not re.search(r"url\((?!#)", text) and "<script" not in text and "@import" not in text


def test_the_page_has_every_section_and_escapes_what_it_was_given(page):
    _, text, _ = page
    for section in "where foms roofline scaling phases imbalance peers outputs reproduce".split():
        assert f'<section id="{section}">' in text or section == "roofline", section
    assert "<h1>A &lt;title&gt; &amp; more</h1>" in text and "<title>A &lt;title" in text
    for workload in WORKLOADS:
        assert workload in text
    assert "Karp–Flatt" in text and "Amdahl" in text and "Gustafson" in text
    assert "fat tree of 12.5 GB/s" in text and "PREDICTED" in text
    assert "(best peer)" in text and "sable rerun" in text


def test_what_is_no_results_file_is_named(page):
    _, _, done = page
    for name in ("text.h5", "other.h5", "missing.h5"):
        assert f"left out {page[0] / name}" in done.stderr
    none = subprocess.run([SOURCE / "scripts/report", page[0] / "text.h5", "-o", page[0] / "none.html"],
                          capture_output=True, text=True, check=False)
    assert none.returncode == 2 and not (page[0] / "none.html").exists()


def test_every_figure_has_png_svg_and_csv(page):
    folder = page[0] / "r-figures"
    names = {f.stem for f in folder.glob("*.svg")}
    assert len(names) > 10 and page[1].count("<figure>") == len(names)
    for name in names:
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        rows = list(csv.reader((folder / f"{name}.csv").open(encoding="utf-8")))
        assert len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}


def test_extra_p_gets_every_repetition_of_measured_points_only(page):
    told = json.loads((page[0] / "r-figures/extra-p.json").read_text())
    assert told["parameters"] == ["p"]
    points = told["measurements"]["strong->ssm/scan->sable->T"]["time"]
    assert [(p["point"], len(p["values"])) for p in points] == [([1], 7), ([2], 7)]


def test_peers_are_compared_with_the_best_of_them(page):
    rows = list(csv.DictReader((page[0] / "r-figures/peers.csv").open(encoding="utf-8")))
    found = {r["variant"]: float(r["ratio"]) for r in rows if r["problem"].startswith("ssm/scan")}
    assert found["numpy"] == pytest.approx(1) and found["sable"] == pytest.approx(1.7)
    assert found["pool, not like for like"] == pytest.approx(1.7 / 5)  # by rate, and never the one to compare with


MEASURE = """<script>
addEventListener("load", () => {
  const overlaps = [];
  for (const svg of document.querySelectorAll("svg")) {
    const boxes = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim()).map(t => [t.getBoundingClientRect(), t.textContent]);
    for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
      const [a, s] = boxes[i], [b, t] = boxes[j];
      const w = Math.min(a.right, b.right) - Math.max(a.left, b.left), h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (w > 2 && h > 0.35 * Math.min(a.height, b.height)) overlaps.push(svg.closest("figure").innerText.split("\\n")[0] + ": " + s.trim() + " | " + t.trim());
    }
  }
  const wide = [...document.querySelectorAll("main > section > *, figure, p, header *")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + " " + e.className);
  parent.postMessage(JSON.stringify({width: innerWidth, scroll: before, overlaps, wide}), "*");
});
let before = 0;
addEventListener("DOMContentLoaded", () => { before = document.documentElement.scrollWidth; });
</script>"""

# Chromium's windows are 500 wide at least: a frame is as narrow as a phone.
FRAME = """<!doctype html><pre id="told"></pre><script>
addEventListener("message", e => { document.getElementById("told").textContent = e.data; });
</script><iframe src="measured.html" width="%d" height="4000" frameborder="0"></iframe>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_overflows_or_overlaps(page, width, tmp_path):
    """At desktop and phone width, in headless Chromium; a screenshot of each is left in the test's folder."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium: install chromium to look at reports in a browser (./scripts/setup --dev names it)")
    measured = tmp_path / "measured.html"
    measured.write_text(page[1].replace("</head>", MEASURE + "</head>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width, encoding="utf-8")
    common = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path}/profile",
              f"--window-size={width},4000"]
    shot = tmp_path / "shot.png"
    subprocess.run([*common, f"--screenshot={shot}", f"file://{page[0]}/r.html"], capture_output=True, check=True, timeout=90)
    assert shot.stat().st_size > 50_000
    told = subprocess.run([*common, "--dump-dom", f"file://{tmp_path}/frame.html"], capture_output=True, text=True, check=True, timeout=90)
    found = json.loads(html.unescape(re.search('<pre id="told">(.*?)</pre>', told.stdout, re.S).group(1)))
    assert found["width"] == width
    assert found["scroll"] <= width and found["wide"] == []
    assert found["overlaps"] == []


# ---- The mathematics ----


class Fixed:
    """A run whose times are known."""

    def __init__(self, processors, seconds, growth=1):
        self.processors, self.ranks, self.threads, self.growth = processors, processors, 1, growth
        self.slowest = numpy.full(11, seconds)
        self.time = (seconds, seconds, seconds)
        self.simulated, self.verdict = False, "PASS"
        self.rate = growth / seconds

    def number(self, name):
        return self.rate

    @property
    def fom(self):
        return self.rate, self.rate, self.rate


def curve_of(kind, speeds):
    base = Fixed(1, 1.0)
    runs = [base] + [Fixed(p, (p if kind == "weak" else 1) / s, growth=p if kind == "weak" else 1) for p, s in speeds.items()]
    points = [scaling.Point(r, stats.ratio_interval(base.time, r.time) if kind == "strong" else
                            stats.ratio_interval(r.fom, base.fom), r.processors) for r in runs]
    return scaling.Curve(kind, "w", "sable", "S", "cpu", False, base, points)


@pytest.mark.parametrize("law, values", [("Amdahl", [0.07]), ("USL", [0.05, 0.002]), ("Gustafson", [0.12])])
def test_a_law_is_found_in_its_own_curve(law, values):
    kind, function, *_ = fits.LAWS[law]
    curve = curve_of(kind, {p: float(function(numpy.float64(p), *values)) for p in (2, 4, 8, 16, 64)})
    fit = next(f for f in fits.fits_of(curve) if f.law == law)
    assert fit.values == pytest.approx(values, rel=1e-6)
    assert all(low <= v * (1 + 1e-6) and v <= high * (1 + 1e-6) for low, v, high in zip(fit.low, fit.values, fit.high))


def test_serial_fraction_of_karp_and_flatt():
    curve = curve_of("strong", {4: float(fits.amdahl(4.0, 0.1)), 16: float(fits.amdahl(16.0, 0.1))})
    assert [p.serial_fraction[1] for p in curve.points[1:]] == pytest.approx([0.1, 0.1])
    assert math.isnan(curve.points[0].serial_fraction[1])


def test_statistics_agree_with_those_of_sable(sable, swept, tmp_path):
    path = next(f for f in swept[0].glob("*strong-T-1x1*"))
    told = {r["workload"]: r for r in sable("show", path, "--json", cwd=tmp_path).json["runs"]}
    with h5py.File(path) as file:
        for workload in WORKLOADS:
            low, middle, high = stats.median_interval(file[f"runs/{workload}/sable/seconds"][()].max(axis=1))
            assert (low, middle, high) == (told[workload]["seconds_ci_low"], told[workload]["seconds"], told[workload]["seconds_ci_high"])
