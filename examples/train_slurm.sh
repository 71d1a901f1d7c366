#!/usr/bin/env bash
# The paper's Kinetics run on 4 machines of 8 GPUs with SLURM; the variables it sets are all that is needed.
#
#   sbatch examples/train_slurm.sh DATA INIT OUT
#
# INIT: an image model to initialise from, a ViT-B/16 of ImageNet-21K.
#
# A job that is stopped and queued again resumes the run in OUT as soon as there is one.
#SBATCH --job-name=timesformer
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail
data=$1 init=$2 out=$3
if [ -e "$out/sessions.yaml" ]; then
    run=(--resume "$out")
else
    # 32 processes of 2 clips are the 64 clips a step of the paper.
    run=(--data "$data" --recipe k400-base --init "$init" --out "$out"
        training.batch_size=2 training.accumulate=1 training.precision=bf16-mixed training.checkpoint_steps=500)
fi
# A process that fails takes the others along, which would wait for it.
exec srun --kill-on-bad-exit=1 timesformer train "${run[@]}"
