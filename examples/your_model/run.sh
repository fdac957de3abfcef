#!/bin/bash
# Everything of README.md, in small: a model of one's own from Hugging Face to a tuned one, in about two minutes.
#   run.sh [BUILD] [OUT]     BUILD: folder of zo2-plan and zo2-run (build); OUT: folder for results (your-model-out)
# Needs what `make demo` sets up: both programs and a Python environment with PyTorch and transformers.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(cd "${1:-build}" && pwd); out=${2:-your-model-out}
python=${ZO2_DEPS:-.deps}/venv/bin/python
export PATH=$build:$PATH
say() { echo; echo "example: $*"; }
mkdir -p "$out"

say "1/7 text to token ids"
"$python" examples/your_model/make_data.py "$out" README.md docs/*.md

say "2/7 exporting the model"
# The exporter has much to say; it is shown only when something went wrong.
"$python" -W ignore examples/your_model/export_model.py "$out" 2>"$out/export.log" || { cat "$out/export.log" >&2; exit 1; }

say "3/7 what the model is"
zo2-plan check "$out/model.onnx" --bind batch=8,seq=32 | head -n 12

say "4/7 planning: 5 MiB of device memory for 6.2 MiB of weights"
zo2-plan compile "$out/model.onnx" --bind batch=8,seq=32 --budget 5MiB -o "$out/run.plan" --report "$out/report.json"
zo2-plan inspect "$out/run.plan" --format html -o "$out/timeline.html"

say "5/7 training, killed on the way, and going on"
rm -f "$out"/run.zoj*
train=(zo2-run train "$out/run.plan" --data "$out/train.jsonl" --steps 400 --lr 3e-4 --lr-schedule cosine --warmup 20
       --seed 1 --journal "$out/run.zoj" --metrics "$out/run.jsonl" --eval-data "$out/eval.jsonl" --resume)
"${train[@]}" & job=$!
while [ "$(wc -l 2>/dev/null < "$out/run.jsonl" || echo 0)" -lt 100 ] && kill -0 $job 2>/dev/null; do sleep 0.1; done
kill -KILL $job 2>/dev/null || true
wait $job 2>/dev/null || echo "(killed)"
"${train[@]}"

say "6/7 evaluating before and after"
zo2-run eval "$out/run.plan" --data "$out/eval.jsonl"
zo2-run eval "$out/run.plan" --data "$out/eval.jsonl" --journal "$out/run.zoj" --metrics "$out/eval.json"

say "7/7 exporting, and loading the result elsewhere"
zo2-run export "$out/run.plan" --journal "$out/run.zoj" -o "$out/tuned.safetensors"
zo2-plan export "$out/model.onnx" --weights "$out/tuned.safetensors" -o "$out/tuned.onnx"
"$python" -W ignore examples/your_model/use_tuned.py "$out"
