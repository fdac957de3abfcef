// Precision on the wire: in which format each weight crosses the link, and what its tiles take in each place then.
//
// Weights with two and more axes go in the format that the user asks for, where that is narrower than they are stored;
// all others as they are stored. A tile with such a weight is *coded* (schedule.h): a frozen one always, a trained one
// where it is streamed - on the device it is its exact master.
#ifndef ZO2_PLANNER_WIRE_H_
#define ZO2_PLANNER_WIRE_H_

#include <map>
#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/support/status.h"
#include "planner/emit.h"
#include "planner/options.h"
#include "planner/partition.h"

namespace zo2 {

// "bf16", "int4", ... of --wire.
Result<WireFormat> ParseWire(const std::string& flag, const std::string& text);
// "REGEX=FORMAT" of --wire-for.
Result<WireRule> ParseWireRule(const std::string& text);
// The file of `zo2-run profile --weights`: {"format": "zo2 weight errors", "version": 1, "weights": [{"name": ...,
// "shape": [64, 64], "errors": {"int4": 0.1, "bf16": 0.001}}]}, relative RMS errors. Format, version and shapes may be
// absent; other fields are passed over. kInvalid, beginning with `origin`.
Result<WireErrors> ParseWireErrors(const std::string& json, const std::string& origin);

struct WireChoice {
  std::vector<WireFormat> formats;  // per weight; as it is stored where nothing narrower is asked for
  std::vector<std::string> notes;   // what was chosen and why
};
// kInvalid: a rule that matches no weight with two axes, an error file that knows no weight of this model, or
// knows one in another shape.
Result<WireChoice> ChooseWires(const Graph& graph, const PlanOptions& options);

// The options of a plan whose coded trained tiles are kept up to date in this way: K is that of --refresh-every.
PlanOptions WithUpdate(const PlanOptions& options, WireUpdate update);
// Some trained tile would be coded where it is streamed.
bool AnyCodedTrained(const Partition& partition);
// Whether this tile, streamed, goes up as its master every K steps (refresh), or never (host update).
bool Refreshed(const PlanInput& input, TileId tile);
bool UpdatedOnHost(const PlanInput& input, TileId tile);
// The least steps between write-backs: 2 where masters are refreshed, as every step would leave no use for codes.
int LeastEvery(const PlanInput& input);

// Bytes of one tile: on the device for good; at most in a slot; of host memory when it is streamed. Not aligned.
uint64_t ResidentBytes(const PlanInput& input, TileId tile);
uint64_t SlotBytes(const PlanInput& input, TileId tile);
uint64_t MasterBytesOnHost(const PlanInput& input, TileId tile);
uint64_t CodeBytesOnHost(const PlanInput& input, TileId tile);

// Bytes of weights that go up in each format, per step.
std::map<std::string, double> WireTraffic(const Schedule& schedule, const Program& program);
// Causes for the report; empty when no tile is coded.
std::vector<std::string> ExplainWire(const PlanInput& input, const Decision& decision, const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_PLANNER_WIRE_H_
