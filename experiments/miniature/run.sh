#!/usr/bin/env bash
# Everything in this folder: five seeds, the controls, the judgements. About an hour on 2 cores.
# Each run has one thread and two go at a time, which is faster than one after the other with two threads each.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/miniature
settings="data.n_test=1000 threads=1 logger=none trainer.enable_progress_bar=false"

train() { # name, overrides
    local name=$1; shift
    [ -f $out/$name/summary.json ] || python src/train.py $settings paths.output_dir=$out/$name "$@"
    [ -f $out/$name/judged/evaluation.json ] ||
        python src/evaluate.py $settings model.path=$out/$name/model paths.output_dir=$out/$name/judged
}
export -f train; export out settings
{
    for seed in 0 1 2 3 4; do echo seed_$seed seed=$seed; done
    echo lr_0 seed=0 algorithm.optimizer.lr=0
    echo shuffled_advantages seed=0 algorithm.shuffle_advantages=true
    echo crops_of_the_overview seed=0 tool.pixels=shown
} | OMP_NUM_THREADS=1 xargs -P 2 -L 1 bash -c 'train "$@"' train

[ -f $out/base/evaluation.json ] || python src/evaluate.py $settings paths.output_dir=$out/base
python experiments/miniature/information_gap.py
python experiments/miniature/collect.py $out
