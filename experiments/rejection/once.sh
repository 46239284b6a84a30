#!/usr/bin/env bash
# Rejection sampling in one round, and the control, for one seed: bash experiments/rejection/once.sh 1001
set -euo pipefail
seed=$1

answers=outputs/rejection_answers/$seed
python src/mine.py experiment=rejection_mined tool=zoom seed=$seed paths.output_dir=$answers threads=1
python src/sft.py -m experiment=rejection_sft seed=$seed traces=$answers threads=1
python src/sft.py -m experiment=rejection_sft seed=$seed traces=$answers min_score=0 threads=1  # the control
