#!/usr/bin/env bash
# One machine, all of its GPUs (or 2 processes of its CPU: PROCESSES=2). DATA and OUT are folders.
#
#   examples/train_torchrun.sh DATA OUT [KEY=VALUE...]
#
# batch_size is of one process: the run prints how many clips make a step, and scales the learning rate to it.
set -euo pipefail
data=$1 out=$2
shift 2
exec torchrun --standalone --nproc-per-node "${PROCESSES:-$(nvidia-smi --list-gpus | wc -l)}" \
    -m timesformer train --data "$data" --recipe "${RECIPE:-k400-base}" --out "$out" "$@"
