#!/bin/bash
# run.sh BUILD SECONDS READER...: each reader's fuzzer for so long, from the corpus and what earlier runs found. FUZZ_FLAGS
# are more flags of libFuzzer; -fork=1 -ignore_crashes=1 goes on when something is found.
set -euo pipefail
build=$(cd "$1" && pwd) seconds=$2; shift 2
seeds=$(cd "$(dirname "$0")" && pwd)/corpus
export ASAN_OPTIONS=detect_container_overflow=0:allocator_may_return_null=1:detect_leaks=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
failed=0
for reader in "$@"; do
  found=$build/corpus/$reader; mkdir -p "$found"
  echo "fuzz: $reader, $seconds seconds"
  "$build/tests/fuzz/fuzz_$reader" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=4096 -max_len=16384 \
    -artifact_prefix="$build/found-$reader-" -print_final_stats=1 ${FUZZ_FLAGS:-} "$found" "$seeds/$reader" >"$build/fuzz-$reader.log" 2>&1 ||
    { failed=1; tail -40 "$build/fuzz-$reader.log"; }
  grep -E '^#[0-9]+.*DONE|^Done|^accepted' "$build/fuzz-$reader.log" || true
done
exit $failed
