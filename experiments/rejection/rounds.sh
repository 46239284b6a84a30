#!/usr/bin/env bash
# Rejection sampling in four rounds for one seed: bash experiments/rejection/rounds.sh 1001
set -euo pipefail
seed=$1

model=src/loupe/models/miniature
for round in 1 2 3 4; do
  answers=outputs/rejection_answers/${seed}_$round
  lesson="experiment=rejection_sft seed=$seed model.path=$model traces=$answers epochs=2 threads=1"
  # Pictures of its own in each round; validation and test pictures stay the same.
  python src/mine.py experiment=rejection_mined tool=zoom seed=$seed model.path=$model data.n_train=200 data.seed=$seed$round \
    paths.output_dir=$answers threads=1
  if [ "$round" = 4 ]; then
    python src/sft.py -m $lesson
  else
    python src/sft.py $lesson data.n_test=16 paths.output_dir=outputs/rejection_rounds/${seed}_$round
    model=outputs/rejection_rounds/${seed}_$round/model
  fi
done
