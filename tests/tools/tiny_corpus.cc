// The tiny schedules that tests go through.
#include "tests/tools/tiny_schedules.h"

namespace zo2::tiny {

std::vector<Named> Corpus() {
  std::vector<Named> corpus;
  const auto add = [&](std::string name, auto... set) {
    Options o;
    (set(o), ...);
    corpus.push_back({std::move(name), o});
  };
  const auto slots = [](int n) { return [n](Options& o) { o.slots = n; }; };
  const auto period = [](int k) { return [k](Options& o) { o.period = k; }; };
  const auto tied = [](Options& o) { o.tied = true; };
  const auto frozen = [](Options& o) { o.freeze_first = true; };
  const auto emitted = [](Options& o) { o.freeze_first = o.prepare_frozen = true; };
  const auto bias = [](Options& o) { o.bias = true; };
  const auto cut = [](Options& o) { o.cut = true; };
  const auto lm = [](Options& o) { o.lm_head = true; };
  const auto constant = [](Options& o) { o.constant = true; };
  const auto separate = [](Options& o) { o.separate_branches = true; };
  const auto quiet = [](Options& o) { o.host_losses = false; };
  const auto one = [](Options& o) { o.ring = 1; };
  const auto samples = [](Options& o) { o.samples = 2; };
  const auto micro = [](Options& o) { o.micro_batches = 2; };
  add("resident", slots(0));
  add("resident_tied", slots(0), tied);
  add("resident_frozen", slots(0), frozen, constant);
  add("slots1", slots(1));
  add("slots2", slots(2), quiet);
  add("slots3", slots(3), constant, bias);
  add("slots1_period2", slots(1), period(2), quiet);
  add("slots2_period2", slots(2), period(2));
  add("slots2_period3", slots(2), period(3), quiet);
  add("slots3_period3_tied", slots(3), period(3), tied, quiet);
  add("slots2_tied", slots(2), tied, quiet);
  add("slots1_tied_period2", slots(1), tied, period(2), one);
  add("slots2_frozen", slots(2), frozen);
  add("slots2_frozen_emitted", slots(2), emitted, constant);
  add("slots2_separate", slots(2), separate, one, quiet);
  add("slots2_cut_bias", slots(2), cut, bias, quiet);
  add("slots2_lm", slots(2), lm);
  add("slots2_lm_cut", slots(2), lm, cut, bias, quiet);
  add("resident_lm_cut", slots(0), lm, cut, separate);
  add("slots2_micro", slots(2), micro, quiet);
  add("slots2_samples", slots(2), samples);
  add("slots3_samples_micro_period2", slots(3), samples, micro, period(2), quiet);
  return corpus;
}

std::vector<Named> CodedCorpus() {
  std::vector<Named> corpus;
  const auto add = [&](std::string name, auto set) {
    Options o;
    o.host_losses = false;
    set(o);
    corpus.push_back({std::move(name), o});
  };
  const auto freeze = [](Options& o, Keep keep, WireFormat wire) {
    o.freeze_first = true, o.first = keep, o.wire = wire;
  };
  add("frozen_codes", [&](Options& o) { freeze(o, Keep::kFrozenCodes, WireFormat::kI8); });
  add("frozen_codes_int4_cut_bias", [&](Options& o) {
    freeze(o, Keep::kFrozenCodes, WireFormat::kI4);
    o.cut = o.bias = true, o.period = 2;
  });
  add("resident_codes", [&](Options& o) { freeze(o, Keep::kResidentCodes, WireFormat::kE4M3); });
  add("resident_codes_all_resident", [&](Options& o) {
    freeze(o, Keep::kResidentCodes, WireFormat::kI4);
    o.slots = 0, o.tied = true;
  });
  add("frozen_codes_host_update", [&](Options& o) {
    freeze(o, Keep::kFrozenCodes, WireFormat::kI8);
    o.second = Keep::kHostUpdate;
  });
  add("host_master", [](Options& o) { o.first = Keep::kHostMaster; });
  add("host_first_tied", [](Options& o) { o.first = Keep::kHostFirst, o.tied = true; });
  add("host_update", [](Options& o) { o.first = o.second = Keep::kHostUpdate, o.slots = 1; });
  add("host_update_late", [](Options& o) {
    o.first = Keep::kHostUpdate, o.wire = WireFormat::kI4, o.host_late = o.flush_on_device = true;
  });
  add("host_update_period2", [](Options& o) { o.second = Keep::kHostUpdate, o.period = 2; });
  add("host_update_micro_tied", [](Options& o) {
    o.first = Keep::kHostUpdate, o.micro_batches = 2, o.tied = true, o.wire = WireFormat::kE4M3;
  });
  add("host_update_lm_cut_bias", [](Options& o) {
    o.second = Keep::kHostUpdate, o.lm_head = o.cut = o.bias = true, o.wire = WireFormat::kBF16;
  });
  add("host_update_spread", [](Options& o) { o.first = o.second = Keep::kHostUpdate, o.spread = true; });
  add("host_update_split_gradient_period2", [](Options& o) {
    o.first = Keep::kHostUpdate, o.second = Keep::kHostMaster, o.spread = o.split_gradient = true;
    o.period = 2;
  });
  add("refresh_period1", [](Options& o) { o.first = Keep::kRefresh; });
  add("refresh_period2", [](Options& o) { o.first = o.second = Keep::kRefresh, o.period = 2; });
  add("refresh_period3_tied",
      [](Options& o) { o.first = Keep::kRefresh, o.period = 3, o.tied = true, o.wire = WireFormat::kI4; });
  add("refresh_period2_cut_bias",
      [](Options& o) { o.second = Keep::kRefresh, o.period = 2, o.cut = o.bias = true, o.slots = 3; });
  add("refresh_host_update_period2",
      [](Options& o) { o.first = Keep::kRefresh, o.second = Keep::kHostUpdate, o.period = 2, o.slots = 1; });
  add("refresh_period3_flush_on_host",
      [](Options& o) { o.second = Keep::kRefresh, o.period = 3, o.flush_on_host = true; });
  add("refresh_period3_host_between", [](Options& o) {
    o.first = o.second = Keep::kRefresh, o.period = 3, o.host_between = o.flush_on_host = true;
  });
  add("refresh_period2_embedding_late",
      [](Options& o) { o.first = Keep::kRefresh, o.period = 2, o.embedding = o.host_late = true; });
  return corpus;
}

std::vector<Named> WholeCorpus() {
  std::vector<Named> corpus = Corpus();
  for (Named& named : CodedCorpus()) corpus.push_back(std::move(named));
  const auto add = [&](std::string name, auto set) {
    Options o;
    set(o);
    corpus.push_back({std::move(name), o});
  };
  add("embedding", [](Options& o) { o.embedding = true; });
  add("embedding_cut_period2",
      [](Options& o) { o.embedding = o.cut = true, o.host_losses = false, o.period = 2; });
  add("resident_embedding_cut",
      [](Options& o) { o.embedding = o.cut = o.separate_branches = true, o.slots = 0; });
  add("embedding_tied_lm_cut",
      [](Options& o) { o.embedding = o.tied = o.lm_head = o.cut = true, o.slots = 3; });
  add("columns_cut_bias", [](Options& o) { o.columns = o.cut = o.bias = true; });
  add("resident_columns_cut", [](Options& o) { o.columns = o.cut = true, o.slots = 0, o.micro_batches = 2; });
  add("reshape", [](Options& o) { o.reshape = o.bias = true, o.host_losses = false; });
  add("reshape_frozen_period2",
      [](Options& o) { o.reshape = o.freeze_first = true, o.period = 2, o.slots = 1; });
  add("spread", [](Options& o) { o.spread = true, o.host_losses = false; });
  add("spread_period2", [](Options& o) { o.spread = true, o.slots = 3, o.period = 2; });
  add("spread_resident_tied", [](Options& o) { o.spread = o.tied = true, o.slots = 0, o.ring = 1; });
  add("split_gradient_period2",
      [](Options& o) { o.spread = o.split_gradient = true, o.period = 2, o.host_losses = false; });
  add("idle_period2", [](Options& o) { o.idle = true, o.period = 2, o.host_losses = false; });
  add("idle_spread_period2",
      [](Options& o) { o.idle = o.spread = true, o.period = 2, o.host_losses = false, o.slots = 3; });
  add("idle_spread_resident", [](Options& o) { o.idle = o.spread = true, o.slots = 0; });
  add("idle_split_gradient_period2",
      [](Options& o) { o.idle = o.spread = o.split_gradient = true, o.period = 2, o.host_losses = false; });
  return corpus;
}

}  // namespace zo2::tiny
