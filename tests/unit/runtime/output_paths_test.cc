#include "runtime/output_paths.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

TEST(OutputPaths, WhatCannotBeWrittenIsSaidBeforehand) {
  const std::string folder = FreshFolder();
  WriteBytes(folder + "/old", "x");
  EXPECT_TRUE(
      CheckOutputs({{"--a", folder + "/new"}, {"--b", folder + "/old"}, {"--c", ""}, {"--d", ""}}, {"", "plan"}).ok());
  EXPECT_FALSE(FileExists(folder + "/new"));
  EXPECT_EQ(ReadBytes(folder + "/old"), "x");
  EXPECT_FALSE(CheckOutputs({{"--a", folder}}, {}).ok());
  EXPECT_FALSE(CheckOutputs({{"--a", folder + "/absent/new"}}, {}).ok());
  EXPECT_FALSE(CheckOutputs({{"--a", "/dev/null"}}, {}).ok());
  EXPECT_TRUE(CheckOutputs({{"--a", "/dev/null", true}}, {}).ok());
}

TEST(OutputPaths, NoFileHasTwoUses) {
  const std::string folder = FreshFolder();
  WriteBytes(folder + "/data", "x");
  ASSERT_EQ(::link((folder + "/data").c_str(), (folder + "/also").c_str()), 0);
  const Status twice = CheckOutputs({{"--journal", folder + "/run"}, {"--metrics", folder + "/run"}}, {});
  EXPECT_EQ(twice.message(), "--journal and --metrics are both " + folder + "/run");
  EXPECT_FALSE(CheckOutputs({{"--output", folder + "/data"}}, {folder + "/data"}).ok());
  EXPECT_FALSE(CheckOutputs({{"--output", folder + "/also"}}, {folder + "/data"}).ok());
}

}  // namespace
}  // namespace zo2
