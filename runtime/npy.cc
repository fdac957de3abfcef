#include "runtime/npy.h"

#include <cstring>
#include <optional>
#include <utility>

namespace zo2 {
namespace {

constexpr std::pair<std::string_view, Number> kTypes[] = {{"|u1", Number::kU8},  {"<u2", Number::kU16},
                                                          {"<u4", Number::kU32}, {"<i2", Number::kI16},
                                                          {"<i4", Number::kI32}, {"<i8", Number::kI64}};

// The header's text; each Take moves past what it takes, or returns nothing.
class Text {
 public:
  explicit Text(std::string_view text) : text_(text) {}
  bool Take(char c) {
    SkipSpace();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::optional<std::string_view> TakeString() {
    SkipSpace();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) return std::nullopt;
    const size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view inside = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return inside;
  }
  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  std::optional<int64_t> TakeSize() {
    SkipSpace();
    size_t digits = 0;
    int64_t value = 0;
    for (; digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9'; ++digits)
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text_[digits] - '0', &value))
        return std::nullopt;
    if (digits == 0) return std::nullopt;
    text_.remove_prefix(digits);
    return value;
  }
  bool AtEnd() {
    SkipSpace();
    return text_.empty();
  }

 private:
  void SkipSpace() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  std::string_view text_;
};

struct Header {
  std::string_view descr;
  bool fortran = false;
  Shape shape;
};

std::optional<Shape> TakeShape(Text& text) {
  Shape shape;
  if (!text.Take('(')) return std::nullopt;
  while (!text.Take(')')) {
    const std::optional<int64_t> size = text.TakeSize();
    if (!size) return std::nullopt;
    shape.push_back(*size);
    if (text.Take(',')) continue;
    if (!text.Take(')')) return std::nullopt;
    break;
  }
  return shape;
}

std::optional<Header> ParseHeader(std::string_view whole) {
  Text text(whole);
  Header header;
  bool descr = false, order = false, shape = false;
  if (!text.Take('{')) return std::nullopt;
  while (!text.Take('}')) {
    const std::optional<std::string_view> key = text.TakeString();
    if (!key || !text.Take(':')) return std::nullopt;
    if (*key == "descr" && !descr) {
      const std::optional<std::string_view> value = text.TakeString();
      if (!value) return std::nullopt;
      header.descr = *value;
      descr = true;
    } else if (*key == "fortran_order" && !order) {
      header.fortran = text.TakeWord("True");
      if (!header.fortran && !text.TakeWord("False")) return std::nullopt;
      order = true;
    } else if (*key == "shape" && !shape) {
      std::optional<Shape> value = TakeShape(text);
      if (!value) return std::nullopt;
      header.shape = std::move(*value);
      shape = true;
    } else {
      return std::nullopt;
    }
    if (text.Take(',')) continue;
    if (!text.Take('}')) return std::nullopt;
    break;
  }
  if (!text.AtEnd() || !descr || !order || !shape) return std::nullopt;
  return header;
}

}  // namespace

Result<NpyArray> ParseNpy(const MappedFile& file) {
  const std::string& path = file.path();
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0) return Invalid(path, " is not a .npy file");
  const int major = std::to_integer<int>(bytes[6]), minor = std::to_integer<int>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0)
    return Invalid(path, " is of .npy version ", major, ".", minor, "; versions 1.0, 2.0 and 3.0 are known");
  uint64_t length = 0;
  const uint64_t start = major == 1 ? 10 : 12;
  if (bytes.size() >= start) std::memcpy(&length, bytes.data() + 8, start - 8);
  if (bytes.size() < start || length > bytes.size() - start)
    return Invalid(path, " is not a whole .npy file: its header claims ", length, " bytes of ", bytes.size());
  const std::optional<Header> header =
      ParseHeader(std::string_view(reinterpret_cast<const char*>(bytes.data()) + start, length));
  if (!header) return Invalid(path, " has a .npy header that is not a dict of descr, fortran_order and shape");
  NpyArray array;
  array.shape = header->shape;
  array.offset = start + length;
  bool known = false;
  for (const auto& [name, type] : kTypes)
    if (header->descr == name) array.type = type, known = true;
  if (!known)
    return Invalid(path, " has dtype ", header->descr.substr(0, 20), "; ids are |u1, <u2, <u4, <i2, <i4 or <i8");
  if (header->fortran) return Invalid(path, " is in Fortran order: save it with numpy.ascontiguousarray");
  uint64_t need = static_cast<uint64_t>(SizeOf(array.type));
  for (const int64_t d : array.shape)
    if (__builtin_mul_overflow(need, static_cast<uint64_t>(d), &need))
      return Invalid(path, " claims a shape that no memory holds");
  const uint64_t have = bytes.size() - array.offset;
  if (need != have)
    return Invalid(path, " has ", have, " bytes of data where its shape needs ", need,
                   ": the file is truncated or damaged");
  return array;
}

}  // namespace zo2
