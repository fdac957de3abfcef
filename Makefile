# Two commands do everything on a fresh machine:
#   make demo   set-up, build, and the main job: fine-tune a pretrained encoder on real text under a memory budget
#   make test   set-up, build, all tests
BUILD ?= build
DEPS ?= $(CURDIR)/.deps
JOBS ?= $(shell nproc)
export ZO2_DEPS := $(DEPS)

.PHONY: all build test demo setup sanitize fuzz bench clean gpu-pack gpu-check
all: build

setup:
	@./cmake/setup.sh build

configure = cmake -S . -B $(1) -G Ninja -DZO2_DEPS=$(DEPS) $(2) >$(1)/configure.log 2>&1 || { cat $(1)/configure.log; exit 1; }

build: setup
	@echo "build: configuring and compiling in $(BUILD)"
	@mkdir -p $(BUILD) && $(call configure,$(BUILD),)
	@ninja -C $(BUILD) -j$(JOBS)

test: build
	@echo "test: running all tests"
	@cd $(BUILD) && ctest -j$(JOBS) --output-on-failure

# The same tests under AddressSanitizer and UndefinedBehaviorSanitizer, the executor's under ThreadSanitizer. Warnings are
# no errors there: g++ 12 sees uninitialised values in instrumented std::function.
sanitize: setup
	@echo "sanitize: ASan+UBSan"
	@mkdir -p $(BUILD)-asan && $(call configure,$(BUILD)-asan,-DZO2_WERROR=OFF -DZO2_SANITIZE=address$(comma)undefined)
	@ninja -C $(BUILD)-asan -j$(JOBS) sanitized_tests
	@cd $(BUILD)-asan && ctest -j$(JOBS) -L sanitize --output-on-failure
	@echo "sanitize: TSan"
	@mkdir -p $(BUILD)-tsan && $(call configure,$(BUILD)-tsan,-DZO2_WERROR=OFF -DZO2_SANITIZE=thread)
	@ninja -C $(BUILD)-tsan -j$(JOBS) test_runtime test_cuda
	@cd $(BUILD)-tsan && ctest -R '^(runtime|cuda_[12]_of_2)$$' --output-on-failure
comma := ,

# Every reader of files under libFuzzer, FUZZ_SECONDS each (or only FUZZ_READERS); needs clang++ and its runtime. What it
# finds that is new goes to $(BUILD)-fuzz/corpus, what breaks a reader to $(BUILD)-fuzz/found-*.
FUZZ_SECONDS ?= 60
FUZZ_READERS ?= safetensors machine journal snapshot dataset plan onnx
fuzz: setup
	@command -v clang++ >/dev/null || { echo "fuzz: install clang and libclang-rt-14-dev first" >&2; exit 2; }
	@mkdir -p $(BUILD)-fuzz && $(call configure,$(BUILD)-fuzz,-DCMAKE_CXX_COMPILER=clang++ -DZO2_FUZZ=ON \
	  -DZO2_WERROR=OFF -DZO2_SANITIZE=address$(comma)undefined$(comma)fuzzer-no-link)
	@ninja -C $(BUILD)-fuzz -j$(JOBS) fuzzers
	@tests/fuzz/run.sh $(BUILD)-fuzz $(FUZZ_SECONDS) $(FUZZ_READERS)

# Benchmark programs go to $(BUILD)/tests/bench; docs/benchmarks.md says how to use them.
bench: build
	@ninja -C $(BUILD) -j$(JOBS) bench

demo:
	@./cmake/setup.sh python
	@$(MAKE) --no-print-directory BUILD=$(BUILD) programs
	@./examples/demo/run.sh $(BUILD)

# The GPU suite and benchmark (docs/GPU.md). gpu-pack runs where zo2-plan is and writes what gpu-check needs on a machine with
# a GPU, into gpu-pack/; MACHINE=NAME|FILE is what plans are made for. gpu-check ends with status 6 where there is no GPU.
MACHINE ?=
gpu-pack: programs
	@./cmake/setup.sh python
	@ZO2_BUILD=$(abspath $(BUILD)) $(DEPS)/venv/bin/python tests/gpu/pack.py --machine '$(MACHINE)'
gpu-check:
	@tests/gpu/check.sh

.PHONY: programs
programs:
	@echo "build: configuring and compiling zo2-plan and zo2-run in $(BUILD)"
	@mkdir -p $(BUILD) && $(call configure,$(BUILD),)
	@ninja -C $(BUILD) -j$(JOBS) zo2-plan zo2-run

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-gpu $(BUILD)*.log
