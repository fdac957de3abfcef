#include "ir/support/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <string>
#include <vector>

namespace zo2 {
namespace {

std::string Temp(const std::string& name) { return testing::TempDir() + "/safetensors_test_" + name; }

std::span<const std::byte> Bytes(const std::vector<float>& v) {
  return std::as_bytes(std::span<const float>(v));
}

// A file with the given header text and `data` bytes of zeros.
std::string WithHeader(const std::string& header, size_t data, uint64_t claimed = 0) {
  uint64_t length = claimed ? claimed : header.size();
  std::string text(reinterpret_cast<const char*>(&length), 8);
  text += header + std::string(data, '\0');
  const std::string path = Temp("hostile.safetensors");
  EXPECT_TRUE(WriteFile(path, text).ok());
  return path;
}

void WriteOne(const std::string& path, const std::string& name, const std::vector<float>& values) {
  auto writer = SafetensorsWriter::Create(path, {{name, DType::kF32, {static_cast<int64_t>(values.size())}}});
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE(writer->Append(Bytes(values)).ok());
  ASSERT_TRUE(writer->Finish().ok());
}

TEST(Safetensors, RoundTrip) {
  const std::string path = Temp("a.safetensors");
  auto writer = SafetensorsWriter::Create(
      path, {{"w", DType::kF32, {2, 3}}, {"e", DType::kBF16, {0, 5}}, {"s", DType::kF32, {}}},
      {{"format", "pt"}});
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE(writer->Append(Bytes({1, 2, 3, 4})).ok());
  ASSERT_TRUE(writer->Append(Bytes({5, 6, 7})).ok());
  ASSERT_TRUE(writer->Finish().ok());
  auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->header().metadata.at("format"), "pt");
  auto w = file->Data("w");
  ASSERT_TRUE(w.ok());
  float values[6];
  ASSERT_EQ(w->size(), sizeof values);
  std::memcpy(values, w->data(), sizeof values);
  EXPECT_EQ(values[5], 6);
  EXPECT_EQ(file->Data("e")->size(), 0u);
  EXPECT_EQ(file->Data("s")->size(), 4u);
  EXPECT_NE(file->Data("nothing").status().message().find("nothing"), std::string::npos);
}

TEST(Safetensors, AnUnfinishedFileIsRefusedAndLeavesNothing) {
  const std::string path = Temp("short.safetensors");
  auto writer = SafetensorsWriter::Create(path, {{"w", DType::kF32, {2}}});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->Append(Bytes({1})).ok());
  EXPECT_EQ(writer->Finish().code(), Code::kInternal);
  EXPECT_FALSE(FileExists(path));
}

TEST(Safetensors, HostileHeaders) {
  struct Case {
    const char* header;
    size_t data;
    uint64_t claimed;
    const char* says;
  } cases[] = {
      {"{}", 0, uint64_t{1} << 63, "header claims"},
      {"{}", 0, 1000, "header claims"},
      {"[]", 0, 0, "not a JSON object"},
      {"{\"a\"", 0, 0, "not a JSON object"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, 0, "truncated"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, 0, "shape and dtype"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 8, 0,
       "shape and dtype"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, 0, "list of sizes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, 0, "truncated or damaged"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8, 0, "data_offsets"},
      {R"({"a":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}})", 8, 0, "Q4"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, 0, "overlap"},
      {R"({"a":7})", 8, 0, "lacks"},
  };
  for (const Case& c : cases) {
    auto header = ReadSafetensorsHeader(WithHeader(c.header, c.data, c.claimed));
    ASSERT_FALSE(header.ok()) << c.header;
    EXPECT_NE(header.status().message().find(c.says), std::string::npos) << header.status().message();
  }
  ASSERT_TRUE(WriteFile(Temp("tiny"), "abc").ok());
  EXPECT_FALSE(ReadSafetensorsHeader(Temp("tiny")).ok());
}

TEST(Safetensors, FoldersShardsAndDuplicates) {
  const std::string dir = Temp("dir");
  ::mkdir(dir.c_str(), 0777);
  WriteOne(dir + "/one.safetensors", "a", {1});
  WriteOne(dir + "/two.safetensors", "b", {2, 3});
  auto all = ListSafetensors(dir);
  ASSERT_TRUE(all.ok()) << all.status().message();
  EXPECT_EQ(all->size(), 2u);

  const std::string index = dir + "/index.json";
  ASSERT_TRUE(WriteFile(index, R"({"weight_map":{"b":"two.safetensors"}})").ok());
  all = ListSafetensors(index);
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ((*all)[0].name, "b");
  ASSERT_TRUE(WriteFile(index, R"({"weight_map":{"c":"two.safetensors"}})").ok());
  EXPECT_NE(ListSafetensors(index).status().message().find("c is not in"), std::string::npos);
  ASSERT_TRUE(WriteFile(index, R"({"weight_map":{"c":"../two.safetensors"}})").ok());
  EXPECT_NE(ListSafetensors(index).status().message().find("outside"), std::string::npos);

  WriteOne(dir + "/two.safetensors", "a", {2});
  EXPECT_NE(ListSafetensors(dir).status().message().find("another file"), std::string::npos);
  EXPECT_NE(ListSafetensors(dir + "/nothing").status().message().find("no file or folder"),
            std::string::npos);
}

}  // namespace
}  // namespace zo2
