#!/bin/bash
# One run over an array of Slurm jobs, and one job that reports when all of them have ended:
#
#     job=$(sbatch --parsable --array=1-8 docs/examples/slurm.sh)
#     sbatch --dependency=afterany:"$job" docs/examples/slurm.sh
#
# A job that was killed loses nothing: submit the same again, with as many jobs as are free. The job
# that reports makes what others left out.
#SBATCH --job-name=bench
#SBATCH --cpus-per-task=16
#SBATCH --mem=48G
#SBATCH --time=12:00:00
set -euo pipefail

# Seen by all machines. Their kind of CPU and their libraries are part of what is found there.
export BENCH_CACHE="${BENCH_CACHE:-$HOME/bench-cache}"
# Threads of each worker, the same in all jobs; bench starts as many workers as there are cores.
export OMP_NUM_THREADS=1

words=(run --bits 4 --preset full)
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
    words+=(--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT")
fi
exec bench "${words[@]}"
