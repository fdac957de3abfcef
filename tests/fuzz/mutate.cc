#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <cstring>

namespace zo2::fuzz {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Where the numbers of a text begin and end.
std::vector<std::pair<size_t, size_t>> FindNumbers(const std::string& text) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsDigit(text[i])) continue;
    const size_t begin = i > 0 && text[i - 1] == '-' ? i - 1 : i;
    while (i < text.size() && IsDigit(text[i])) ++i;
    found.emplace_back(begin, i);
  }
  return found;
}

// Where its quoted strings do, quotes included.
std::vector<std::pair<size_t, size_t>> FindStrings(const std::string& text) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '"' && text[i] != '\'') continue;
    const size_t end = text.find(text[i], i + 1);
    if (end == std::string::npos) break;
    found.emplace_back(i, end + 1);
    i = end;
  }
  return found;
}

std::string NumberText(Random& random) {
  switch (random.Below(5)) {
    case 0:
      return "-" + std::to_string(InterestingNumber(random));
    case 1:
      return "1e" + std::to_string(random.Below(400));
    case 2:
      return std::to_string(random.Below(100)) + "." + std::to_string(random.Below(100));
    default:
      return std::to_string(InterestingNumber(random));
  }
}

}  // namespace

uint64_t InterestingNumber(Random& random) {
  const uint64_t power = uint64_t{1} << random.Below(64);
  switch (random.Below(6)) {
    case 0:
      return random.Below(4);
    case 1:
      return random.Below(64);
    case 2:
      return power;
    case 3:
      return power - 1;
    case 4:
      return ~power + 2;  // 1 - power
    default:
      return random.OneIn(4) ? random.Next() : ~power + 1;
  }
}

void MutateBytes(std::string* bytes, Random& random) {
  const size_t size = bytes->size(), at = random.Below(size);
  const size_t some = std::min(size - std::min(size, at), 1 + random.Below(random.OneIn(4) ? 256 : 8));
  switch (size == 0 ? 0 : random.Below(9)) {
    case 0: {
      std::string inserted(1 + random.Below(8), static_cast<char>(random.Next()));
      bytes->insert(at, inserted);
      break;
    }
    case 1:
      (*bytes)[at] = static_cast<char>((*bytes)[at] ^ 1 << random.Below(8));
      break;
    case 2:
      (*bytes)[at] = static_cast<char>(random.Next());
      break;
    case 3:
      bytes->erase(at, some);
      break;
    case 4:
      bytes->insert(random.Below(size), bytes->substr(at, some));
      break;
    case 5:
      bytes->replace(random.Below(size), some, bytes->substr(at, some));
      break;
    case 6:
      bytes->resize(at);
      break;
    case 7: {
      const uint64_t number = InterestingNumber(random);
      const size_t width = size_t{1} << random.Below(4);
      std::memcpy(bytes->data() + at, &number, std::min(width, size - at));
      break;
    }
    default:
      (*bytes)[at] = static_cast<char>((*bytes)[at] + (random.OneIn(2) ? 1 : -1));
      break;
  }
  if (bytes->size() > kMostBytes) bytes->resize(kMostBytes);
}

void MutateText(std::string* text, Random& random) {
  const auto numbers = FindNumbers(*text), strings = FindStrings(*text);
  switch (random.Below(6)) {
    case 0:
    case 1:
      if (!numbers.empty()) {
        const auto [begin, end] = numbers[random.Below(numbers.size())];
        text->replace(begin, end - begin, NumberText(random));
        return;
      }
      break;
    case 2:
      if (!strings.empty()) {
        const auto [begin, end] = strings[random.Below(strings.size())];
        const auto [from, to] = strings[random.Below(strings.size())];
        text->replace(begin, end - begin, text->substr(from, to - from));
        return;
      }
      break;
    case 3: {  // what stands between two brackets or commas, again somewhere else or not at all
      const size_t begin = text->find_first_of("[{,(", random.Below(text->size())),
                   end = begin == std::string::npos ? begin : text->find_first_of("]},)", begin + 1);
      if (end == std::string::npos) break;
      const std::string piece = text->substr(begin, end - begin + random.Below(2));
      if (random.OneIn(2)) {
        text->erase(begin, piece.size());
      } else {
        text->insert(random.OneIn(2) ? end : text->find_first_of("[{,(", random.Below(begin + 1)), piece);
      }
      return;
    }
    case 4: {
      constexpr const char* kWords[] = {"null", "true", "[]", "{}",  "[[",      "}}",
                                        "\"\"", ",",    ":",  "NaN", "\\u0000", "\n"};
      text->insert(random.Below(text->size() + 1), kWords[random.Below(std::size(kWords))]);
      return;
    }
    case 5:
      if (random.OneIn(8)) {  // deep nesting
        const size_t at = random.Below(text->size() + 1);
        text->insert(at, std::string(size_t{1} << random.Below(14), random.OneIn(2) ? '[' : '{'));
        return;
      }
      break;
  }
  MutateBytes(text, random);
}

std::string Mutant(const Reader& reader, const std::string& input, const std::string& other, Random& random) {
  std::string mutant = input;
  for (size_t left = 1 + random.Below(4); left > 0; --left) {
    if (random.OneIn(16) && !other.empty() && !mutant.empty()) {  // the front of one, the back of another
      mutant = mutant.substr(0, random.Below(mutant.size())) + other.substr(random.Below(other.size()));
    } else if (random.OneIn(2)) {
      reader.mutate(&mutant, random);
    } else {
      MutateBytes(&mutant, random);
    }
  }
  if (reader.repair != nullptr && random.OneIn(2)) reader.repair(&mutant);
  return mutant;
}

}  // namespace zo2::fuzz
