#!/usr/bin/env bash
# Rejection sampling in four rounds for one seed: bash experiments/rejection/rounds.sh 1001
set -euo pipefail
seed=$1

model=src/loupe/models/miniature
for round in 1 2 3 4; do
  answers=outputs/rejection_answers/${seed}_$round tuned=outputs/rejection_rounds/${seed}_$round
  pictures="data.n_train=200 data.seed=$seed$round"
  python src/mine.py experiment=rejection_mined tool=zoom seed=$seed model.path=$model $pictures \
    paths.output_dir=$answers threads=1
  if [ "$round" = 4 ]; then
    python src/sft.py -m experiment=rejection_rounds seed=$seed threads=1
  else
    python src/sft.py experiment=rejection_rounds seed=$seed model.path=$model traces=$answers $pictures data.n_test=16 \
      paths.output_dir=$tuned threads=1
    model=$tuned/model
  fi
done
