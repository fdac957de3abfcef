// Runs harnesses without libFuzzer: every file of the corpus, then mutants of it from a fixed seed, so that every run
// of one build does the same.
//
//   fuzz_readers [READER [FILE...]]     all readers, one, or only these files
//   ZO2_FUZZ_MUTANTS=N ZO2_FUZZ_SEED=S  mutants of each reader, and where they begin
//   ZO2_FUZZ_CORPUS=FOLDER              with a folder per reader, for example what libFuzzer has found
//   ZO2_FUZZ_VERBOSE=1                  prints the error of each input that is refused
//
// An input that crashes, hangs (5 seconds of processor time) or takes too much memory is left in crash-READER in the
// current folder, and the exit status is not 0.
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "ir/support/file.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/readers.h"

extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*)());

namespace zo2::fuzz {
namespace {

constexpr int kHangSeconds = 5;

// The input at hand, for whoever finds the process dead.
const Reader* reader_now = nullptr;
std::string input_now;

void Keep() {
  if (reader_now == nullptr) return;
  char path[64];
  std::snprintf(path, sizeof path, "crash-%s", reader_now->name);
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd < 0 || ::write(fd, input_now.data(), input_now.size()) < 0) return;
  ::close(fd);
  std::fprintf(stderr, "fuzz: the input is kept in %s (%zu bytes)\n", path, input_now.size());
  reader_now = nullptr;
}

void OnSignal(int number) {
  if (number == SIGPROF) std::fprintf(stderr, "fuzz: an input takes more than %d seconds\n", kHangSeconds);
  Keep();
  ::signal(number == SIGPROF ? SIGABRT : number, SIG_DFL);
  ::raise(number == SIGPROF ? SIGABRT : number);
}

void Watch() {
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(Keep);  // and its handlers of signals stay
    ::signal(SIGABRT, OnSignal);
    ::signal(SIGPROF, OnSignal);
    return;
  }
  static char stack[1 << 16];  // one that overflows cannot be used
  const stack_t other = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
  ::sigaltstack(&other, nullptr);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGPROF}) {
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_ONSTACK;
    ::sigaction(number, &action, nullptr);
  }
}

void Run(const Reader& reader, std::string input) {
  input_now = std::move(input);
  reader_now = &reader;
  const itimerval hang = {{0, 0}, {kHangSeconds, 0}};
  ::setitimer(ITIMER_PROF, &hang, nullptr);
  reader.run(reinterpret_cast<const uint8_t*>(input_now.data()), input_now.size());
  reader_now = nullptr;
}

std::vector<std::string> ReadCorpus(const std::string& folder) {
  std::vector<std::string> paths, corpus;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    Result<std::string> text = ReadFile(path);
    if (text.ok()) corpus.push_back(std::move(*text));
  }
  return corpus;
}

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

// False where a run shows nothing: no corpus, or nothing of it can be read.
bool FuzzOne(const Reader& reader, const std::string& folder) {
  const std::vector<std::string> corpus = ReadCorpus(folder + "/" + reader.name);
  const auto start = std::chrono::steady_clock::now();
  Counts& counts = TotalCounts();
  counts = {};
  for (const std::string& input : corpus) Run(reader, input);
  const int64_t whole = counts.accepted, mutants = FromEnvironment("ZO2_FUZZ_MUTANTS", reader.mutants);
  Random random(static_cast<uint64_t>(FromEnvironment("ZO2_FUZZ_SEED", 1)));
  for (int64_t i = 0; i < mutants && !corpus.empty(); ++i) {
    const std::string& input = corpus[random.Below(corpus.size())];
    const std::string& other = corpus[random.Below(corpus.size())];
    Run(reader, Mutant(reader, input, other, random));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf(
      "%-12s %4zu files, %4lld accepted; %7lld mutants, %7lld accepted; %6.1f s; most memory %7zu bytes, "
      "%5.1f times the input, %3.0f %% of what is allowed\n",
      reader.name, corpus.size(), static_cast<long long>(whole), static_cast<long long>(mutants),
      static_cast<long long>(counts.accepted - whole), seconds.count(), counts.most_bytes, counts.most_multiple,
      100 * counts.most_share);
  std::fflush(stdout);
  return whole > 0 && (mutants < 1000 || counts.accepted > whole);
}

int Main(int argc, char** argv) {
  Watch();
  Folder();
  bool good = true, found = false;
  for (const Reader& reader : Readers()) {
    if (argc > 1 && std::strcmp(argv[1], reader.name) != 0) continue;
    found = true;
    for (int i = 2; i < argc; ++i) {
      Result<std::string> input = ReadFile(argv[i]);
      if (!input.ok()) Fail(input.status().message());
      TotalCounts() = {};
      Run(reader, std::move(*input));
      std::printf("%s: %s; most memory %zu bytes, %.1f times the input, %.0f %% of what is allowed\n", argv[i],
                  TotalCounts().accepted > 0 ? "accepted" : "refused", TotalCounts().most_bytes,
                  TotalCounts().most_multiple, 100 * TotalCounts().most_share);
    }
    const char* corpus = std::getenv("ZO2_FUZZ_CORPUS");
    if (argc > 2 || FuzzOne(reader, corpus != nullptr ? corpus : ZO2_FUZZ_CORPUS)) continue;
    std::printf("%s: nothing was accepted: the corpus is missing or the harness is broken\n", reader.name);
    good = false;
  }
  if (!found) std::printf("there is no reader %s\n", argv[1]);
  return good && found ? 0 : 1;
}

}  // namespace
}  // namespace zo2::fuzz

int main(int argc, char** argv) { return zo2::fuzz::Main(argc, argv); }
