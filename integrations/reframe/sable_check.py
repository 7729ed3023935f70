"""sable's workloads as ReFrame tests: right answers as sanity, figures of merit and shares of ceilings as performance.

SABLE names the binary (default: sable in PATH). Workloads come from `sable list --json`. Choose by -n or tags, set variables by -S:

    SABLE=build/release/sable reframe -C integrations/reframe/settings.py -c integrations/reframe/sable_check.py -r \\
        -S class_name=B -S num_tasks=16 -S num_cpus_per_task=8 -n 'attention'

References belong to a site: add them by a subclass, or in `references` below as {'system:partition': {'fom': (value, -0.05, None)}}."""

import json
import os
import shutil
import subprocess

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import parameter, performance_function, run_after, run_before, sanity_function, variable

SABLE = os.path.abspath(os.environ.get("SABLE") or shutil.which("sable") or "sable")


def workloads():
    """Names of all workloads that are not for tests of sable itself and need no input file."""
    told = subprocess.run([SABLE, "list", "--json"], capture_output=True, text=True, check=True)
    return [workload["name"] for workload in json.loads(told.stdout)["workloads"] if not workload["test_only"]]


@rfm.simple_test
class SableCheck(rfm.RunOnlyRegressionTest):
    descr = "a workload of sable: the right answer, its figure of merit, and the share of the machine's limit"
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    workload = parameter(workloads())
    class_name = variable(str, value="S")
    max_time = variable(float, value=10.0)  # seconds
    num_tasks = 1
    num_cpus_per_task = 1
    executable = SABLE

    @run_after("init")
    def set_arguments(self):
        family = self.workload.split("/")[0]
        self.tags = {"sable", family}
        self.executable_opts = ["run", self.workload, "-c", self.class_name, "-t", str(self.max_time), "-o", "results.h5"]
        self.keep_files = ["results.h5"]

    @run_before("run")
    def set_threads(self):
        self.env_vars["OMP_NUM_THREADS"] = self.num_cpus_per_task

    @sanity_function
    def answer_is_right(self):
        """PASS or UNTRUSTED: the answer is right in both; a time that is not to be trusted shows in the log."""
        line = rf"^FOM {self.workload} sable \S+ \S+ \S+ % of \S+ (PASS|UNTRUSTED)$"
        return sn.all([sn.assert_eq(self.job.exitcode, 0), sn.assert_found(line, self.stdout)])

    def _number(self, pattern):
        return sn.extractsingle(rf"^FOM {self.workload} sable {pattern}", self.stdout, 1, float)

    @performance_function("%")
    def share_of_ceiling(self):
        return self._number(r"\S+ \S+ (\S+) % of")

    @run_before("performance")
    def set_fom(self):
        """The unit is the workload's own, as its line tells."""
        told = os.path.join(self.stagedir, sn.evaluate(self.stdout))
        unit = sn.evaluate(sn.extractsingle(rf"^FOM {self.workload} sable \S+ (\S+)", told, 1))
        self.perf_variables["fom"] = sn.make_performance_function(self._number(r"(\S+)"), unit)
