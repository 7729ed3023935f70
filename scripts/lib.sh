# Sourced by quickstart and check: where things are, and how ranks are started here.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cores=$(nproc)

# Open MPI refuses root without these. More ranks than cores are for correctness only.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# Debian may have both MPIs, and `mpirun` be either's: take the pair that the build uses.
mpirun=mpirun
command -v mpirun.openmpi >/dev/null && mpirun=mpirun.openmpi
openmpi=()
command -v mpicc.openmpi >/dev/null && openmpi=(-DMPI_C_COMPILER=mpicc.openmpi)
command -v h5pcc.openmpi >/dev/null && openmpi+=(-DHDF5_C_COMPILER_EXECUTABLE=h5pcc.openmpi)
export root cores mpirun openmpi

# Configures and builds build/release; what the tools say is shown only if that fails.
build_release() {
  local log
  log=$(mktemp)
  if ! (cd "$root" && cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release -DSABLE_TESTS=OFF "${openmpi[@]}" &&
    cmake --build build/release) >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    echo "the build failed (above)" >&2
    return 3
  fi
  rm -f "$log"
}

# A python3 that has the modules named; the first in PATH need not be Debian's.
python_with() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c "import $1" 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo "no python3 with $1 was found" >&2
  return 3
}
