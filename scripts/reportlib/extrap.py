"""Measurements as JSON that Extra-P reads (`extrap --json FILE`): parameter p (processors), one call path a workload and
phase, every repetition's seconds as values."""


def measurements(curves):
    """{"parameters": ["p"], "measurements": {call path: {metric: [{"point", "values"}]}}}, of measured curves."""
    found = {}
    for curve in curves:
        if curve.simulated:
            continue
        by_size = {}
        for point in curve.points:  # one layout of each size: the fastest
            known = by_size.get(point.processors)
            if known is None or point.run.time[1] < known.time[1]:
                by_size[point.processors] = point.run
        path = f"{curve.kind}->{curve.workload}->{curve.variant}->{curve.size}"
        for processors, run in sorted(by_size.items()):
            add(found, path, processors, run.slowest)
            for i, phase in enumerate(run.phase_names if len(run.phase_names) > 1 else ()):
                add(found, f"{path}->{phase}", processors, run.phases[:, :, i].max(axis=1))
    return {"parameters": ["p"], "measurements": found}


def add(found, path, processors, seconds):
    points = found.setdefault(path, {}).setdefault("time", [])
    points.append({"point": [processors], "values": [float(s) for s in seconds]})
