# Ramble (and Benchpark) application of sable: figures of merit from its FOM lines.
from ramble.appkit import *


class Sable(ExecutableApplication):
    """Sequence, Attention, Bellman & LEarning benchmarks."""

    name = "sable"
    maintainers("sable-developers")
    tags("benchmark", "memory-bandwidth", "machine-learning", "reinforcement-learning", "sequence-models")

    software_spec("sable", pkg_spec="sable@main", package_manager="spack*")
    required_package("sable", package_manager="spack*")

    executable(
        "run",
        "sable run {what} -c {class_name} -V {variants} -t {max_time} {extra} -o {experiment_run_dir}/results.h5 --force",
        use_mpi=True,
    )

    FAMILIES = ["all", "value_iteration", "rollouts", "attention", "ssm"]
    for family in FAMILIES:
        workload(family, executables=["run"])
        workload_variable("what", default=family, description="Family, family/workload, or all", workloads=[family])
    workload_variable("class_name", default="S", values=list("SABCDE"), description="Problem size", workloads=FAMILIES)
    workload_variable("variants", default="sable", description="Variants, interleaved", workloads=FAMILIES)
    workload_variable("max_time", default="60", description="Seconds of a workload", workloads=FAMILIES)
    workload_variable("extra", default="", description="Further arguments", workloads=FAMILIES)

    # FOM <family/workload> <variant> <value> <unit> <share> % of <ceiling> <verdict>
    line = r"^FOM (?P<workload>\S+) (?P<variant>\S+) (?P<fom>\S+) (?P<unit>\S+) (?P<share>\S+) % of (?P<ceiling>\S+) (?P<verdict>\S+)$"
    figure_of_merit_context("result", regex=line, output_format="{workload} {variant}")
    figure_of_merit("figure of merit", fom_regex=line, group_name="fom", units="{unit}", contexts=["result"])
    figure_of_merit("share of ceiling", fom_regex=line, group_name="share", units="%", contexts=["result"])
    figure_of_merit("ceiling", fom_regex=line, group_name="ceiling", units="", contexts=["result"])
    figure_of_merit("verdict", fom_regex=line, group_name="verdict", units="", contexts=["result"])

    success_criteria("answers are right", mode="string", match=r"^FOM .* (PASS|UNTRUSTED)$", file="{log_file}")
