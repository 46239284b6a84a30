#!/usr/bin/env bash
# Everything in this folder: five seeds without and with the tool bonus, the controls, the judgements.
# Less than two hours on 2 cores; goes on where it was stopped.
# Each run has one thread and two go at a time, which is faster than one after the other with two threads each.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/miniature
# Test pictures (heldout_seed) and seeds that nothing was tuned on.
settings="data.heldout_seed=2 data.n_test=1000 threads=1 logger=none trainer.enable_progress_bar=false"
res84="resolution=84 tool.output_size=112"

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
    echo judge $out/base
    echo judge $out/base_pixels_shown tool.pixels=shown
    for seed in 111 112 113 114 115; do echo train seed_$seed seed=$seed; done
    echo train lr_0 seed=111 algorithm.optimizer.lr=0
    echo train shuffled_advantages seed=111 algorithm.shuffle_advantages=true
    echo train pixels_shown seed=111 tool.pixels=shown
    for seed in 111 112 113 114 115; do echo train tool_bonus_$seed seed=$seed reward=composite; done
    # Shown so small that not even an enlarged overview can be read.
    echo judge $out/base_res84 $res84
    echo judge $out/base_res84_pixels_shown $res84 tool.pixels=shown
    echo train res84_seed_111 seed=111 $res84
    echo train res84_pixels_shown seed=111 $res84 tool.pixels=shown
} | OMP_NUM_THREADS=1 xargs -P 2 -L 1 bash -c '"$@"' _

python experiments/miniature/information_gap.py
python experiments/miniature/collect.py $out
