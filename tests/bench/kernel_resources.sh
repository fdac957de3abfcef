#!/bin/bash
# What the compiler gives our GPU kernels: tests/bench/kernel_resources.sh [ARCHITECTURE ...], default 80 86 89 90.
# Prints a Markdown table of registers, spills, local and shared memory per kernel and architecture, from
# `nvcc --resource-usage`; then whether the PTX has an instruction that is not IEEE's (approximate, flushing to zero, or
# a binary64 product fused with an addition). Needs no GPU. NVCC=... is the compiler. Exit status 77: there is none;
# 1: a kernel spills, uses local memory, or has such an instruction.
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "no nvcc: set NVCC" >&2; exit 77; }
flags="-std=c++20 -fmad=false -O2 -I. -Werror all-warnings"
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
archs=${*:-80 86 89 90}
for kernel in prepare gradient; do
  for arch in $archs; do
    "$nvcc" $flags -gencode "arch=compute_$arch,code=sm_$arch" --resource-usage -cubin -o "$out/cubin" \
      "runtime/cuda/$kernel.cu" > "$out/$kernel.$arch" 2>&1 || { cat "$out/$kernel.$arch" >&2; exit 1; }
  done
  "$nvcc" $flags -arch compute_80 -ptx -o "$out/$kernel.ptx" "runtime/cuda/$kernel.cu"
done
"$nvcc" --version | tail -2 | head -1
python3 - "$out" $archs <<'PYTHON'
import re, sys
out, archs = sys.argv[1], sys.argv[2:]
SOURCES = ['f32', 'bf16', 'f16', 'e4m3', 'int8', 'int4']
def name(symbol):
    m = re.search(r'4WireE(\d)ELb(\d)E', symbol)
    return f'prepare, {SOURCES[int(m[1])]}, {"signs" if m[2] == "1" else "Gaussian"}' if m else 'gradient'
rows, bad = {}, False
for kernel in ('prepare', 'gradient'):
    for arch in archs:
        text = open(f'{out}/{kernel}.{arch}').read()
        for block in text.split('Compiling entry function')[1:]:
            stack, stores, loads = map(int, re.search(
                r'(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads', block).groups())
            registers = int(re.search(r'Used (\d+) registers', block)[1])
            shared = int((re.search(r'(\d+) bytes smem', block) or [0, 0])[1])
            row = rows.setdefault(name(block.split("'")[1]), {})
            row[arch] = (registers, stores + loads, stack, shared)
            bad = bad or stores + loads + stack > 0
print('| kernel | ' + ' | '.join(f'sm_{a} registers' for a in archs) + ' | spills, bytes | local memory, bytes | shared memory, bytes |')
print('|---' * (len(archs) + 4) + '|')
for key in sorted(rows, key=lambda k: (k == 'gradient', [SOURCES.index(w) for w in SOURCES if f' {w},' in k], k)):
    row = rows[key]
    print(f'| {key} | ' + ' | '.join(str(row[a][0]) for a in archs) +
          ''.join(f' | {max(row[a][i] for a in archs)}' for i in (1, 2, 3)) + ' |')
for kernel in ('prepare', 'gradient'):
    ptx = open(f'{out}/{kernel}.ptx').read()
    found = sorted(set(re.findall(r'^\s*(?:@\S+\s+)?(\w+(?:\.\w+)*\.(?:approx|ftz|full)[.\w]*|fma\.\w+\.f64)', ptx, re.M)))
    rounded = sorted(set(re.findall(r'^\s*(?:@\S+\s+)?((?:add|sub|mul|fma|div|sqrt)(?:\.\w+)*\.f(?:32|64))', ptx, re.M)))
    print(f'{kernel}: {", ".join(rounded)}; not IEEE: {", ".join(found) or "none"}')
    bad = bad or bool(found) or any('.rn.' not in i for i in rounded)
sys.exit(bad)
PYTHON
