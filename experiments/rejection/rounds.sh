#!/usr/bin/env bash
# Rejection sampling in four rounds for one seed: bash experiments/rejection/rounds.sh 1001
# Each round has pictures of its own; validation and test pictures stay the same.
set -euo pipefail
seed=$1

model=src/loupe/models/miniature
for round in 1 2 3 4; do
  answers=outputs/rejection_answers/${seed}_$round tuned=outputs/rejection_rounds/${seed}_$round
  python src/mine.py experiment=rejection_mined tool=zoom seed=$seed model.path=$model data.n_train=200 \
    data.seed=$seed$round paths.output_dir=$answers threads=1
  if [ "$round" = 4 ]; then
    python src/sft.py -m experiment=rejection_rounds seed=$seed data.n_test=500 threads=1
  elif [ ! -e "$tuned/summary.json" ]; then  # a model that is trained again would not fit the answers of the next round
    python src/sft.py experiment=rejection_rounds seed=$seed model.path=$model traces=$answers data.n_test=16 \
      paths.output_dir=$tuned threads=1
  fi
  model=$tuned/model
done
