#include "frontend/pipeline.h"
#include "tests/fuzz/readers.h"

namespace zo2::fuzz {
namespace {

constexpr int64_t kMaxFoldBytes = 64 << 10, kMaxInlinedNodes = 500;
// A node of ten bytes becomes a message, a checked copy of it, nodes of the graph and values. What is folded is counted
// apart: ImportOptions::max_fold_bytes.
constexpr Allowance kAllowance{(1 << 20) + 16 * kMaxFoldBytes, 1024, kProtobufString};

// y = Relu(x), opset 13.
constexpr std::string_view kSmallModel(
    "\x08\x08:"
    "3\x0a\x0c\x0a\x01x\x12\x01y\"\x04Relu\x12\x01gZ\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"
    "b\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"
    "B\x04\x0a\x00\x10\x0d",
    61);

bool Contains(std::string_view bytes, std::string_view word) { return bytes.find(word) != std::string_view::npos; }

}  // namespace

int FuzzOnnx(const uint8_t* data, size_t size) {
  static InputFile file("model.onnx"), external("data.bin");
  static const bool once = [] {
    external.Set(std::string(4096, 'x'));
    file.Set(kSmallModel);  // ONNX's checker makes its tables, some MB, when it is used first
    LoadOptions options;
    options.loss = "none";
    return LoadModel(file.path(), options).ok();
  }();
  Require(once, "a small model cannot be read");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  file.Set(bytes);
  LoadOptions options;
  options.import.max_fold_bytes = kMaxFoldBytes;
  options.import.max_inlined_nodes = kMaxInlinedNodes;
  // What a user would bind who has looked at the model's names.
  if (Contains(bytes, "batch")) options.import.bind["batch"] = 2;
  if (Contains(bytes, "seq")) options.import.bind["seq"] = 3;
  options.loss = Contains(bytes, "logits") ? "auto" : "none";
  const MemoryLimit limit(kAllowance, size);
  const Result<Graph> graph = LoadModel(file.path(), options);
  if (!graph.ok()) {
    CheckError(graph.status());
    return 0;
  }
  ++TotalCounts().accepted;
  uint64_t left = 16 * size + (1 << 16);  // many weights may lie in the same bytes
  for (const Weight& weight : graph->weights) {
    const uint64_t need = static_cast<uint64_t>(weight.elements() * SizeOf(weight.dtype));
    if (need > left) break;
    left -= need;
    std::vector<std::byte> values(static_cast<size_t>(need));
    const Result<void> loaded = LoadWeight(weight, Folder(), values.data());
    if (!loaded.ok()) CheckError(loaded.status());
  }
  return 0;
}

void MutateOnnx(std::string* input, Random& random) { MutateWire(input, random); }

}  // namespace zo2::fuzz
