"""The page: plain HTML with everything inside it. What came from files is escaped."""

import base64
import csv
import html
import io
import math

from . import scaling, style

STYLE = """
:root{--ink:#1d2530;--soft:#5b6573;--line:#dfe3e8;--pale:#f5f7f9;--accent:#0b4f7d}
*{box-sizing:border-box}body{margin:0;color:var(--ink);background:#fff;font:16px/1.5 "DejaVu Sans",Verdana,Arial,sans-serif;
overflow-wrap:break-word}main,header>div,nav>div{max-width:1180px;margin:0 auto;padding:0 20px}
header{background:var(--pale);border-bottom:1px solid var(--line);padding:26px 0 20px}h1{font-size:1.7rem;margin:0 0 .3rem;
line-height:1.2}h2{font-size:1.3rem;margin:2.6rem 0 .6rem;padding-top:.5rem;border-top:2px solid var(--accent)}h3{font-size:
1.08rem;margin:1.8rem 0 .4rem}p{max-width:78ch;margin:.5rem 0}nav{border-bottom:1px solid var(--line);position:sticky;top:0;
background:#fff;z-index:2}nav>div{display:flex;gap:18px;overflow-x:auto;font-size:.88rem}nav a{padding:9px 0;white-space:nowrap;
color:var(--accent);text-decoration:none}.lead{font-size:1.06rem}.soft,figcaption,.small{color:var(--soft);font-size:.86rem}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin-top:14px}.tile{background:#fff;border:1px solid var(--line);border-radius:6px;
padding:8px 14px;min-width:120px}.tile b{display:block;font-size:1.25rem}.wide{overflow-x:auto;margin:.6rem 0}table{border-collapse:
collapse;font-size:.82rem;width:100%}th,td{text-align:left;padding:5px 7px;border-bottom:1px solid var(--line);vertical-align:top;
white-space:nowrap}td.text{white-space:normal;min-width:8em}th{color:var(--soft);font-weight:600;background:var(--pale)}td.n,th.n{
text-align:right;font-variant-numeric:tabular-nums}.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,
420px),1fr));gap:18px 26px;align-items:start}.figures.one{grid-template-columns:1fr}figure{margin:.5rem 0;min-width:0}figure svg{
width:100%;height:auto;display:block}.one figure svg{max-width:840px!important}figure h4{margin:.2rem 0;font-size:.98rem}.bar{display:inline-block;width:48px;height:9px;
border:1px solid #8fa1b3;margin-right:7px;background:#fff;vertical-align:middle}.bar i{display:block;height:100%;background:
var(--accent)}.v{font-weight:600}.v-FAIL{background:#7d1128;color:#fff;padding:1px 6px;border-radius:3px}.v-UNTRUSTED{border:1px
dashed #8a5a00;padding:0 5px;border-radius:3px;color:#6b4600}.v-PASS{color:#0d5c34}pre,code{font:.82rem/1.45 "DejaVu Sans Mono",
monospace}pre{background:var(--pale);border:1px solid var(--line);padding:10px;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:.7rem 0}summary{cursor:pointer;color:var(--accent)}a{color:var(--accent)}footer{margin:3rem 0 2rem}
@media(max-width:600px){main,header>div,nav>div{padding:0 12px}h1{font-size:1.35rem}}@media print{nav{display:none}details{display:
block}}
"""


def e(text):
    return html.escape(str(text), quote=True)


def number(value, digits=4):
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}g}"


def interval(values, digits=3, factor=1):
    low, middle, high = (v * factor for v in values)
    if not math.isfinite(middle):
        return "–"
    told = f" <span class=soft>[{low:.{digits}g}, {high:.{digits}g}]</span>" if math.isfinite(low + high) else ""
    return f"{middle:.{digits}g}{told}"


def verdict(text):
    return f'<span class="v v-{e(text)}">{e(text)}</span>'


def table(heads, rows):
    """heads: (title, class); cells are HTML."""
    head = "".join(f'<th class="{c}">{t}</th>' for t, c in heads)
    body = "".join("<tr>" + "".join(f'<td class="{heads[i][1]}">{c}</td>' for i, c in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class=wide tabindex=0><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def csv_text(figure):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(figure.columns)
    writer.writerows(figure.rows)
    return buffer.getvalue()


def figure_html(figure):
    data = base64.b64encode(csv_text(figure).encode()).decode()
    return (f"<figure><h4>{e(figure.title)}</h4>{style.svg_of(figure.drawn, figure.name)}<figcaption>{e(figure.caption)} "
            f'<a download="{e(figure.name)}.csv" href="data:text/csv;base64,{data}">CSV</a></figcaption></figure>')


def figures_html(figures, one=False):
    figures = [f for f in figures if f]
    return f'<div class="figures{" one" if one else ""}">{"".join(map(figure_html, figures))}</div>' if figures else ""


# ---- What was run where ----


def machines(files):
    groups = {}
    for file in files:
        facts = file.facts
        key = tuple(str(facts.get(n, "")) for n in ("host_names", "cpu_model", "cores", "memory", "kernel", "mpi_library",
                                                    "compiler", "simd", "sable_version", "git_revision"))
        groups.setdefault(key, []).append(file)
    heads = [("hosts", "text"), ("processor", "text"), ("memory", ""), ("MPI", "text"), ("compiler, SIMD", "text"),
             ("sable", ""), ("files", "n"), ("measured", "")]
    rows = []
    for (hosts, cpu, cores, memory, kernel, mpi, compiler, simd, version, revision), members in groups.items():
        dates = sorted(f.created for f in members)
        rows.append([e(hosts[:120]), f"{e(cpu)}, {e(cores)} cores<br><span class=soft>{e(kernel)}</span>", e(memory),
                     e(mpi.split(",")[0]), f"{e(compiler)}, {e(simd)}", f"{e(version)}<br><span class=soft>{e(revision)}</span>",
                     len(members), "<br>to ".join(dict.fromkeys(e(d[:16].replace("T", " ")) for d in (dates[0], dates[-1])))])
    return table(heads, rows)


def incomplete(files):
    broken = [f for f in files if not f.complete]
    if not broken:
        return ""
    return (f"<p><b>{len(broken)} launch{'es' if len(broken) > 1 else ''} did not end:</b> "
            f"{', '.join(e(f.path) for f in broken)} hold only what had finished.</p>")


# ---- Figures of merit ----


def share(run):
    value = run.number("share_of_ceiling")
    if not math.isfinite(value):
        return "–"
    wide = max(0, min(100, 100 * value))
    return f'<span class=bar><i style="width:{wide:.0f}%"></i></span>{100 * value:.1f} % of {e(run.text("ceiling"))}'


def fom_row(run):
    low, middle, high = run.time
    half = 100 * (high - low) / 2 / middle if math.isfinite(low + high) else math.nan
    return [e(run.workload), e(run.variant), e(run.text("class")) + (f" × {run.growth}" if run.growth > 1 else ""), run.layout,
            len(run.seconds), number(middle), f"± {half:.1f} %" if math.isfinite(half) else "none",
            f"{number(run.number('fom'))} {e(run.text('fom_unit'))}", share(run), verdict(run.verdict)]


FOM_HEADS = [("workload", ""), ("variant", ""), ("class", ""), ("layout", ""), ("reps", "n"), ("time [s]", "n"),
             ("95 % interval", "n"), ("figure of merit", "n"), ("share of ceiling", ""), ("verdict", "")]


def best_runs(runs):
    """Of each workload, variant and class the layout with the highest figure of merit, grown problems left out."""
    best = {}
    whole = {r.workload for r in runs if r.growth == 1}
    for run in sorted(runs, key=lambda r: (r.workload, r.variant != "sable", r.variant)):
        if run.growth > 1 and run.workload in whole:
            continue
        key = run.workload, run.variant, run.text("class")
        if key not in best or run.number("fom") > best[key].number("fom"):
            best[key] = run
    return list(best.values())


def warnings(runs):
    lines = sorted({(r.workload, r.variant, r.layout, w) for r in runs for w in r.text("warnings").splitlines() if w})
    if not lines:
        return ""
    rows = [[e(a), e(b), c, e(d)] for a, b, c, d in lines]
    return (f"<details><summary>{len(lines)} warnings: why times are not trusted, and what was noticed</summary>" +
            table([("workload", ""), ("variant", ""), ("layout", ""), ("", "text")], rows) + "</details>")


def foms(runs):
    runs = [r for r in runs if not r.simulated]
    best = best_runs(runs)
    text = table(FOM_HEADS, [fom_row(r) for r in best])
    if len(runs) > len(best):
        text += f"<details><summary>All {len(runs)} runs</summary>{table(FOM_HEADS, [fom_row(r) for r in runs])}</details>"
    return text + warnings(runs)


# ---- Scaling ----


def points_table(curves):
    heads = [("scaling", ""), ("layout", ""), ("time [s]", "n"), ("speed-up", "n"), ("efficiency [%]", "n"),
             ("serial fraction (Karp–Flatt)", "n"), ("verdict", ""), ("", "text")]
    rows = []
    for curve in curves:
        for p in curve.points:
            note = ""
            if p.superlinear and not curve.simulated:
                reason = scaling.superlinear_reason(curve, p) if curve.kind == "strong" else ""
                note = "superlinear: " + (reason or "no cache explains it, look at the noise")
            if curve.simulated:
                note = "predicted"
            fraction = interval(p.serial_fraction) if curve.kind == "strong" and p.scale > 1 else "–"
            size = f", problem × {p.run.growth}" if p.run.growth > 1 else ""
            rows.append([e(curve.kind) + size, p.run.layout, number(p.run.time[1]), interval(p.speed),
                         interval(p.efficiency, factor=100), fraction, verdict(p.run.verdict), e(note)])
    return table(heads, rows)


def fits_table(fits):
    rows = []
    for curve, laws in fits:
        for fit in laws:
            for name, value, low, high in zip(fit.names, fit.values, fit.low, fit.high):
                rows.append([e(curve.kind), fit.law, e(name), interval((low, value, high)), fit.sizes])
    if not rows:
        return ""
    note = "" if min(r[4] for r in rows) > 3 else (" With so few sizes a law can hardly be refuted: take the values as a "
                                                  "description of these points, not as a forecast.")
    return (table([("scaling", ""), ("law", ""), ("parameter", ""), ("value [95 %]", "n"), ("sizes", "n")], rows) +
            f"<p class=small>Intervals by bootstrap over repetitions; noise between launches is not in them.{note}</p>")


# ---- How to reproduce ----


def reproduce(files, command):
    rows = []
    for f in files:
        facts = f.facts
        env = " ".join(f"{k}={v}" for k, v in sorted(facts.items()) if k.startswith(("OMP_", "SABLE_", "GOMP_", "KMP_")))
        ranks = max((r.ranks for r in f.runs), default=1)
        start = f"{env} mpirun -np {ranks} " if ranks > 1 else f"{env} " if env else ""
        rows.append([e(f.path), f"<code>{e(start + f.command)}</code>", f"<code>{e(f.sha256[:16])}…</code>"])
    return ("<p>Are the answers the same to the bit on another machine or layout? <code>sable rerun FILE.h5</code> repeats a "
            "file's runs and compares digests. Are the times? Launch as below and <code>sable compare OLD.h5 NEW.h5</code>.</p>"
            f"<pre>{e(command)}</pre><details open><summary>{len(files)} files and the commands that wrote them</summary>"
            + table([("file", "text"), ("command", "text"), ("SHA-256", "")], rows) + "</details>")


def document(title, lead, tiles, sections):
    """sections: [(id, heading, html)] without the empty ones."""
    nav = "".join(f'<a href="#{i}">{e(h)}</a>' for i, h, _ in sections)
    body = "".join(f'<section id="{i}"><h2>{e(h)}</h2>{text}</section>' for i, h, text in sections)
    boxes = "".join(f"<div class=tile><b>{e(value)}</b>{e(name)}</div>" for name, value in tiles)
    return (f'<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,'
            f'initial-scale=1"><title>{e(title)}</title><style>{STYLE}</style></head><body><header><div><h1>{e(title)}</h1>'
            f'<p class=lead>{lead}</p><div class=tiles>{boxes}</div></div></header><nav><div>{nav}</div></nav>'
            f"<main>{body}<footer class=small>Written by scripts/report of sable; every number is in the results files, and "
            f"each figure's below it as CSV. How to read it: docs/report.md.</footer></main></body></html>\n")
