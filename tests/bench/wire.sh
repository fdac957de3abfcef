#!/bin/bash
# What a format on the wire is worth: tests/bench/wire.sh MODEL.onnx DATA.safetensors [RATE]
#   RATE  of an emulated link in each direction, default 2GB/s
# Plans the model with every weight streamed, in each format, once with its matrices frozen and once trained (by host
# update and by refresh), runs the plans one after the other, ROUNDS times, and prints period predicted and measured
# (median over rounds) and how far the losses are from those of f32. BIND=... binds symbolic dimensions, LOSS=... the
# loss, FREE=... a regular expression of the weights that stay trained when matrices are frozen, STEPS and LR.
set -euo pipefail
cd "$(dirname "$0")/../.."
model=$1 data=$2 rate=${3:-2GB/s}
build=${BUILD:-build}; out=${OUT:-$(dirname "$model")/wire}
link="up=$rate,down=$rate"; steps=${STEPS:-40}
mkdir -p "$out"
compile() { "$build/zo2-plan" compile "$model" ${BIND:+--bind "$BIND"} --loss "${LOSS:-auto}" --machine "$machine" --budget 1TiB --host-budget 64GiB --quiet "$@"; }
machine=cpu-2core; compile --strategy resident -o "$out/probe.plan"
"$build/zo2-run" profile --plan "$out/probe.plan" --emulate-link "$link" -o "$out/machine.json" --quiet
machine=$out/machine.json
plans=()
for wire in ${FORMATS:-f32 bf16 e4m3 int8 int4}; do
  compile --strategy stream --slots 4 --train "${FREE:-bias|[nN]orm}" --wire "$wire" -o "$out/frozen-$wire.plan" --report "$out/frozen-$wire.json"
  plans+=("frozen-$wire")
  for update in host refresh; do
    [ "$wire" = f32 ] && [ "$update" = refresh ] && continue
    [ "$update" = refresh ] && every="--refresh-every ${EVERY:-8}" || every=
    compile --strategy stream --slots 4 --wire "$wire" --wire-update $update $every -o "$out/trained-$wire-$update.plan" --report "$out/trained-$wire-$update.json"
    plans+=("trained-$wire-$update")
  done
done
for round in $(seq "${ROUNDS:-3}"); do
  for plan in "${plans[@]}"; do
    "$build/zo2-run" train "$out/$plan.plan" --data "$data" --steps "$steps" --lr "${LR:-1e-6}" --seed 7 \
      --emulate-link "$link" --metrics "$out/$plan.$round.jsonl" --quiet
  done
done
python3 - "$out" "${ROUNDS:-3}" "${plans[@]}" <<'PYTHON'
import json, statistics, sys
out, rounds, plans = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
def steps(plan, round):
    return [json.loads(line) for line in open(f'{out}/{plan}.{round}.jsonl') if '"loss_plus"' in line]
def losses(plan):
    return [(s['loss_plus'] + s['loss_minus']) / 2 for s in steps(plan, 1)]
print('| plan | up MiB per step | down MiB | predicted ms | measured ms | measured / predicted | f32 / this | mean distance of losses from f32 | last loss |')
print('|---|---|---|---|---|---|---|---|---|')
for plan in plans:
    report = json.load(open(f'{out}/{plan}.json'))
    periods = []
    for round in range(1, rounds + 1):
        seconds = [s['seconds'] for s in steps(plan, round)]
        k = max(4, report['decision']['writeback_every'])  # whole periods, after the first
        seconds = seconds[k:len(seconds) // k * k]
        periods.append(sum(seconds) / len(seconds))
    measured, predicted = statistics.median(periods), report['time']['period']
    base = 'frozen-f32' if plan.startswith('frozen') else 'trained-f32-host'
    if plan == base: reference, exact = measured, losses(plan)
    own = losses(plan)
    distance = statistics.mean(abs(a - b) for a, b in zip(own, exact))
    rate = report['rate']
    print(f"| {plan} | {rate['up_bytes_per_step'] / 2**20:.1f} | {rate['down_bytes_per_step'] / 2**20:.1f} | {1e3 * predicted:.1f} | "
          f"{1e3 * measured:.1f} | {measured / predicted:.2f} | {reference / measured:.2f} | {distance:.2g} | {own[-1]:.4f} |")
PYTHON
