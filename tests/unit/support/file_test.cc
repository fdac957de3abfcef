#include "ir/support/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "ir/support/crc32.h"
#include "ir/support/hash.h"

namespace zo2 {
namespace {

std::string Temp(const std::string& name) { return testing::TempDir() + "/file_test_" + name; }

TEST(File, WritesAndMapsBack) {
  const std::string path = Temp("a");
  ASSERT_TRUE(WriteFile(path, "hello").ok());
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->bytes().size(), 5u);
  EXPECT_TRUE(file->Range(1, 4).ok());
  EXPECT_TRUE(file->Range(5, 0).ok());
  EXPECT_FALSE(file->Range(1, 5).ok());
  EXPECT_FALSE(file->Range(UINT64_MAX, 2).ok());  // offset + length overflows
  EXPECT_FALSE(file->Range(2, UINT64_MAX).ok());
  EXPECT_EQ(*ReadFile(path), "hello");
  EXPECT_EQ(*FileSize(path), 5u);
}

TEST(File, EmptyFileMapsToNothing) {
  ASSERT_TRUE(WriteFile(Temp("empty"), "").ok());
  auto file = MappedFile::Open(Temp("empty"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
}

TEST(File, AbandonedWriteLeavesTheOldFile) {
  const std::string path = Temp("b");
  ASSERT_TRUE(WriteFile(path, "old").ok());
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Append("new").ok());
  }
  EXPECT_EQ(*ReadFile(path), "old");
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Append("new").ok());
  EXPECT_EQ(*ReadFile(path), "old");
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(*ReadFile(path), "new");
}

TEST(File, WhatKilledWritersLeftIsRemoved) {
  const std::string path = Temp("left");
  const std::vector<std::string> left = {path + ".tmp.1.0", path + ".tmp.123.45"};
  const std::vector<std::string> others = {path + ".tmp.1", path + ".tmp.1.x", path + ".tmp..1", path + "er.tmp.1.0",
                                           path + ".tmp.1.0.bak"};
  for (const std::string& file : left) ASSERT_TRUE(WriteFile(file, "half").ok());
  for (const std::string& file : others) ASSERT_TRUE(WriteFile(file, "somebody's").ok());
  Result<AtomicFile> living = AtomicFile::Create(path);  // removes them
  ASSERT_TRUE(living.ok() && living->Append("first").ok());
  for (const std::string& file : left) EXPECT_FALSE(FileExists(file)) << file;
  for (const std::string& file : others) EXPECT_TRUE(FileExists(file)) << file;
  // A second writer of the same file leaves the first one's alone.
  ASSERT_TRUE(WriteFile(path, "second").ok());
  RemoveUnfinished(path);
  ASSERT_TRUE(living->Commit().ok());
  EXPECT_EQ(*ReadFile(path), "first");
  for (const std::string& file : others) std::filesystem::remove(file);
  RemoveUnfinished(Temp("absent/file"));
}

TEST(File, OfTwoThatMakeANewFileOneSucceeds) {
  const std::string path = Temp("new");
  std::remove(path.c_str());
  auto first = AtomicFile::Create(path), second = AtomicFile::Create(path);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE(first->Append("first").ok() && second->Append("second").ok());
  ASSERT_TRUE(first->CommitNew().ok());
  const Status late = second->CommitNew();
  ASSERT_FALSE(late.ok());
  EXPECT_NE(late.message().find("exists"), std::string::npos) << late.message();
  EXPECT_EQ(*ReadFile(path), "first");
}

TEST(File, ADeviceIsWrittenToAndNotReplaced) {
  const std::string path = Temp("device");  // a link: even a wrong rename harms nothing but it
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/dev/null", path);
  EXPECT_TRUE(WriteFile(path, "text").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(path));
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/dev/full", path);
  EXPECT_NE(WriteFile(path, "text").message().find("cannot write " + path), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_symlink(path));
}

TEST(File, ErrorsNameThePath) {
  EXPECT_NE(MappedFile::Open("/nowhere/x").status().message().find("/nowhere/x"), std::string::npos);
  EXPECT_NE(AtomicFile::Create("/nowhere/x").status().message().find("/nowhere/x"), std::string::npos);
  EXPECT_FALSE(FileSize(testing::TempDir()).ok());
}

TEST(File, Paths) {
  EXPECT_EQ(DirName("a/b.onnx"), "a");
  EXPECT_EQ(DirName("b.onnx"), ".");
  EXPECT_EQ(DirName("/b.onnx"), "/");
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a", "/b"), "/b");
  EXPECT_EQ(JoinPath(".", "b"), "b");
}

TEST(MappedFile, GivesPagesBackThatHaveBeenPassed) {
  const std::string path = Temp("passed");
  std::string text(1 << 20, 'x');
  text.back() = 'y';
  ASSERT_TRUE(WriteFile(path, text).ok());
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  const auto same = [&] { return std::memcmp(file->bytes().data(), text.data(), text.size()) == 0; };
  const auto pages_here = [&] {  // KiB, in this process
    std::ifstream map("/proc/self/smaps");
    std::string line;
    for (bool mine = false; std::getline(map, line);) {
      if (line.find("file_test_passed") != std::string::npos) mine = true;
      if (mine && line.rfind("Rss:", 0) == 0) return std::stol(line.substr(4));
    }
    return -1l;
  };
  EXPECT_TRUE(same());
  EXPECT_GT(pages_here(), 0);
  file->Passed(63 << 20);
  EXPECT_GT(pages_here(), 0);
  file->Passed(2 << 20);
  EXPECT_EQ(pages_here(), 0);
  EXPECT_TRUE(same());
}

TEST(Crc32, CheckValueAndContinuation) {
  EXPECT_EQ(Crc32("123456789"), 0xcbf43926u);
  EXPECT_EQ(Crc32("56789", Crc32("1234")), 0xcbf43926u);
  EXPECT_EQ(Crc32(""), 0u);
}

TEST(Sha256, PublishedVectors) {  // FIPS 180-4 examples
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 hash;  // a million "a" in odd pieces
  std::string piece(997, 'a');
  size_t left = 1000000;
  while (left > 0) {
    size_t n = std::min(left, piece.size());
    hash.Update(std::string_view(piece).substr(0, n));
    left -= n;
  }
  EXPECT_EQ(hash.Hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace zo2
