#!/bin/bash
# A Ray cluster inside a SLURM job, and a prediction on it: sbatch predict_slurm.sh WEIGHTS LIST.parquet FOLDER
# A job that is stopped or fails goes on where it was: submit it again (--requeue lets SLURM do so).
# NOT TESTED under SLURM; the last command is that of docs/scale.md. SLURM ends `ray start --block` with the job.
#SBATCH --job-name=timesformer-predict
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail
weights=$1 list=$2 out=$3
export RAY_USAGE_STATS_ENABLED=0
nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head=${nodes[0]} port=6379
srun --overlap --nodes=1 --ntasks=1 -w "$head" \
    ray start --head --port=$port --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false --block &
sleep 20
for node in "${nodes[@]:1}"; do
    srun --overlap --nodes=1 --ntasks=1 -w "$node" \
        ray start --address="$head:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
done
sleep 20
srun --overlap --nodes=1 --ntasks=1 -w "$head" \
    timesformer predict "$weights" --manifest "$list" --on ray --address "$head:$port" --out "$out"
