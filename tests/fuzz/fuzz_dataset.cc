#include <algorithm>

#include "runtime/dataset.h"
#include "tests/fuzz/readers.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2::fuzz {
namespace {

// Lines are parsed one at a time, numbers kept in 4 bytes, 48 bytes per list: data_file.h. The longest line as JSON is
// what is large: 16 bytes per number of two characters, in vectors that double, and map nodes.
constexpr Allowance kAllowance{64 << 10, 96};

// Token ids with a mask and positions; floats and classes; floats and token labels.
const Schedule& Model(size_t which) {
  static const std::vector<Schedule>& models = *[] {
    auto* all = new std::vector<Schedule>;
    tiny::Options options;
    options.embedding = options.lm_head = true;
    all->push_back(tiny::MakeSchedule(options));
    Schedule& ids = all->back();
    Program& train = ids.programs[0];
    const TensorType type = ids.values[static_cast<size_t>(train.inputs[0].value)].type;
    ids.values[static_cast<size_t>(train.inputs[0].value)].name = "input_ids";
    for (const char* name : {"attention_mask", "position_ids", "token_type_ids"}) {
      train.inputs.push_back({static_cast<int32_t>(ids.values.size()), -1, -1});
      ids.values.push_back({name, ValueKind::kInput, type});
    }
    all->push_back(tiny::MakeSchedule({}));
    options.embedding = false;
    all->push_back(tiny::MakeSchedule(options));
    return all;
  }();
  return models[which];
}

InputFile& FileOf(char kind) {
  static InputFile npy("data.npy"), u16("data.u16"), u32("data.u32"), jsonl("data.jsonl"), tensors("data.safetensors");
  switch (kind) {
    case 'n':
      return npy;
    case '1':
      return u16;
    case '2':
      return u32;
    case 'j':
      return jsonl;
    default:
      return tensors;
  }
}

}  // namespace

int FuzzDataset(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t digit = data[1] % 6u;  // '0' is 48
  const Schedule& schedule = Model(digit % 3);
  const Program& program = schedule.programs[0];
  InputFile& file = FileOf(static_cast<char>(data[0]));
  file.Set({reinterpret_cast<const char*>(data) + 2, size - 2});
  std::vector<std::string> staging;
  std::vector<std::byte*> inputs;
  for (const ProgramInput& input : program.inputs)
    staging.emplace_back(static_cast<size_t>(schedule.values[static_cast<size_t>(input.value)].type.bytes()), '\0');
  for (std::string& memory : staging) inputs.push_back(reinterpret_cast<std::byte*>(memory.data()));

  const MemoryLimit limit(kAllowance, size);
  Dataset::Options options;
  options.truncate = digit % 2 != 0;
  const Result<std::unique_ptr<Dataset>> dataset = Dataset::Open(file.path(), schedule, program, options);
  if (!dataset.ok()) {
    CheckError(dataset.status());
    return 0;
  }
  ++TotalCounts().accepted;
  const int64_t examples = (*dataset)->examples();
  Require(examples >= 1 && static_cast<size_t>(examples) <= size, "a number of examples that the file cannot hold");
  for (int64_t e = 0; e < examples; ++e) (*dataset)->Fill(e, 0, inputs);
  return 0;
}

void MutateDataset(std::string* input, Random& random) {
  if (input->size() < 2) return MutateBytes(input, random);
  if (random.OneIn(16)) {
    (*input)[0] = "n12js"[random.Below(5)];
    (*input)[1] = static_cast<char>('0' + random.Below(6));
    return;
  }
  const std::string kind = input->substr(0, 2);
  std::string file = input->substr(2);
  if (kind[0] == 's') {
    MutateSafetensors(&file, random);
  } else if (kind[0] == 'j') {  // a line of JSON
    const size_t at = random.Below(file.size()), before = file.rfind('\n', at),
                 begin = before == std::string::npos ? 0 : before + 1, end = std::min(file.find('\n', at), file.size());
    std::string line = file.substr(std::min(begin, end), end - std::min(begin, end));
    if (random.OneIn(8)) {
      line += "\n" + line;
    } else {
      MutateJson(&line, random);
    }
    file.replace(std::min(begin, end), end - std::min(begin, end), line);
  } else if (kind[0] == 'n' && random.OneIn(2)) {
    MutateText(&file, random);
  } else {
    MutateBytes(&file, random);
  }
  *input = kind + file;
}

// Lengths of headers: .npy's, and everything of .safetensors.
void RepairDataset(std::string* input) {
  if (input->size() < 2) return;
  const std::string kind = input->substr(0, 2);
  std::string file = input->substr(2);
  if (kind[0] == 's') RepairSafetensors(&file);
  if (kind[0] == 'n' && file.size() >= 10) {
    const size_t end = file.find('}', 10);
    if (end != std::string::npos) {
      file.replace(0, 8, std::string("\x93NUMPY\x01\x00", 8));
      file[8] = static_cast<char>((end - 9) & 255);
      file[9] = static_cast<char>((end - 9) >> 8);
      // The data as long as the first shape that is there says, where it says something sensible.
      const size_t open = file.find('(', 10);
      uint64_t need = file.find("u1", 10) < end ? 1 : file.find("2'", 10) < end ? 2 : file.find("8'", 10) < end ? 8 : 4;
      for (size_t i = open; i < end && file[i] != ')'; ++i) {
        uint64_t number = 0;
        bool digits = false;
        for (; i < end && file[i] >= '0' && file[i] <= '9'; ++i, digits = true)
          number = std::min<uint64_t>(number * 10 + static_cast<uint64_t>(file[i] - '0'), kMostBytes);
        if (digits) need = std::min<uint64_t>(need * number, kMostBytes);
        if (i < end && file[i] == ')') break;
      }
      if (open < end) file.resize(end + 1 + need);
    }
  }
  *input = kind + file;
}

}  // namespace zo2::fuzz
