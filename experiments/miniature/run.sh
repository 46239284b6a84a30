#!/usr/bin/env bash
# Everything in this folder: five seeds, the controls, the judgements. About an hour on 2 cores.
# Each run has one thread and two go at a time, which is faster than one after the other with two threads each.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/miniature
# Test pictures (heldout_seed) and seeds that nothing was tuned on.
settings="data.heldout_seed=1 data.n_test=1000 threads=1 logger=none trainer.enable_progress_bar=false"

judge() { # folder, overrides
    local folder=$1; shift
    [ -f $folder/evaluation.json ] || python src/evaluate.py $settings paths.output_dir=$folder "$@"
}
train() { # name, overrides
    local run=$out/$1; shift
    [ -f $run/summary.json ] || python src/train.py $settings paths.output_dir=$run "$@"
    judge $run/judged model.path=$run/model "$@"
}
export -f train judge; export out settings
{
    for seed in 101 102 103 104 105; do echo train seed_$seed seed=$seed; done
    echo train lr_0 seed=101 algorithm.optimizer.lr=0
    echo train shuffled_advantages seed=101 algorithm.shuffle_advantages=true
    echo train pixels_shown seed=101 tool.pixels=shown
    echo judge $out/base
    echo judge $out/base_pixels_shown tool.pixels=shown
} | OMP_NUM_THREADS=1 xargs -P 2 -L 1 bash -c '"$@"' _

python experiments/miniature/information_gap.py
python experiments/miniature/collect.py $out
