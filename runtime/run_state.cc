#include "runtime/run_state.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

#include "runtime/codes.h"

namespace zo2 {
namespace {

double Clock() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

int HostThreads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 256u)); }

std::string InWords(double seconds) {
  char text[40];
  if (seconds < 1) return "less than a second";
  if (seconds < 100) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else if (seconds < 5400) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else {
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600);
  }
  return text;
}

Result<std::unique_ptr<BaseWeights>> OpenBase(const Schedule& schedule, const std::string& weights, bool digest) {
  auto base = std::make_unique<BaseWeights>();
  ZO2_ASSIGN(base->source, WeightSource::Open(schedule, weights));
  if (!digest) return base;
  const double begin = Clock();
  ZO2_ASSIGN(base->sha256, base->source.Digest(HostThreads()));
  base->seconds = Clock() - begin;
  return base;
}

Status CheckHeader(const Journal& journal, const JournalHeader& now, HeaderUse use) {
  const std::vector<std::string> differences = HeaderDifferences(journal.header, now, use);
  if (differences.empty()) return Status();
  constexpr size_t kMost = 4;
  std::string text;
  for (size_t i = 0; i < std::min(kMost, differences.size()); ++i) text += (i == 0 ? "" : "; ") + differences[i];
  if (differences.size() > kMost) text += "; and " + std::to_string(differences.size() - kMost) + " more";
  if (use == HeaderUse::kWeights)
    return Invalid("the journal ", journal.path, " is not of this plan and these weights: ", text);
  return Invalid("the run of the journal ", journal.path, " cannot go on like this: ", text,
                 " (give what the journal has, or start another journal)");
}

Result<std::unique_ptr<RunState>> RunState::Open(const Schedule& schedule, const BaseWeights& base,
                                                 const Journal& journal, const Options& options) {
  if (options.at < -1) return Invalid("--at is ", options.at, ": give a step, or -1 for the journal's end");
  auto state = std::make_unique<RunState>();
  state->schedule_ = &schedule;
  state->step_ = options.at < 0 ? journal.steps.steps() : options.at;
  if (state->step_ > journal.steps.steps())
    return Invalid("the journal ", journal.path, " ends at step ", journal.steps.steps(), ": there is no step ",
                   state->step_);
  if (!journal.note.empty()) state->notes_.push_back(journal.note);
  state->log_ = &journal.steps;
  // Codes depend on what is coded when, and on records of the plan's q: with other numerics there are none to go on with.
  const bool codes = options.codes && journal.header.fingerprint == schedule.fingerprint;
  if (options.use_snapshots)
    state->snapshot_ = NewestSnapshot(journal, schedule, state->step_, options.threads, codes, &state->notes_);
  state->codes_versions_ = codes ? CodesVersions(schedule, state->step_)
                                 : std::vector<int64_t>(schedule.tiles.size(), state->step_);
  const RunState* self = state.get();
  const WeightReader from_base = base.source.reader();
  const WeightReader start = [self, from_base](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1,
                                               std::byte* out) {
    const bool kept = self->snapshot_ && self->schedule_->weights[static_cast<size_t>(w)].components[0].trainable;
    return kept ? self->snapshot_->Read(w, r0, r1, c0, c1, out) : from_base(w, r0, r1, c0, c1, out);
  };
  state->replay_ =
      std::make_unique<Replay>(schedule, start, journal.steps, state->snapshot_ ? state->snapshot_->step() : 0,
                               state->step_, journal.header.parameters, options.threads);
  return state;
}

std::string RunState::Origin() const {
  const int64_t from = snapshot_ ? snapshot_->step() : 0;
  return (snapshot_ ? "the snapshot at step " + std::to_string(from) : std::string("the base weights")) +
         (step_ > from ? ", " + std::to_string(step_ - from) + " steps replayed" : "");
}

std::span<const std::byte> RunState::KeptCodes(TileId tile) const {
  // Between codes_versions() and the snapshot nothing wrote codes, nor since.
  const bool older = snapshot_ && codes_versions_[static_cast<size_t>(tile)] < snapshot_->step();
  return older ? snapshot_->Codes(tile) : std::span<const std::byte>();
}

WeightReader RunState::reader() { return replay_->reader(); }

Result<std::unique_ptr<RunState>> OpenState(const Schedule& schedule, const BaseWeights& base, const Journal& journal,
                                            const RunState::Options& options) {
  ZO2_TRY(CheckHeader(journal, MakeJournalHeader(schedule, journal.header.parameters, base.sha256, {}, ""),
                      HeaderUse::kWeights));
  return RunState::Open(schedule, base, journal, options);
}

}  // namespace zo2
