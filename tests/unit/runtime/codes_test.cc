#include "runtime/codes.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/tools/scalar_wire.h"
#include "tests/unit/runtime/serial_trainer.h"
#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

using tiny::Keep;

constexpr WireFormat kFormats[] = {WireFormat::kF32,  WireFormat::kBF16, WireFormat::kF16,
                                   WireFormat::kE4M3, WireFormat::kI8,   WireFormat::kI4};

// A tile of two matrices, one of them cut, and a bias; three steps, the middle one skipped.
struct Case {
  Case(DType storage, WireFormat wire, Rounding rounding) {
    schedule.rounding = rounding;
    const Shape shapes[] = {{70, 301}, {300, 261}, {37}};
    for (size_t w = 0; w < 3; ++w) {
      PlanWeight weight;
      weight.name = "w" + std::to_string(w);
      weight.shape = shapes[w];
      weight.decay = w == 0;
      weight.components = {{weight.name, static_cast<uint32_t>(40 + w), storage,
                            w == 2 ? WireFormat::kBF16 : wire, DType::kF32, weight.shape, true}};
      schedule.weights.push_back(weight);
    }
    const auto add = [&](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1) {
      const Component& c = schedule.weights[static_cast<size_t>(w)].components[0];
      tile.segments.push_back({w, 0, r0, r1, c0, c1, tile.bytes, tile.wire_bytes, 0});
      const auto aligned = [](uint64_t bytes) { return (bytes + 63) / 64 * 64; };
      tile.bytes += aligned(static_cast<uint64_t>((r1 - r0) * (c1 - c0) * SizeOf(storage)));
      tile.wire_bytes += aligned(WireBytes(c.wire, r1 - r0, c1 - c0));
    };
    add(0, 0, 70, 0, 301);
    add(1, 30, 271, 7, 202);
    add(2, 0, 1, 0, 37);
    master.resize(tile.bytes);
    for (const Segment& s : tile.segments)
      for (int64_t n = 0; n < s.elements(); ++n) {
        const float value = 0.01f * MasterValue(static_cast<size_t>(s.weight), n * n % 1009);
        std::byte* at = master.data() + s.offset + n * SizeOf(storage);
        if (storage == DType::kF32) {
          std::memcpy(at, &value, 4);
        } else {
          const uint16_t half = storage == DType::kBF16 ? 0x3C00 + n % 77 : 0x2800 + n % 77;
          std::memcpy(at, &half, 2);
        }
      }
    for (int64_t step = 0; step < 3; ++step) {
      alignas(8) std::byte bytes[StepRecordBytes(1)] = {};
      StepRecord& record = *reinterpret_cast<StepRecord*>(bytes);
      record.step = static_cast<uint64_t>(step);
      record.lr = 1e-2;
      record.q = 1;
      record.skipped = step == 1;
      record.g()[0] = 0.3 * static_cast<double>(step + 1);
      log.Append(record);
    }
  }
  PrepareJob Job(std::byte* master) const {
    PrepareJob job;
    job.schedule = &schedule;
    job.tile = &tile;
    job.source = job.master_out = master;
    job.version = 0;
    job.step = 3;
    job.records = {reinterpret_cast<const std::byte*>(&log.at(0)), StepRecordBytes(1), 3};
    job.parameters = &parameters;
    return job;
  }
  // The wire form of the master's values, value by value.
  std::vector<std::byte> Encoded(const std::vector<std::byte>& values) const {
    std::vector<std::byte> codes(tile.wire_bytes);
    for (const Segment& s : tile.segments) {
      const Component& c = schedule.weights[static_cast<size_t>(s.weight)].components[0];
      std::vector<float> floats;
      for (int64_t n = 0; n < s.elements(); ++n) {
        uint32_t bits = 0;
        std::memcpy(&bits, values.data() + s.offset + n * SizeOf(c.storage),
                    static_cast<size_t>(SizeOf(c.storage)));
        floats.push_back(scalar::Widen(c.storage == DType::kF32    ? scalar::Storage::kF32
                                       : c.storage == DType::kBF16 ? scalar::Storage::kBf16
                                                                   : scalar::Storage::kFp16,
                                       bits));
      }
      uint64_t bad;
      const std::vector<uint8_t> coded =
          scalar::Encoded(c.wire, s.row_end - s.row_begin, s.col_end - s.col_begin, floats, &bad);
      EXPECT_EQ(bad, 0u);
      std::memcpy(codes.data() + s.wire_offset, coded.data(), coded.size());
    }
    return codes;
  }

  Schedule schedule;
  Tile tile;
  std::vector<std::byte> master;
  StepLog log{1};
  RunParameters parameters{.seed = 5, .eps = 1e-3, .weight_decay = 0.1};
};

TEST(HostUpdate, HasTheBitsOfPrepareAndEncodesThem) {
  for (const DType storage : {DType::kF32, DType::kBF16, DType::kF16})
    for (const Rounding rounding : {Rounding::kStochastic, Rounding::kNearest})
      for (const WireFormat wire : kFormats) {
        const Case c(storage, wire, rounding);
        WorkerPool one(1);
        std::vector<std::byte> expected = c.master;
        ASSERT_TRUE(PrepareTile(c.Job(expected.data()), one).ok());
        ASSERT_NE(expected, c.master);
        const std::vector<std::byte> expected_codes = c.Encoded(expected);
        for (const int threads : {1, 3}) {
          WorkerPool pool(threads);
          std::vector<std::byte> master = c.master, plain = c.master, memory(c.tile.wire_bytes + 64);
          std::byte* codes = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
          ASSERT_TRUE(HostUpdate(c.Job(master.data()), codes, pool).ok());
          EXPECT_EQ(master, expected) << Name(storage) << " " << Name(wire);
          EXPECT_EQ(std::vector<std::byte>(codes, codes + c.tile.wire_bytes), expected_codes)
              << Name(storage) << " " << Name(wire);
          ASSERT_TRUE(HostUpdate(c.Job(plain.data()), nullptr, pool).ok());
          EXPECT_EQ(plain, expected);
        }
      }
}

TEST(HostUpdate, AValueThatIsNotFiniteIsNamed) {
  Case c(DType::kF32, WireFormat::kI8, Rounding::kNearest);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(c.master.data() + c.tile.segments[1].offset + 4 * 17, &bad, 4);
  WorkerPool pool(2);
  std::vector<std::byte> codes(c.tile.wire_bytes);
  const Status status = HostUpdate(c.Job(c.master.data()), codes.data(), pool);
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("by step 3 updates made 1 values of weight w1 not finite"), std::string::npos)
      << status.message();
}

// A frozen weight, or a run's first step: its file is to blame. A trained one later: its updates are.
TEST(HostUpdate, WhatMadeAValueNotFiniteIsSaid) {
  Case c(DType::kF32, WireFormat::kI8, Rounding::kNearest);
  c.schedule.weights[2].components[0].wire = WireFormat::kF32;
  const float bad = std::numeric_limits<float>::infinity();
  std::vector<std::byte> codes(c.tile.wire_bytes + 64);
  std::byte* aligned = codes.data() + (64 - reinterpret_cast<uintptr_t>(codes.data()) % 64) % 64;
  for (const size_t s : {1u, 2u})
    for (const int64_t step : {0, 7})
      for (const bool trained : {true, false}) {
        const Segment& segment = c.tile.segments[s];
        PlanWeight& weight = c.schedule.weights[static_cast<size_t>(segment.weight)];
        weight.trainable = trained;
        std::vector<std::byte> master = c.master;
        std::memcpy(master.data() + segment.offset, &bad, 4);
        const std::string said =
            EncodeRows(c.schedule, segment, segment.row_begin, segment.row_begin + 1,
                       master.data() + segment.offset,
                       {aligned + segment.wire_offset, segment.row_begin, segment.row_end - segment.row_begin},
                       step)
                .message();
        const bool diverged = step > 0 && trained;
        EXPECT_EQ(said.find("by step 7 updates made 1 values of weight " + weight.name) != said.npos, diverged)
            << said;
        EXPECT_EQ(said.find("--clip-g") != said.npos, diverged) << said;
        EXPECT_EQ(said.find("mend its file") != said.npos, !diverged) << said;
        EXPECT_EQ(said.find("plan without a wire format") != said.npos, !diverged && s == 1) << said;
        weight.trainable = true;
      }
}

TEST(CodesVersions, FollowFromTheScheduleAndTheStep) {
  const Schedule schedule =
      tiny::MakeSchedule({.period = 3, .first = Keep::kHostUpdate, .second = Keep::kRefresh});
  // Tile 0: every step. Tile 1: at residue (3 - 1 + 1) mod 3 = 0.
  const std::vector<std::vector<int64_t>> expected = {{0, 0}, {0, 0}, {1, 0}, {2, 0},
                                                      {3, 3}, {4, 3}, {5, 3}, {6, 6}};
  for (size_t step = 0; step < expected.size(); ++step)
    EXPECT_EQ(CodesVersions(schedule, static_cast<int64_t>(step)), expected[step]) << step;
  EXPECT_EQ(TrainedCodes(schedule), (std::vector<TileId>{0, 1}));
  EXPECT_EQ(TrainedCodes(tiny::MakeSchedule({.freeze_first = true, .first = Keep::kFrozenCodes})),
            std::vector<TileId>{});
}

// What the serial trainer knows of.
std::vector<tiny::Named> Trainable() {
  std::vector<tiny::Named> list;
  for (const tiny::Named& named : tiny::CodedCorpus()) {
    const tiny::Options& o = named.options;
    if (o.tied || o.cut || o.lm_head || o.embedding) continue;
    list.push_back(named);
  }
  return list;
}

TEST(Codes, ARunEqualsASerialTrainerToTheBit) {
  size_t runs = 0;
  for (tiny::Named named : Trainable())
    for (const WireFormat wire : kFormats)
      for (const int samples : {1, 2}) {
        tiny::Options o = named.options;
        o.wire = wire, o.samples = samples, o.host_losses = true;
        TinyRun run;
        run.steps = 9;
        run.eval_every = 2;
        const auto result = RunTiny(tiny::MakeSchedule(o), run);
        ASSERT_TRUE(result.ok()) << named.name << ": " << result.status().message();
        const TinyResult expected = SerialTrainer(run, o).Run();
        EXPECT_EQ(result->records, expected.records) << named.name << " " << Name(wire);
        EXPECT_EQ(result->eval, expected.eval) << named.name << " " << Name(wire);
        EXPECT_EQ(result->weights, expected.weights) << named.name << " " << Name(wire);
        ++runs;
      }
  EXPECT_GE(runs, 120u);
}

TEST(Codes, ChangeTheRunUnlessTheyAreExact) {
  TinyRun run;
  const auto plain = RunTiny(tiny::MakeSchedule({}), run);
  ASSERT_TRUE(plain.ok());
  for (const Keep keep : {Keep::kHostUpdate, Keep::kRefresh}) {
    tiny::Options o;
    o.first = keep, o.period = 2;
    o.wire = WireFormat::kF32;
    auto exact = RunTiny(tiny::MakeSchedule(o), run);
    ASSERT_TRUE(exact.ok()) << exact.status().message();
    EXPECT_EQ(*exact, *plain);  // of fp32 masters, every update rounds once either way
    o.wire = WireFormat::kI4;
    auto coded = RunTiny(tiny::MakeSchedule(o), run);
    ASSERT_TRUE(coded.ok());
    EXPECT_NE(coded->records, plain->records);
  }
}

TEST(Codes, InterleavingsAndPlacesChangeNoBits) {
  for (const tiny::Named& named : tiny::CodedCorpus()) {
    tiny::Options o = named.options;
    if (o.embedding) continue;  // no kernel here
    o.host_losses = true;
    const Schedule schedule = tiny::MakeSchedule(o);
    TinyRun run;
    run.eval_every = 3;
    const auto quiet = RunTiny(schedule, run);
    ASSERT_TRUE(quiet.ok()) << named.name << ": " << quiet.status().message();
    for (uint64_t seed = 0; seed < 12; ++seed) {
      run.options.chaos = {seed % 4 == 0 ? ChaosMode::kDelay : ChaosMode::kPriority, seed};
      const auto chaotic = RunTiny(schedule, run);
      ASSERT_TRUE(chaotic.ok()) << named.name << ": " << chaotic.status().message();
      ASSERT_EQ(*chaotic, *quiet) << named.name << " with chaos seed " << seed;
    }
    run.options = {};
    for (const int slots : {1, 2, 3})
      for (const bool late : {false, true})
        for (const bool on_device : {false, true}) {
          if (o.slots == 0) continue;
          tiny::Options other = o;
          other.slots = slots, other.host_late = late, other.flush_on_device = on_device;
          const auto moved = RunTiny(tiny::MakeSchedule(other), run);
          ASSERT_TRUE(moved.ok()) << named.name << ": " << moved.status().message();
          ASSERT_EQ(*moved, *quiet) << named.name << " slots " << slots << " late " << late;
        }
  }
}

TEST(Codes, FlushesAndEvaluationsAtAnyStepChangeNothing) {
  for (const tiny::Named& named : tiny::CodedCorpus()) {
    tiny::Options o = named.options;
    if (o.embedding) continue;
    o.host_losses = true;
    const Schedule schedule = tiny::MakeSchedule(o);
    TinyRun run;
    run.steps = 8;
    const auto plain = RunTiny(schedule, run);
    ASSERT_TRUE(plain.ok()) << named.name << ": " << plain.status().message();
    std::vector<double> evaluations[4];
    for (int64_t flush = 0; flush < 4; ++flush)
      for (int64_t eval = 0; eval < 4; ++eval) {
        run.flush_every = flush, run.eval_every = eval;
        const auto disturbed = RunTiny(schedule, run);
        ASSERT_TRUE(disturbed.ok());
        ASSERT_EQ(disturbed->records, plain->records)
            << named.name << " flushed every " << flush << ", evaluated every " << eval;
        ASSERT_EQ(disturbed->weights, plain->weights)
            << named.name << " flushed every " << flush << ", evaluated every " << eval;
        if (flush == 0) evaluations[eval] = disturbed->eval;
        ASSERT_EQ(disturbed->eval, evaluations[eval]) << named.name << " flushed every " << flush;
      }
  }
}

TEST(Codes, MeasuredPeakIsThePlannedOne) {
  for (const tiny::Named& named : tiny::CodedCorpus()) {
    tiny::Options o = named.options;
    if (o.embedding) continue;
    o.host_losses = true;
    TinyRun run;
    run.at_end = [&](Executor& executor) {
      ASSERT_TRUE(executor.Execute(Purpose::kEvaluate, 2).ok());
      EXPECT_EQ(executor.measured_peak(), executor.planned_peak()) << named.name;
    };
    ASSERT_TRUE(RunTiny(tiny::MakeSchedule(o), run).ok()) << named.name;
  }
}

// ---- journals and snapshots ----

// A run of 12 steps with snapshots after 5 and 10 and at the end, undisturbed; base weights in a file.
struct Rig {
  explicit Rig(const tiny::Options& o) : options(o), run(o) {
    EXPECT_TRUE(WriteWeights(run.schedule, AllWeights(run.schedule), TinyBase(run.schedule),
                             folder + "/base.safetensors", {})
                    .ok());
    base = *OpenBase(run.schedule, folder + "/base.safetensors", true);
    run.train.steps = 12;
    run.train.snapshot_every = 5;
    auto writer = JournalWriter::Create(path, run.Header(), 0);
    const auto summary = run.Run(base->source.reader(), 0, *writer, path);
    EXPECT_TRUE(summary.ok()) << summary.status().message();
    *writer = JournalWriter();
    journal = *Journal::Read(path);
    end = run.Weights();
    codes = run.Codes();
  }

  tiny::Options options;
  TinyTraining run;
  std::string folder = FreshFolder(), path = folder + "/run.zoj";
  std::unique_ptr<BaseWeights> base;
  Journal journal;
  std::vector<std::byte> end, codes;
};

const tiny::Options kResumed[] = {
    {.period = 1,
     .bias = true,
     .first = Keep::kHostUpdate,
     .second = Keep::kHostUpdate,
     .wire = WireFormat::kI4},
    {.period = 3, .bias = true, .first = Keep::kRefresh, .second = Keep::kHostUpdate},
    {.period = 3,
     .samples = 2,
     .cut = true,
     .first = Keep::kRefresh,
     .second = Keep::kRefresh,
     .wire = WireFormat::kE4M3},
    {.period = 7, .first = Keep::kRefresh, .second = Keep::kHostMaster, .wire = WireFormat::kI4},
    {.period = 2,
     .freeze_first = true,
     .first = Keep::kFrozenCodes,
     .second = Keep::kRefresh,
     .wire = WireFormat::kI4},
    {.period = 2, .freeze_first = true, .first = Keep::kResidentCodes, .second = Keep::kHostUpdate},
};

// Where the journal ends in front of the record of a step.
size_t CutAfter(const std::string& bytes, int64_t steps) {
  const auto number = [&](size_t at) {
    uint32_t value;
    std::memcpy(&value, bytes.data() + at, 4);
    return value;
  };
  size_t at = 12 + 4 + number(12) + 4;
  for (int64_t step = 0; at < bytes.size(); at += 4 + number(at) + 4)
    if (bytes[at + 4] == 1 && step++ == steps) break;
  return at;
}

TEST(Codes, ARunGoesOnWithTheSameBitsWhereverItWasCut) {
  for (const tiny::Options& options : kResumed) {
    const Rig rig(options);
    const std::string bytes = ReadBytes(rig.path);
    // From the snapshots that were there then, and from the base weights.
    for (const bool keep_snapshots : {true, false})
      for (int64_t steps = 0; steps <= 12; ++steps) {
        const std::string copy = rig.folder + "/copy.zoj";
        for (const int generation : {0, 1}) std::remove(SnapshotPath(copy, generation).c_str());
        if (keep_snapshots)
          for (const int generation : {0, 1})
            if (FileExists(SnapshotPath(rig.path, generation)))
              WriteBytes(SnapshotPath(copy, generation), ReadBytes(SnapshotPath(rig.path, generation)));
        WriteBytes(copy, bytes.substr(0, CutAfter(bytes, steps)));
        const Journal journal = *Journal::Read(copy);
        ASSERT_EQ(journal.steps.steps(), steps);
        TinyTraining again(options);
        const auto state = RunState::Open(again.schedule, *rig.base, journal, {.codes = true});
        ASSERT_TRUE(state.ok()) << state.status().message();
        if (keep_snapshots && steps >= 10) {
          ASSERT_TRUE((*state)->snapshot().has_value()) << steps;
        }
        again.train = rig.run.train;
        again.train.snapshot_every = 4;
        auto writer = JournalWriter::Append(journal, 0);
        ASSERT_TRUE(writer.ok());
        const auto summary = again.Run(**state, *writer, copy);
        ASSERT_TRUE(summary.ok()) << summary.status().message();
        *writer = JournalWriter();
        ASSERT_EQ(again.Weights(), rig.end) << steps;
        ASSERT_EQ(again.Codes(), rig.codes) << steps;
        const Journal whole = *Journal::Read(copy);
        ASSERT_EQ(whole.steps.steps(), 12);
        for (int64_t t = 0; t < 12; ++t)
          ASSERT_EQ(
              std::memcmp(&whole.steps.at(t), &rig.journal.steps.at(t), StepRecordBytes(options.samples)), 0)
              << "cut at " << steps << ", step " << t << (keep_snapshots ? ", snapshots" : "");
      }
  }
}

TEST(Codes, ASnapshotWithDamagedCodesDoesNotCount) {
  const Rig rig(kResumed[1]);
  const int newest = rig.journal.snapshots.back().generation;
  const std::string path = SnapshotPath(rig.path, newest), bytes = ReadBytes(path);
  const auto header = *ReadSafetensorsHeader(path);
  const auto opened = [&](bool codes) {
    std::vector<std::string> notes;
    const auto snapshot = NewestSnapshot(rig.journal, rig.run.schedule, 12, 1, codes, &notes);
    return snapshot ? snapshot->step() : -1;
  };
  EXPECT_EQ(opened(true), 12);
  EXPECT_EQ(header.metadata.at("codes_versions"), "11 11");
  for (const SafetensorsEntry& tensor : header.tensors) {
    if (tensor.name.rfind("zo2.codes.", 0) != 0) continue;
    for (uint64_t at = 0; at < tensor.bytes; ++at) {
      std::string damaged = bytes;
      damaged[tensor.offset + at] = static_cast<char>(damaged[tensor.offset + at] ^ 4);
      WriteBytes(path, damaged);
      ASSERT_EQ(opened(true), 10) << tensor.name << " at " << at;
      ASSERT_EQ(opened(false), 12);  // its weights are whole
    }
  }
  for (const std::string& what :
       {std::string("codes_versions"), std::string("codes_sha256"), std::string("zo2.codes.0.W0")}) {
    std::string damaged = bytes;
    damaged[damaged.find(what) + 4] = 'X';
    WriteBytes(path, damaged);
    EXPECT_EQ(opened(true), 10) << what;
  }
}

TEST(Codes, TilesOfOneNameEachHaveTheirsInASnapshot) {
  TinyTraining run(kResumed[0]);
  for (Tile& tile : run.schedule.tiles) tile.name = "small";
  EXPECT_EQ(TrainedCodes(run.schedule).size(), 2u);
  const std::string path = FreshFolder() + "/run.zoj";
  run.train.steps = 6;
  run.train.snapshot_every = 3;
  auto writer = JournalWriter::Create(path, run.Header(), 0);
  ASSERT_TRUE(writer.ok());
  const auto summary = run.Run(TinyBase(run.schedule), 0, *writer, path);
  ASSERT_TRUE(summary.ok()) << summary.status().message();
  *writer = JournalWriter();
  const Journal journal = *Journal::Read(path);
  std::vector<std::string> notes;
  const auto snapshot = NewestSnapshot(journal, run.schedule, 6, 1, true, &notes);
  ASSERT_TRUE(snapshot) << ::testing::PrintToString(notes);
  std::vector<std::byte> codes;
  for (const TileId t : TrainedCodes(run.schedule)) {
    codes.insert(codes.end(), snapshot->Codes(t).begin(), snapshot->Codes(t).end());
    codes.push_back(std::byte{5});  // current through
  }
  EXPECT_EQ(codes, run.Codes());
}

TEST(Codes, AnotherPlansRunGivesWeightsButNoCodes) {
  const Rig rig(kResumed[1]);
  TinyTraining other({.first = Keep::kHostUpdate, .second = Keep::kHostUpdate, .wire = WireFormat::kI4});
  other.schedule.fingerprint = "another";
  EXPECT_FALSE(CheckHeader(rig.journal, other.Header(), HeaderUse::kResume).ok());
  tiny::Options same_weights = {.bias = true, .first = Keep::kHostUpdate, .wire = WireFormat::kI4};
  TinyTraining plan(same_weights);
  plan.schedule.fingerprint = "another";
  for (const int64_t at : {4, 12}) {
    const auto state = RunState::Open(plan.schedule, *rig.base, rig.journal, {.at = at, .codes = true});
    ASSERT_TRUE(state.ok());
    for (const int64_t version : (*state)->codes_versions()) EXPECT_EQ(version, at);
    auto device = *OpenDevice("cpu");
    auto executor = *Executor::Prepare(plan.schedule, *device, {});
    ASSERT_TRUE(
        executor->Initialize(plan.kernels, {}, at, [&](Executor& e) { return LoadRun(**state, e); }).ok());
    EXPECT_EQ(Contents(plan.schedule, MasterReader(*executor)), Contents(plan.schedule, (*state)->reader()));
  }
}

}  // namespace
}  // namespace zo2
