#!/bin/bash
# How well transfers hide behind compute on an emulated link as fast as the compute: tests/bench/overlap.sh [RATE]
#   RATE   of the link in each direction, default 850MB/s (about 0.1 s for 81 MiB)
# Needs what `make demo` leaves in demo-out/ and `make bench`. The machine file is measured in a process of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}; out=${OUT:-demo-out/overlap}; rate=${1:-850MB/s}; link="up=$rate,down=$rate"
mkdir -p "$out"
compile() { "$build/zo2-plan" compile demo-out/model.onnx --bind batch=32 --loss classify --quiet "$@"; }
compile --budget 24MiB -o "$out/probe.plan"
"$build/zo2-run" profile --plan "$out/probe.plan" --emulate-link "$link" -o "$out/machine.json" --quiet
compile --machine "$out/machine.json" --budget 200MiB -o "$out/resident.plan"
compile --machine "$out/machine.json" --budget 24MiB -o "$out/streamed.plan" --report "$out/streamed.json"
for size in 48MiB 64MiB; do compile --machine "$out/machine.json" --budget $size -o "$out/$size.plan"; done
compile --machine "$out/machine.json" --budget 24MiB --strategy stream -o "$out/stream.plan"
compile --machine "$out/machine.json" --budget 100MiB --strategy zo2 -o "$out/zo2.plan"
compile --machine "$out/machine.json" --budget 100MiB -o "$out/100MiB.plan"
"$build/tests/bench/bench_overlap" --link "$link" --rounds "${ROUNDS:-17}" --steps "${STEPS:-13}" \
  "$out/resident.plan" "$out/streamed.plan" "$out/stream.plan" "$out/zo2.plan" "$out/48MiB.plan" "$out/64MiB.plan" \
  "$out/100MiB.plan"
