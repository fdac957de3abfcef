#!/bin/bash
# The GPU suite and benchmark: make gpu-check (docs/GPU.md). Builds with what gpu-pack/ carries, then runs check.py. Results
# go to gpu-check/, or to $OUT. Exit status 0: all went well; 1: something failed, the results say what; 2: something to
# build with is missing; 6: there is no GPU here.
#
#   ZO2_GPU_SECONDS=465       for all of it, the build included
#   ZO2_GPU_REHEARSAL=1       without a GPU: the played driver, small models and one tiny plan
#   ZO2_GPU_BUILD=build-gpu   where it is built
#   ZO2_REFERENCE=FOLDER      a checkout of the ZO2 package: its nanogpt path side by side
set -uo pipefail
cd "$(dirname "$0")/../.."
export ZO2_GPU_START=${ZO2_GPU_START:-$(date +%s)}
export ZO2_GPU_SECONDS=${ZO2_GPU_SECONDS:-465}
export ZO2_GPU_REHEARSAL=${ZO2_GPU_REHEARSAL:-}
export ZO2_GPU_BUILD=${ZO2_GPU_BUILD:-build-gpu}
export ZO2_GPU_OUT=${OUT:-gpu-check}
export ZO2_GPU_PACK=${ZO2_GPU_PACK:-gpu-pack}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

compute_capability() {
  python3 - <<'PY'
import ctypes, sys
try:
    cuda = ctypes.CDLL('libcuda.so.1')
except OSError:
    sys.exit(1)
device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
    sys.exit(1)
cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
print(f'{major.value}{minor.value}')
PY
}

if [ -z "$ZO2_GPU_REHEARSAL" ]; then
  if ! arch=$(compute_capability); then
    echo "gpu-check: there is no NVIDIA GPU and driver here; take this repository with gpu-pack/ (make gpu-pack writes it) to a" \
      "machine with one and with nvcc, CMake, ninja, g++ and a Python that has torch, and run make gpu-check there" >&2
    exit 6
  fi
else
  arch=90
fi
if [ ! -f "$ZO2_GPU_PACK/manifest.json" ]; then
  echo "gpu-check: there is no $ZO2_GPU_PACK/ here; make gpu-pack writes it where zo2-plan can be built" >&2
  exit 2
fi
mkdir -p "$ZO2_GPU_OUT" "$ZO2_GPU_BUILD"
log=$ZO2_GPU_OUT/log.txt
: >"$log"

targets="gpu_suite"
[ -n "$ZO2_GPU_REHEARSAL" ] && targets="gpu_rehearsal"
if [ -z "${ZO2_GPU_BUILT:-}" ]; then
  torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>>"$log")
  if [ -z "$torch" ]; then
    echo "gpu-check: this python3 has no torch" >&2
    exit 2
  fi
  jobs=$(nproc)
  echo "gpu-check: configuring and compiling in $ZO2_GPU_BUILD with $jobs jobs for sm_$arch"
  {
    cmake -S . -B "$ZO2_GPU_BUILD" -G Ninja -DZO2_PACK="$(realpath "$ZO2_GPU_PACK")" -DZO2_TORCH="$torch" \
      -DZO2_DEPS=/nonexistent -DZO2_Z3=OFF -DCMAKE_DISABLE_FIND_PACKAGE_Protobuf=ON -DZO2_CUDA_ARCHS="$arch" -DZO2_WERROR=OFF &&
      timeout $((ZO2_GPU_SECONDS * 2 / 3)) ninja -C "$ZO2_GPU_BUILD" -k 0 -j "$jobs" $targets
  } >>"$log" 2>&1
  export ZO2_GPU_BUILT=$?
  [ "$ZO2_GPU_BUILT" = 0 ] || grep -E -A3 'error|FAILED|CMake Error' "$log" | head -60
fi
exec python3 tests/gpu/check.py
