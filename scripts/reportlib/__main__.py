"""scripts/report FILES… [-o report.html]: one self-contained page from results files, and each figure as PNG, SVG and CSV."""

import argparse
import json
import math
import os
import pathlib
import shlex
import sys

from . import extrap, figures, fits, page, pictures, read, roofline, scaling, stats, style


def parse():
    parser = argparse.ArgumentParser(prog="report", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.h5", help="results of sable run, peers or simulations")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("report.html"))
    parser.add_argument("--figures", type=pathlib.Path, metavar="FOLDER",
                        help="where PNG, SVG, CSV and the JSON for Extra-P go (default: OUTPUT without .html, -figures)")
    parser.add_argument("--title", default="sable: what was measured")
    return parser.parse_args()


def read_all(paths):
    """Files that are results; others are named and left out. The same content twice counts once."""
    files, seen = [], set()
    for path in paths:
        try:
            file = read.read_file(path)
        except read.Damaged as problem:
            print(f"report: left out {path}: {problem}", file=sys.stderr)
            continue
        if file.sha256 not in seen:
            seen.add(file.sha256)
            files.append(file)
    return files


def peer_ratio(best, run):
    """A run's speed over the best peer's: of times, and of rates where one of them solves another problem."""
    if run is best:
        return math.nan, 1.0, math.nan
    low, ratio, high = stats.ratio_interval(best.time, run.time)
    scale = run.fom[1] * run.time[1] / (best.fom[1] * best.time[1]) if run.unlike or best.unlike else 1.0
    return low * scale, ratio * scale, high * scale


def best_peer_groups(runs):
    """Of each problem that a peer also solved, on as many threads: everybody's speed over the best peer's."""
    groups, latest = {}, {}
    for run in runs:
        if not run.simulated and run.verdict != "FAIL":
            latest[run.problem, run.variant, run.ranks, run.threads, page.e(run.file.cpu)] = run
    for (problem, _, ranks, threads, cpu), run in latest.items():
        groups.setdefault((problem, ranks * threads, cpu), []).append(run)
    told = []
    for (problem, processors, _), members in groups.items():
        rivals = [run for run in members if run.is_peer]
        if not rivals or len(members) == len(rivals):
            continue
        best = min(rivals, key=lambda run: (run.unlike, -run.fom[1] if run.unlike else run.time[1]))
        items = [(run.variant + (", not like for like" if run.unlike else ""), peer_ratio(best, run), run is best)
                 for run in sorted(members, key=lambda run: (run.variant != "sable", run.unlike, run.time[1]))]
        told.append((f"{problem[0]} class {problem[1]}, {processors} thread{'s' if processors > 1 else ''}", items))
    return sorted(told)


def scaling_section(curves):
    """HTML and figures, workload by workload."""
    text, drawn = "", []
    for workload in dict.fromkeys(c.workload for c in curves):
        for size in dict.fromkeys(c.size for c in curves if c.workload == workload):
            own = [c for c in curves if (c.workload, c.size) == (workload, size)]
            main = [c for c in own if c.variant == "sable" or c.simulated] or own
            laws = [(c, fits.fits_of(c)) for c in main if not c.simulated]
            name = f"{workload.replace('/', '-')}-{size}"
            made = [figures.efficiency(name, main)]
            if any(c.kind == "strong" for c in main):
                made.insert(0, figures.speedup(name, main, [(c, f) for c, f in laws if c.kind == "strong"]))
            drawn += made
            text += (f"<h3>{page.e(workload)}, class {page.e(size)}</h3>{page.figures_html(made)}"
                     f"<details><summary>Points and fitted laws</summary>{page.points_table(own)}{page.fits_table(laws)}</details>")
    return text, drawn


def phase_figures(runs):
    made = []
    for workload in dict.fromkeys(r.workload for r in runs):
        own = [r for r in runs if r.workload == workload and not r.simulated and r.variant == "sable"]
        latest = {(r.text("class"), r.growth > 1, r.processors, r.ranks): r for r in own}
        figure = figures.phases(workload.replace("/", "-"), [latest[key] for key in sorted(latest)])
        if figure:
            figure.title = workload
            made.append(figure)
    return made


def roofline_figures(runs):
    """One for the largest layout of each machine."""
    layouts = {}
    for run in runs:
        if not run.simulated and not run.is_peer and run.growth == 1:
            layouts.setdefault(run.file.cpu, {}).setdefault((run.processors, run.ranks, run.threads), []).append(run)
    made = []
    for cpu, by_layout in layouts.items():
        for layout in sorted(by_layout, reverse=True):
            chosen = {(r.workload, r.variant): r for r in by_layout[layout]}
            figure = roofline.roofline(list(chosen.values()))
            if figure:
                figure.title = f"{cpu}, {layout[1]}×{layout[2]}"
                figure.name += f"-{len(made) + 1}" if made else ""
                made.append(figure)
                break
    return made


def tiles_of(files, runs):
    verdicts = [r.verdict for r in runs if not r.simulated]
    right = sum(v in ("PASS", "UNTRUSTED") for v in verdicts)
    largest = max((r for r in runs if not r.simulated), key=lambda r: r.processors, default=None)
    return [("workloads", len({r.workload for r in runs})), ("runs", len(verdicts)),
            ("answers right", f"{right} of {len(verdicts)}"), ("times untrusted", verdicts.count("UNTRUSTED")),
            ("processors at most", largest.processors if largest else "–"), ("files", len(files))]


def lead_of(runs):
    failed = sorted({f"{r.workload} {r.variant} {r.layout}" for r in runs if r.verdict == "FAIL"})
    if failed:
        return f"<b>Wrong answers:</b> {page.e(', '.join(failed))}. Their times mean nothing."
    skipped = sum(r.verdict == "SKIPPED" for r in runs)
    text = "Every answer was checked, and right." if not skipped else f"{skipped} answers were not checked."
    untrusted = sum(r.verdict == "UNTRUSTED" for r in runs)
    if untrusted:
        text += (f" {untrusted} times are not to be trusted, since something disturbed the machine; the reasons stand below the "
                 "table of figures of merit.")
    return text


def build(options, files):
    runs = [run for file in files for run in file.runs]
    curves = scaling.curves_of(runs)
    scaled, drawn = scaling_section(curves)
    roofs, by_phase, skew = roofline_figures(runs), phase_figures(runs), figures.imbalance(runs)
    rivals, pictures_made = figures.peers(best_peer_groups(runs)), pictures.pictures_of(runs)
    drawn += [f for f in [*roofs, *by_phase, skew, rivals, *pictures_made] if f]
    predicted = [c for c in curves if c.simulated]
    sections = [
        ("where", "What was run where", page.machines(files) + page.incomplete(files)),
        ("foms", "Figures of merit", "<p>The layout of each workload that did most; the time is the median of a repetition of "
         "the slowest rank.</p>" + page.foms(runs)),
        ("roofline", "Roofline", page.figures_html(roofs, one=True)),
        ("scaling", "Scaling", scaled and "<p>Processors are ranks × threads. A point is drawn with the 95 % interval of its "
         "ratio to the smallest layout" + ("; grey hollow points are predicted by simulation, under the assumptions on the plot"
                                          if predicted else "") + ".</p>" + scaled),
        ("phases", "Time by phase", page.figures_html(by_phase)),
        ("imbalance", "Imbalance", page.figures_html([skew], one=True)),
        ("peers", "Peers", page.figures_html([rivals], one=True)),
        ("outputs", "What was computed", page.figures_html(pictures_made)),
        ("reproduce", "How to reproduce", page.reproduce(files, f"scripts/report {shlex.join(f.path for f in files)} -o "
                                                                f"{shlex.quote(str(options.output))}")),
    ]
    text = page.document(options.title, lead_of(runs), tiles_of(files, runs), [s for s in sections if s[2]])
    return text, drawn, extrap.measurements(curves)


def write_figures(folder, drawn, extra_p):
    folder.mkdir(parents=True, exist_ok=True)
    for figure in drawn:
        for kind in ("png", "svg"):
            figure.drawn.savefig(folder / f"{figure.name}.{kind}", dpi=150)
        (folder / f"{figure.name}.csv").write_text(page.csv_text(figure), encoding="utf-8")
        style.close(figure.drawn)
    if extra_p["measurements"]:
        (folder / "extra-p.json").write_text(json.dumps(extra_p, indent=1), encoding="utf-8")


def main():
    options = parse()
    files = read_all(options.files)
    if not any(file.runs for file in files):
        print("report: no file holds a complete run", file=sys.stderr)
        return 2
    text, drawn, extra_p = build(options, files)
    folder = options.figures or options.output.with_name(options.output.stem + "-figures")
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        partial = options.output.with_name(options.output.name + f".tmp.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(options.output)
        write_figures(folder, drawn, extra_p)
    except OSError as problem:
        print(f"report: cannot write: {problem}", file=sys.stderr)
        return 3
    print(f"report: {options.output} ({len(text) / 2**20:.1f} MiB), {len(drawn)} figures in {folder}")
    return 0


sys.exit(main())
