#include "planner/wire.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "ir/graph/match.h"
#include "planner/arith.h"

namespace zo2 {
namespace {

constexpr const char* kFormats = "f32, bf16, f16, e4m3, int8 and int4";

// Narrower than what is stored.
bool Narrower(WireFormat w, DType storage) { return BitsOf(w) < 8 * static_cast<int>(SizeOf(storage)); }

// The narrowest format whose error is no larger than `most`; of those of one size the one with the smaller error.
std::optional<WireFormat> Narrowest(const std::map<WireFormat, double>& errors, DType storage, double most) {
  std::optional<WireFormat> best;
  double error = 0;
  for (const auto& [format, e] : errors) {
    if (e > most || !Narrower(format, storage)) continue;
    if (best && std::make_pair(BitsOf(format), e) >= std::make_pair(BitsOf(*best), error)) continue;
    best = format;
    error = e;
  }
  return best;
}

std::string Number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

std::string Count(size_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

std::string ShapeText(const Shape& shape) { return nlohmann::json(shape).dump(); }

Status ByError(const Graph& graph, const PlanOptions& o, WireChoice* out) {
  size_t known = 0, unknown = 0;
  std::map<WireFormat, std::pair<size_t, double>> chosen;  // weights, largest error
  for (size_t w = 0; w < graph.weights.size(); ++w) {
    const Weight& x = graph.weights[w];
    if (x.shape.size() < 2) continue;
    auto it = o.wire_errors.find(x.name);
    for (size_t a = 0; it == o.wire_errors.end() && a < x.aliases.size(); ++a) it = o.wire_errors.find(x.aliases[a]);
    if (it == o.wire_errors.end()) {
      ++unknown;
      continue;
    }
    const auto& [shape, errors] = it->second;
    if (shape && *shape != x.shape)
      return Invalid("--weight-errors are of another model: weight ", x.name, " has shape ", ShapeText(*shape),
                     " there and ", ShapeText(x.shape), " in ", graph.name);
    ++known;
    // Scales may take more than a few codes save.
    std::map<WireFormat, double> smaller;
    for (const auto& [format, error] : errors)
      if (WireBytes(format, x.rows(), x.cols()) < static_cast<uint64_t>(x.elements() * SizeOf(x.dtype)))
        smaller.emplace(format, error);
    const auto format = Narrowest(smaller, x.dtype, *o.max_wire_error);
    if (!format) continue;
    out->formats[w] = *format;
    auto& [count, error] = chosen[*format];
    ++count;
    error = std::max(error, errors.at(*format));
  }
  if (known == 0)
    return Invalid("--weight-errors knows no weight of ", graph.name, "; it is made by zo2-run profile --weights");
  const std::string limit = "wire: of at most " + Number(*o.max_wire_error) + " relative error";
  size_t narrow = 0;
  for (const auto& [format, of] : chosen) {
    narrow += of.first;
    out->notes.push_back(limit + ", " + Count(of.first, "weight goes", "weights go") + " as " +
                         std::string(Name(format)) + " (largest error " + Number(of.second) + ")");
  }
  if (known > narrow)
    out->notes.push_back(limit + ", " + Count(known - narrow, "weight allows", "weights allow") +
                         " no narrower format than they are stored in");
  if (unknown > 0)
    out->notes.push_back("wire: " + Count(unknown, "weight is", "weights are") +
                         " not in the file of --weight-errors and cross the link as they are stored");
  return {};
}

}  // namespace

Result<WireFormat> ParseWire(const std::string& flag, const std::string& text) {
  const auto format = ParseWireFormat(text);
  if (!format) return Invalid(flag, " '", text, "' is none of ", kFormats);
  return *format;
}

Result<WireRule> ParseWireRule(const std::string& text) {
  const size_t equal = text.rfind('=');
  if (equal == std::string::npos || equal == 0)
    return Invalid("--wire-for '", text, "' is not REGEX=FORMAT, like 'fc1|fc2=int8'");
  WireRule rule{text.substr(0, equal), WireFormat::kF32};
  ZO2_ASSIGN(rule.format, ParseWire("--wire-for", text.substr(equal + 1)));
  return rule;
}

Result<WireErrors> ParseWireErrors(const std::string& text, const std::string& origin) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) return Invalid(origin, " is not valid JSON (damaged or cut off?)");
  const std::pair<const char*, nlohmann::json> head[] = {{"format", "zo2 weight errors"}, {"version", 1}};
  for (const auto& [key, expected] : head)
    if (json.is_object() && json.contains(key) && json[key] != expected)
      return Invalid(origin, " is no file of zo2-run profile --weights that is known here: its ", key, " is ",
                     json[key].dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 40), " and not ",
                     expected.dump());
  if (!json.is_object() || !json.contains("weights") || !json["weights"].is_array())
    return Invalid(origin, " is no file of zo2-run profile --weights: it has no list \"weights\"");
  WireErrors errors;
  for (const auto& row : json["weights"]) {
    if (!row.is_object() || !row.contains("name") || !row["name"].is_string() || !row.contains("errors") ||
        !row["errors"].is_object())
      return Invalid(origin, ": a weight without \"name\" and \"errors\"");
    auto& [shape, of] = errors[row["name"].get<std::string>()];
    if (row.contains("shape")) {
      const auto whole = [](const auto& n) { return n.is_number_integer(); };
      if (!row["shape"].is_array() || !std::all_of(row["shape"].begin(), row["shape"].end(), whole))
        return Invalid(origin, ": weight ", row["name"].get<std::string>(), " has a bad \"shape\"");
      shape = row["shape"].get<Shape>();
    }
    for (const auto& [name, error] : row["errors"].items()) {
      const auto format = ParseWireFormat(name);
      const double e = error.is_number() ? error.get<double>() : NAN;
      if (!format || !(e >= 0))
        return Invalid(origin, ": weight ", row["name"].get<std::string>(), " has a bad error \"", name,
                       "\"; it maps formats (", kFormats, ") to numbers from 0 on");
      of[*format] = e;
    }
  }
  return errors;
}

Result<WireChoice> ChooseWires(const Graph& graph, const PlanOptions& o) {
  WireChoice out;
  for (const Weight& w : graph.weights) out.formats.push_back(PlainWire(w.dtype));
  auto set = [&](size_t w, WireFormat format) {
    out.formats[w] = Narrower(format, graph.weights[w].dtype) ? format : PlainWire(graph.weights[w].dtype);
  };
  if (o.max_wire_error) {
    ZO2_TRY(ByError(graph, o, &out));
  } else if (o.wire != WireFormat::kF32) {
    for (size_t w = 0; w < graph.weights.size(); ++w)
      if (graph.weights[w].shape.size() >= 2) set(w, o.wire);
  }
  for (const WireRule& rule : o.wire_for) {
    ZO2_ASSIGN(const std::vector<bool> matches, MatchWeights(graph, "--wire-for", rule.regex));
    bool any = false;
    for (size_t w = 0; w < matches.size(); ++w) {
      if (!matches[w] || graph.weights[w].shape.size() < 2) continue;
      any = true;
      set(w, rule.format);
    }
    if (!any)
      return Invalid("--wire-for '", rule.regex, "' matches only weights with one axis, which cross the link as stored");
  }
  std::map<std::pair<DType, WireFormat>, size_t> narrow;
  for (size_t w = 0; w < out.formats.size(); ++w)
    if (out.formats[w] != PlainWire(graph.weights[w].dtype)) ++narrow[{graph.weights[w].dtype, out.formats[w]}];
  for (const auto& [types, count] : narrow)
    out.notes.push_back("wire: " + Count(count, "weight", "weights") + " stored in " + std::string(Name(types.first)) +
                        (count == 1 ? " crosses the link as " : " cross the link as ") +
                        std::string(Name(types.second)));
  if (narrow.empty() && (o.wire != WireFormat::kF32 || o.max_wire_error || !o.wire_for.empty()))
    out.notes.push_back("wire: no weight can go narrower than it is stored; all cross the link as stored");
  return out;
}

PlanOptions WithUpdate(const PlanOptions& options, WireUpdate update) {
  PlanOptions out = options;
  out.wire_update = update;
  if (update == WireUpdate::kRefresh && options.refresh_every > 0) out.writeback_every = options.refresh_every;
  return out;
}

bool AnyCodedTrained(const Partition& p) {
  for (size_t t = 0; t < p.tiles.size(); ++t)
    if (p.coded[t] && p.tiles[t].trainable) return true;
  return false;
}

bool Refreshed(const PlanInput& in, TileId t) {
  return in.partition->coded[Ix(t)] && in.partition->tiles[Ix(t)].trainable &&
         in.options->wire_update == WireUpdate::kRefresh;
}

bool UpdatedOnHost(const PlanInput& in, TileId t) {
  return in.partition->coded[Ix(t)] && in.partition->tiles[Ix(t)].trainable &&
         in.options->wire_update != WireUpdate::kRefresh;
}

int LeastEvery(const PlanInput& in) {
  return in.options->wire_update == WireUpdate::kRefresh && AnyCodedTrained(*in.partition) ? 2 : 1;
}

uint64_t ResidentBytes(const PlanInput& in, TileId t) {
  const Tile& tile = in.partition->tiles[Ix(t)];
  return in.partition->coded[Ix(t)] && !tile.trainable ? tile.wire_bytes : tile.bytes;
}

uint64_t SlotBytes(const PlanInput& in, TileId t) {
  const Tile& tile = in.partition->tiles[Ix(t)];
  return Refreshed(in, t) ? std::max(tile.bytes, tile.wire_bytes) : tile.wire_bytes;
}

uint64_t MasterBytesOnHost(const PlanInput& in, TileId t) {
  const Tile& tile = in.partition->tiles[Ix(t)];
  return in.partition->coded[Ix(t)] && !tile.trainable ? 0 : tile.bytes;
}

uint64_t CodeBytesOnHost(const PlanInput& in, TileId t) {
  return in.partition->coded[Ix(t)] ? in.partition->tiles[Ix(t)].wire_bytes : 0;
}

std::map<std::string, double> WireTraffic(const Schedule& s, const Program& p) {
  std::map<std::string, double> bytes;
  for (const Lane& lane : p.lanes) {
    if (lane.kind != LaneKind::kH2D) continue;
    for (const Instruction& i : lane.instructions) {
      if (i.kind != InstrKind::kCopy || i.tile < 0) continue;
      int runs = 0;
      for (int r = 0; r < p.period; ++r) runs += RunsAt(p, i, r);
      for (const Segment& g : s.tiles[Ix(i.tile)].segments) {
        const Component& c = s.weights[Ix(g.weight)].components[Ix(g.component)];
        const WireFormat format = i.coded ? c.wire : PlainWire(c.storage);
        bytes[std::string(Name(format))] +=
            static_cast<double>(WireBytes(format, g.row_end - g.row_begin, g.col_end - g.col_begin)) * runs / p.period;
      }
    }
  }
  return bytes;
}

std::vector<std::string> ExplainWire(const PlanInput& in, const Decision& d, const Schedule& s) {
  const Partition& p = *in.partition;
  size_t frozen = 0, trained = 0, exact = 0;
  for (size_t t = 0; t < p.tiles.size(); ++t) {
    if (!p.coded[t]) continue;
    ++(!p.tiles[t].trainable ? frozen : d.resident[t] ? exact : trained);
  }
  if (frozen + trained + exact == 0) return {};
  std::vector<std::string> out;
  std::string up;
  const Program* train = s.Find(Purpose::kTrain);
  if (const Program* main = train != nullptr ? train : s.Find(Purpose::kEvaluate)) {
    for (const auto& [format, bytes] : WireTraffic(s, *main))
      up += (up.empty() ? "" : ", ") + FormatSize(bytes) + " as " + format;
  }
  out.push_back("wire: per step " + (up.empty() ? "nothing goes" : up + " go") + " up; of the tiles in wire form " +
                std::to_string(frozen) + " are frozen, " + std::to_string(trained) + " trained and streamed, " +
                std::to_string(exact) + " trained and exact on the device");
  if (trained == 0) return out;
  if (in.options->wire_update == WireUpdate::kRefresh) {
    const std::string k = std::to_string(d.writeback_every);
    out.push_back("wire update: refresh: each exact master goes up, is updated and comes down every " + k +
                  " steps; codes have up to " + k + " updates pending");
  } else {
    out.push_back("wire update: host: the host applies each step's update to the exact masters and encodes them anew; "
                  "codes have one update pending");
  }
  return out;
}

}  // namespace zo2
