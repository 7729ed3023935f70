-- Lmod module of sable: set `prefix` to where `cmake --install` put it.
local prefix = "/opt/sable/0.1.0"

whatis("Name: sable")
whatis("Version: 0.1.0")
whatis("Description: Sequence, Attention, Bellman & LEarning benchmarks (OpenMP + MPI)")
help([[sable list            what there is
sable run all         figures of merit, answers checked
sable ceilings        this machine's limits]])

conflict("sable")
prepend_path("PATH", pathJoin(prefix, "bin"))
prepend_path("CMAKE_PREFIX_PATH", prefix)
setenv("SABLE_DATA", pathJoin(prefix, "share/sable/data"))
