"""What a results file holds, for tests that look into one."""

import h5py


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def stored_runs(file):
    """{"null/sum/sable": group} of every run, complete or not."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Group) and "seconds" in item:
            found[name] = item

    if "runs" in file:
        file["runs"].visititems(visit)
    return found


def complete_runs(path):
    with h5py.File(path, "r") as file:
        return {name for name, run in stored_runs(file).items() if run.attrs["complete"] == 1}
