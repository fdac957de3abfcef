#!/bin/bash
# What a budget costs: tests/bench/offload.sh MODEL.onnx [RATE...]
#   RATE  of an emulated link in each direction, default 2GB/s and 8GB/s
# Plans the model with all, a half and a tenth of its weights' bytes as device budget and runs the plans, interleaved in one
# process. What the model's step needs beside weights comes on top of the budget. Needs `make bench`; BIND=... binds symbolic
# dimensions.
set -euo pipefail
cd "$(dirname "$0")/../.."
model=$1; shift; rates=("$@"); [ $# -gt 0 ] || rates=(2GB/s 8GB/s)
build=${BUILD:-build}; out=${OUT:-$(dirname "$model")/offload}
mkdir -p "$out"
compile() { "$build/zo2-plan" compile "$model" ${BIND:+--bind "$BIND"} --host-budget 64GiB "$@"; }
number() { python3 -c "import json,sys; r=json.load(open('$out/report.json')); print(int($1))"; }
compile --strategy resident --budget 1TiB -o "$out/resident.plan" --report "$out/report.json" --quiet
weights=$(number "r['model']['weight_bytes']"); rest=$(($(number "r['memory']['device']['bytes']") - weights))
for rate in "${rates[@]}"; do
  link="up=$rate,down=$rate"
  "$build/zo2-run" profile --plan "$out/resident.plan" --emulate-link "$link" -o "$out/machine.json" --quiet
  compile --machine "$out/machine.json" --strategy resident --budget 1TiB -o "$out/resident.plan" --quiet
  compile --machine "$out/machine.json" --budget $((weights / 2 + rest)) -o "$out/half.plan" --quiet
  compile --machine "$out/machine.json" --budget $((weights / 10 + rest)) -o "$out/tenth.plan" --quiet
  echo "link $rate each way; weights $weights bytes, beside them $rest"
  "$build/tests/bench/bench_overlap" --link "$link" --rounds "${ROUNDS:-5}" --steps "${STEPS:-6}" \
    "$out/resident.plan" "$out/half.plan" "$out/tenth.plan"
done
