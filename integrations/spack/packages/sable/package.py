# Spack package of sable. `spack repo add integrations/spack && spack install sable`
from spack.package import *


class Sable(CMakePackage):
    """Sequence, Attention, Bellman & LEarning benchmarks: an OpenMP + MPI suite in C that measures clusters on the kernels of
    reinforcement learning and sequence models, and checks every answer."""

    homepage = "https://github.com/sable-bench/sable"
    git = "https://github.com/sable-bench/sable.git"

    license("Apache-2.0")

    version("main", branch="main")

    variant("native", default=False, description="Compile for the target's processor only, without run-time dispatch")
    variant("petsc", default=False, description="PETSc as a peer of value iteration")
    variant("openblas", default=False, description="OpenBLAS as a peer")
    variant("report", default=True, description="What the report's pictures need")

    depends_on("c", type="build")
    depends_on("cmake@3.18:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5+hl")
    depends_on("hwloc@2:")
    depends_on("random123")
    depends_on("xxhash")
    depends_on("fftw precision=float,double")
    depends_on("jansson")
    depends_on("fftw@3: precision=float,double")
    depends_on("petsc", when="+petsc")
    depends_on("openblas", when="+openblas")
    depends_on("python@3.9:", type="run", when="+report")
    depends_on("py-h5py", type="run", when="+report")
    depends_on("py-matplotlib", type="run", when="+report")

    requires("%gcc", "%clang", "%oneapi", "%aocc", policy="one_of", msg="a C17 compiler with vector extensions is needed")

    generator("ninja")

    def cmake_args(self):
        return [
            self.define_from_variant("SABLE_NATIVE", "native"),
            self.define("SABLE_TESTS", False),
            self.define("MPI_C_COMPILER", self.spec["mpi"].mpicc),
        ]

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def check_install(self):
        sable = which(self.prefix.bin.sable)
        sable("run", "null/sum", "-c", "T", "-n", "1", "--ceilings", "none", "-o", "check.h5")
