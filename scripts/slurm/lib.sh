# Sourced by the batch scripts beside it: threads, binding, launcher, and runs that a time limit does not lose.
# shellcheck shell=bash
#
#   SABLE            the binary (default: build/release/sable where the job was submitted, else the one in PATH)
#   SABLE_LAUNCHER   srun (default) or mpirun
#   SABLE_RESULTS    folder of the results files (default: results)

SABLE=${SABLE:-build/release/sable}
[ -x "$SABLE" ] || SABLE=$(command -v sable) || { echo "no sable was found: set SABLE" >&2; exit 3; }
SABLE_RESULTS=${SABLE_RESULTS:-results}
mkdir -p "$SABLE_RESULTS"

# Unset, every task would start a thread for each core of the node; srun does not inherit sbatch's --cpus-per-task.
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
export SRUN_CPUS_PER_TASK=$OMP_NUM_THREADS

# launch COMMAND...: COMMAND on all tasks of the job, each thread on a core of its own.
launch() {
  if [ "${SABLE_LAUNCHER:-srun}" = mpirun ]; then
    local flags=(-np "$SLURM_NTASKS")
    if [[ $(mpirun --version 2>/dev/null) == *open-mpi* || $(mpirun --version 2>/dev/null) == *"Open MPI"* ]]; then
      flags+=(--map-by "slot:PE=$OMP_NUM_THREADS" --bind-to core)
    else
      flags+=(-bind-to "core:$OMP_NUM_THREADS")
    fi
    exec mpirun "${flags[@]}" "$@"
  fi
  local mpi=()
  [[ $(srun --mpi=list 2>&1) == *pmix* ]] && mpi=(--mpi=pmix)
  exec srun "${mpi[@]}" --cpu-bind=cores "$@"
}

# How many runs a results file holds; 0 for none.
runs_in() {
  if [ -e "$1" ]; then
    "$SABLE" show "$1" --json 2>/dev/null | grep -c '"workload":' || true
  else
    echo 0
  fi
}

# run_resumable FILE ARGUMENTS...: `sable run ARGUMENTS` on all tasks, results in FILE. What an earlier start of this job
# had finished is kept. If the batch script is sent SIGUSR1 (#SBATCH --signal=B:USR1@...), sable ends after the
# repetition under way, and the job is put back into the queue, where it goes on; unless nothing had been finished in the
# time that it had. Returns sable's exit status.
run_resumable() {
  local file=$1 target status=0 before interrupted=0 pid
  shift
  if [ -e "$file" ]; then
    echo "$file is complete"
    return 0
  fi
  target=(-o "$file")
  [ ! -e "$file.partial" ] || target=(--resume "$file.partial")
  before=$(runs_in "$file.partial")
  trap 'interrupted=1; kill -USR1 "$pid" 2>/dev/null' USR1
  (launch "$SABLE" run "$@" "${target[@]}") &
  pid=$!
  # A trap makes `wait` return early.
  while :; do
    status=0
    wait "$pid" || status=$?
    kill -0 "$pid" 2>/dev/null || break
  done
  trap - USR1
  if [ "$interrupted" = 1 ] && [ ! -e "$file" ]; then
    if [ "$(runs_in "$file.partial")" -le "$before" ]; then
      echo "no workload ended within the time limit: raise --time, or lower --class or --max-time" >&2
      return 3
    fi
    echo "interrupted: job $SLURM_JOB_ID goes on later"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60 # the requeue ends this script
  fi
  return "$status"
}
