#!/bin/bash
# The main job on a real model and real data: fine-tune a pretrained encoder (23 M weights, 86 MiB in fp32) with
# zeroth-order steps in 24 MiB of device memory, on this machine's processor.
#   run.sh [BUILD]     BUILD: folder of zo2-plan and zo2-run (build)
# Settings, as environment variables: OUT (demo-out), STEPS (420), BUDGET (24MiB), LR (1e-4).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}; out=${OUT:-demo-out}
steps=${STEPS:-420}; budget=${BUDGET:-24MiB}; lr=${LR:-1e-4}
python=${ZO2_DEPS:-.deps}/venv/bin/python
say() { echo; echo "demo: $*"; }
mkdir -p "$out"

say "1/6 exporting the pretrained encoder and tokenising package descriptions"
if [ -e $out/model.onnx ] && [ -e $out/sections.json ]; then echo "$out/model.onnx is there"; else
  # The exporter has much to say; it is shown only when something went wrong.
  "$python" -W ignore examples/demo/make_inputs.py "$out" 2>"$out/export.log" || { cat "$out/export.log" >&2; exit 1; }
fi

say "2/6 planning: $budget of device memory for 86 MiB of weights"
$build/zo2-plan compile $out/model.onnx --bind batch=32 --budget "$budget" --loss classify --steps "$steps" \
  -o $out/demo.plan --report $out/report.json
$build/zo2-plan inspect $out/demo.plan --format html -o $out/timeline.html

say "3/6 accuracy before training (zero-shot: the head's rows are embeddings of section names)"
$build/zo2-run eval $out/demo.plan --data $out/heldout.safetensors --metrics $out/zero-shot.json

say "4/6 training $steps steps"
rm -f $out/run.zoj*
$build/zo2-run train $out/demo.plan --data $out/train.safetensors --steps "$steps" --lr "$lr" --lr-schedule linear \
  --eps 1e-3 --seed 7 --journal $out/run.zoj --metrics $out/run.jsonl

say "5/6 accuracy after training"
$build/zo2-run eval $out/demo.plan --journal $out/run.zoj --data $out/heldout.safetensors --metrics $out/tuned.json

say "6/6 exporting the tuned model"
$build/zo2-run export $out/demo.plan --journal $out/run.zoj -o $out/tuned.safetensors
$build/zo2-plan export $out/model.onnx --weights $out/tuned.safetensors -o $out/tuned.onnx

"$python" examples/demo/summary.py $out
