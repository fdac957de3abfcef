#include "runtime/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>
#include <system_error>

#include "ir/support/crc32.h"
#include "ir/support/file.h"

namespace zo2 {
namespace {

static_assert(std::endian::native == std::endian::little, "journals are little-endian");
constexpr std::string_view kMagic = "zo2jrnl\n";
constexpr uint32_t kVersion = 1, kHeadBytes = 16;
constexpr uint8_t kStep = 1, kSnapshot = 2, kEvaluation = 3, kRecordVersion = 1;
constexpr size_t kDigestBytes = 64, kMetricBytes = 8;

template <typename T>
void Put(const T& value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Reads values off the front of a text; after a failure everything is zero and bad() is true.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  template <typename T>
  T Get() {
    T value{};
    const std::string_view bytes = Bytes(sizeof value);
    if (!bad_) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string_view Bytes(size_t n) {
    if (bad_ || n > text_.size()) {
      bad_ = true;
      return {};
    }
    const std::string_view bytes = text_.substr(0, n);
    text_.remove_prefix(n);
    return bytes;
  }
  size_t left() const { return text_.size(); }
  bool bad() const { return bad_; }

 private:
  std::string_view text_;
  bool bad_ = false;
};

std::string Head(const JournalHeader& header) {
  std::string head(kMagic);
  Put(kVersion, &head);
  Put(static_cast<uint32_t>(header.json.size()), &head);
  head += header.json;
  Put(Crc32(head), &head);
  return head;
}

enum class Good { kYes, kNo, kUnknown };

Good ReadStep(Reader* body, Journal* journal) {
  const uint64_t step = body->Get<uint64_t>(), seed = body->Get<uint64_t>();
  const uint32_t q = body->Get<uint32_t>(), skipped = body->Get<uint32_t>();
  if (body->bad() || step != static_cast<uint64_t>(journal->steps.steps()) || seed != journal->header.parameters.seed ||
      q != static_cast<uint32_t>(journal->header.q) || skipped > 1)
    return Good::kNo;
  std::vector<uint64_t> words(StepRecordBytes(static_cast<int>(q)) / 8);
  StepRecord& record = *reinterpret_cast<StepRecord*>(words.data());
  record = {step, body->Get<double>(), q, skipped};
  const std::string_view values = body->Bytes(24 * static_cast<size_t>(q));
  if (body->Get<uint32_t>() != 0) return Good::kUnknown;  // the state of a method that came later
  if (body->bad() || body->left() > 0) return Good::kNo;
  std::memcpy(record.loss_plus(), values.data(), values.size());
  journal->steps.Append(record);
  return Good::kYes;
}

Good ReadSnapshot(Reader* body, Journal* journal) {
  SnapshotRecord record;
  record.step = static_cast<int64_t>(body->Get<uint64_t>());
  record.generation = static_cast<int>(body->Get<uint32_t>());
  record.digest = std::string(body->Bytes(kDigestBytes));
  if (body->bad() || body->left() > 0 || record.step != journal->steps.steps() || record.generation < 0 ||
      record.generation > 1)
    return Good::kNo;
  journal->snapshots.push_back(std::move(record));
  return Good::kYes;
}

Good ReadEvaluation(Reader* body, Journal* journal) {
  EvaluationRecord record;
  record.step = static_cast<int64_t>(body->Get<uint64_t>());
  record.value = body->Get<double>();
  const std::string_view name = body->Bytes(kMetricBytes);
  record.data = std::string(body->Bytes(kDigestBytes));
  if (body->bad() || body->left() > 0 || record.step != journal->steps.steps()) return Good::kNo;
  const Result<EvalMetric> metric = ParseEvalMetric(name.substr(0, name.find('\0')));
  if (!metric.ok()) return Good::kUnknown;  // one that came later
  record.metric = *metric;
  journal->evaluations.push_back(std::move(record));
  return Good::kYes;
}

// Reads the record at journal->good_bytes and steps past it.
Good ReadRecord(std::string_view text, Journal* journal) {
  Reader reader(text.substr(journal->good_bytes));
  const uint32_t bytes = reader.Get<uint32_t>();
  const std::string_view whole = text.substr(journal->good_bytes, 4 + static_cast<size_t>(bytes));
  Reader body(reader.Bytes(bytes));
  const uint32_t crc = reader.Get<uint32_t>();
  if (reader.bad() || crc != Crc32(whole, journal->chain)) return Good::kNo;
  const uint8_t kind = body.Get<uint8_t>(), version = body.Get<uint8_t>();
  body.Get<uint16_t>();
  if (body.bad()) return Good::kNo;
  if (version != kRecordVersion || kind < kStep || kind > kEvaluation) return Good::kUnknown;
  const Good good = kind == kStep       ? ReadStep(&body, journal)
                    : kind == kSnapshot ? ReadSnapshot(&body, journal)
                                        : ReadEvaluation(&body, journal);
  if (good == Good::kYes) {
    journal->chain = crc;
    journal->good_bytes += whole.size() + sizeof crc;
  }
  return good;
}

}  // namespace

void StepLog::Append(const StepRecord& record) {
  const size_t end = words_.size();
  words_.resize(end + words_per_step_);
  std::memcpy(words_.data() + end, &record, words_per_step_ * 8);
}

Result<Journal> Journal::Read(const std::string& path) {
  ZO2_ASSIGN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  Reader reader(text);
  if (reader.Bytes(kMagic.size()) != kMagic) return Invalid(path, " is no journal of zo2-run");
  const uint32_t version = reader.Get<uint32_t>(), bytes = reader.Get<uint32_t>();
  if (!reader.bad() && version != kVersion)
    return Invalid(path, " is a journal of format ", version, "; this build reads format ", kVersion);
  const std::string_view json = reader.Bytes(bytes);
  const uint32_t crc = reader.Get<uint32_t>();
  if (reader.bad() || crc != Crc32(text.substr(0, kHeadBytes + bytes)))
    return Invalid("the journal ", path, " is damaged in its first ", kHeadBytes + static_cast<uint64_t>(bytes) + 4,
                   " bytes, which say what run it is of: restore it from a copy");
  Journal journal;
  journal.path = path;
  Result<JournalHeader> header = ParseJournalHeader(std::string(json));
  if (!header.ok()) return Invalid("the journal ", path, " cannot be used: ", header.status().message());
  journal.header = std::move(*header);
  journal.id = journal.header.Id();
  journal.steps = StepLog(journal.header.q);
  journal.bytes = text.size();
  journal.good_bytes = kHeadBytes + static_cast<uint64_t>(bytes) + 4;
  journal.chain = crc;
  Good good = Good::kYes;
  while (good == Good::kYes && journal.good_bytes < journal.bytes) good = ReadRecord(text, &journal);
  if (good == Good::kUnknown)
    return Invalid("the journal ", path, " has a record at byte ", journal.good_bytes,
                   " that this build does not know: use the version of zo2-run that wrote it");
  if (good == Good::kNo)
    journal.note = "the journal " + path + " is good for " + std::to_string(journal.steps.steps()) +
                   " steps; the last " + std::to_string(journal.bytes - journal.good_bytes) +
                   " bytes are torn or damaged and do not count";
  return journal;
}

Result<EvaluationRecord> Journal::Best() const {
  if (evaluations.empty())
    return Invalid("the journal ", path, " has no evaluations, so no step is its best: train with --eval-data and ",
                   "--eval-every, or give a step");
  const EvaluationRecord& last = evaluations.back();
  BestEvaluation best(last.metric, last.data);
  for (const EvaluationRecord& record : evaluations) best.Add(record);
  if (!best.best())
    return Invalid("no evaluation of the journal ", path, " has a finite ", Name(last.metric), ": give a step");
  return *best.best();
}

Result<int64_t> Journal::StepAt(const std::string& at) const {
  if (at == "end") return steps.steps();
  if (at == "best") {
    ZO2_ASSIGN(const EvaluationRecord best, Best());
    return best.step;
  }
  int64_t step = 0;
  const auto [end, error] = std::from_chars(at.data(), at.data() + at.size(), step);
  if (error != std::errc() || end != at.data() + at.size() || step < 0)
    return Invalid("--at is '", at, "': give a step, best or end");
  if (step > steps.steps())
    return Invalid("the journal ", path, " ends at step ", steps.steps(), ": there is no step ", step);
  return step;
}

Result<int64_t> ParseFsync(const std::string& text) {
  if (text == "every") return int64_t{1};
  if (text == "never") return int64_t{0};
  int64_t steps = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || steps > int64_t{1} << 40) steps = -1;
    if (steps < 0) break;
    steps = 10 * steps + (c - '0');
  }
  if (steps < 1) return Invalid("--fsync is '", text, "': use every, never or a number of steps");
  return steps;
}

JournalWriter& JournalWriter::operator=(JournalWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(seed_, other.seed_);
  std::swap(fsync_every_, other.fsync_every_);
  std::swap(unsynced_, other.unsynced_);
  std::swap(bytes_, other.bytes_);
  std::swap(chain_, other.chain_);
  return *this;
}

JournalWriter::~JournalWriter() {
  if (fd_ < 0) return;
  (void)Sync().ok();
  ::close(fd_);
}

Result<JournalWriter> JournalWriter::Open(const std::string& path, const JournalHeader& header, int64_t fsync_every) {
  JournalWriter writer;
  writer.path_ = path;
  writer.seed_ = header.parameters.seed;
  writer.fsync_every_ = fsync_every;
  writer.fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (writer.fd_ < 0) return Invalid("cannot write the journal ", path, ": ", std::strerror(errno));
  if (::flock(writer.fd_, LOCK_EX | LOCK_NB) != 0) return Invalid("the journal ", path, " is in use by another run");
  return writer;
}

Result<JournalWriter> JournalWriter::Create(const std::string& path, const JournalHeader& header, int64_t fsync_every) {
  if (FileExists(path)) return Invalid("the journal ", path, " exists: give --resume to go on, or another name");
  if (header.json.size() > std::numeric_limits<uint32_t>::max() - 64)
    return Invalid("the journal ", path, " would need a header of ", header.json.size(), " bytes, which is too large");
  // Whole or not at all: a run that is killed here can be started again with the same command.
  const std::string head = Head(header);
  ZO2_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  ZO2_TRY(file.Append(head));
  ZO2_TRY(file.CommitNew());
  ZO2_ASSIGN(JournalWriter writer, Open(path, header, fsync_every));
  writer.bytes_ = head.size();
  std::memcpy(&writer.chain_, head.data() + head.size() - 4, 4);
  if (::lseek(writer.fd_, 0, SEEK_END) < 0)
    return Invalid("cannot write the journal ", path, ": ", std::strerror(errno));
  return writer;
}

Result<JournalWriter> JournalWriter::Append(const Journal& journal, int64_t fsync_every) {
  ZO2_ASSIGN(JournalWriter writer, Open(journal.path, journal.header, fsync_every));
  struct stat info;
  if (::fstat(writer.fd_, &info) != 0 || static_cast<uint64_t>(info.st_size) != journal.bytes)
    return Invalid("the journal ", journal.path, " has grown since it was read: another run writes it");
  if (journal.good_bytes < journal.bytes && (::ftruncate(writer.fd_, static_cast<off_t>(journal.good_bytes)) != 0 ||
                                             (fsync_every > 0 && ::fsync(writer.fd_) != 0)))
    return Invalid("cannot cut the damaged end off the journal ", journal.path, ": ", std::strerror(errno));
  if (::lseek(writer.fd_, 0, SEEK_END) < 0)
    return Invalid("cannot write the journal ", journal.path, ": ", std::strerror(errno));
  writer.bytes_ = journal.good_bytes;
  writer.chain_ = journal.chain;
  return writer;
}

Status JournalWriter::Write(const std::string& body) {
  if (fd_ < 0) return Internal("a record for a journal that is not open");
  std::string record;
  Put(static_cast<uint32_t>(body.size()), &record);
  record += body;
  const uint32_t crc = Crc32(record, chain_);
  Put(crc, &record);
  for (size_t done = 0; done < record.size();) {
    const ssize_t n = ::write(fd_, record.data() + done, record.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // Half a record is cut off; should that fail too, the next reader does it.
      if (::ftruncate(fd_, static_cast<off_t>(bytes_)) == 0) ::fsync(fd_);
      ::close(fd_);
      fd_ = -1;
      return Invalid("cannot write the journal ", path_, ": ", std::strerror(error),
                     "; it is good up to the step before");
    }
    done += static_cast<size_t>(n);
  }
  bytes_ += record.size();
  chain_ = crc;
  return Status();
}

Status JournalWriter::Step(const StepRecord& record) {
  std::string body;
  Put(kStep, &body);
  Put(kRecordVersion, &body);
  Put(uint16_t{0}, &body);
  Put(record.step, &body);
  Put(seed_, &body);
  Put(record.q, &body);
  Put(record.skipped, &body);
  Put(record.lr, &body);
  body.append(reinterpret_cast<const char*>(record.loss_plus()), 24 * static_cast<size_t>(record.q));
  Put(uint32_t{0}, &body);
  ZO2_TRY(Write(body));
  if (fsync_every_ > 0 && ++unsynced_ >= fsync_every_) return Sync();
  return Status();
}

Status JournalWriter::Snapshot(const SnapshotRecord& record) {
  std::string body;
  Put(kSnapshot, &body);
  Put(kRecordVersion, &body);
  Put(uint16_t{0}, &body);
  Put(static_cast<uint64_t>(record.step), &body);
  Put(static_cast<uint32_t>(record.generation), &body);
  if (record.digest.size() != kDigestBytes) return Internal("a snapshot record with the digest '", record.digest, "'");
  body += record.digest;
  ZO2_TRY(Write(body));
  return Sync();
}

Status JournalWriter::Evaluation(const EvaluationRecord& record) {
  if (record.data.size() != kDigestBytes) return Internal("an evaluation record with the digest '", record.data, "'");
  std::string body;
  Put(kEvaluation, &body);
  Put(kRecordVersion, &body);
  Put(uint16_t{0}, &body);
  Put(static_cast<uint64_t>(record.step), &body);
  Put(record.value, &body);
  std::string name(Name(record.metric));
  name.resize(kMetricBytes);
  body += name + record.data;
  return Write(body);
}

Status JournalWriter::Sync() {
  unsynced_ = 0;
  if (fd_ < 0 || fsync_every_ == 0) return Status();
  if (::fdatasync(fd_) != 0) return Invalid("cannot make the journal ", path_, " durable: ", std::strerror(errno));
  return Status();
}

}  // namespace zo2
