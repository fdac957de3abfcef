#include "ir/support/last_words.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "ir/support/file.h"
#include "ir/support/status.h"

namespace zo2 {
namespace {

int StatusOf(Code code) { return static_cast<int>(code); }

// In a process of its own, as death tests are.
void End(const std::function<void()>& how) {
  InstallLastWords("program");
  std::thread(how).join();
}

TEST(LastWordsDeathTest, AMappedFileThatIsCut) {
  const std::string path = testing::TempDir() + "/last_words_cut";
  ASSERT_TRUE(WriteFile(path, std::string(3 << 12, 'x')).ok());
  EXPECT_EXIT(End([&] {
                auto other = MappedFile::Open("/proc/self/exe"), file = MappedFile::Open(path);
                volatile std::byte last = file->bytes()[2 << 12];
                if (::truncate(path.c_str(), 1 << 12) == 0) last = file->bytes()[2 << 12];
                (void)last;
              }),
              testing::ExitedWithCode(StatusOf(Code::kInvalid)),
              "^program: [^\n]*last_words_cut cannot be read any more: it was cut [^\n]*\n$");
}

TEST(LastWordsDeathTest, AFileThatIsMappedNoMore) {
  EXPECT_EXIT(End([] {
                const std::string path = testing::TempDir() + "/last_words_unmapped";
                if (!WriteFile(path, "x").ok()) return;
                MappedFile moved;
                for (int i = 0; i < 1000; ++i)
                  moved = *MappedFile::Open(path);  // more than there are tickets
                moved = MappedFile();
                raise(SIGBUS);  // of nobody's file: the signal does what it does
              }),
              testing::KilledBySignal(SIGBUS), "^$");
}

TEST(LastWordsDeathTest, MemoryOrThreadsRunOut) {
  EXPECT_EXIT(End([] { throw std::bad_alloc(); }), testing::ExitedWithCode(StatusOf(Code::kDevice)),
              "^program: out of memory: [^\n]*\n$");
  EXPECT_EXIT(
      End([] { throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again)); }),
      testing::ExitedWithCode(StatusOf(Code::kDevice)),
      "^program: the system gives no more threads[^\n]*\n$");
}

TEST(LastWordsDeathTest, ABugOfOurs) {
  EXPECT_EXIT(End([] { throw std::logic_error("what it was"); }),
              testing::ExitedWithCode(StatusOf(Code::kInternal)), "^program: a bug of ours: what it was\n$");
}

}  // namespace
}  // namespace zo2
