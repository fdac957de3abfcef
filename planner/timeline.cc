#include "planner/timeline.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "planner/options.h"
#include "planner/report.h"
#include "planner/simulate.h"

namespace zo2 {
namespace {

constexpr int kIterations = 3;

const Program* Main(const Schedule& s) {
  const Program* p = s.Find(Purpose::kTrain);
  return p != nullptr ? p : s.Find(Purpose::kEvaluate);
}

// Iterations far enough in that the pipeline is full.
std::vector<Span> SteadySpans(const Program& p, double* begin, double* end) {
  const int64_t first = std::max<int64_t>(p.period, 4);
  std::vector<Span> spans = Simulate(p, first, first + kIterations).spans;
  *begin = spans.empty() ? 0 : spans[0].start;
  *end = *begin;
  for (const Span& s : spans) {
    *begin = std::min(*begin, s.start);
    *end = std::max(*end, s.finish);
  }
  return spans;
}

std::string Label(const Schedule& s, const Instruction& i) {
  std::string text(Name(i.kind));
  if (i.tile >= 0) text += " " + s.tiles[static_cast<size_t>(i.tile)].name;
  if (i.node >= 0) {
    const PlanNode& n = s.nodes[static_cast<size_t>(i.node)];
    text = std::string(Name(n.op)) + " " + n.name;
  }
  if (i.branches.size() == 1) text += i.branches[0] % 2 == 0 ? " +" : " -";
  return text;
}

std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

const char* Color(LaneKind lane, const Instruction& i) {
  if (i.kind == InstrKind::kPrepare) return "#c77d2e";
  if (i.kind == InstrKind::kGradient) return "#b3261e";
  if (lane == LaneKind::kH2D) return "#3b78b0";
  if (lane == LaneKind::kD2H) return "#7a5ba6";
  return "#4c9a6a";
}

}  // namespace

std::string PerfettoJson(const Schedule& s) {
  using Json = nlohmann::json;
  const Program* p = Main(s);
  Json events = Json::array();
  if (p != nullptr) {
    double begin, end;
    std::vector<Span> spans = SteadySpans(*p, &begin, &end);
    for (size_t l = 0; l < p->lanes.size(); ++l) {
      events.push_back({{"ph", "M"}, {"name", "thread_name"}, {"pid", 0}, {"tid", l}, {"args", {{"name", Name(p->lanes[l].kind)}}}});
    }
    for (const Span& span : spans) {
      const Instruction& i = p->lanes[static_cast<size_t>(span.lane)].instructions[static_cast<size_t>(span.index)];
      events.push_back({{"ph", "X"}, {"name", Label(s, i)}, {"cat", Name(i.kind)}, {"pid", 0}, {"tid", span.lane},
                        {"ts", (span.start - begin) * 1e6}, {"dur", (span.finish - span.start) * 1e6},
                        {"args", {{"iteration", span.iteration}, {"seq", i.seq}, {"pass", i.pass}}}});
    }
  }
  return Json({{"traceEvents", events}, {"displayTimeUnit", "ms"}}).dump();
}

std::string TimelineHtml(const Schedule& s) {
  std::ostringstream out;
  out << "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>" << Escape(s.model_name)
      << " plan</title><style>\nbody{font:14px/1.45 system-ui,sans-serif;margin:24px;color:#222;background:#fff}\n"
         "pre{background:#f5f5f2;padding:12px;overflow:auto}\n"
         "#view{border:1px solid #ccc;overflow:hidden;cursor:grab;user-select:none}\n"
         "rect:hover{stroke:#000;stroke-width:.5}text{font:12px system-ui,sans-serif}\n"
         ".key span{display:inline-block;width:12px;height:12px;margin:0 5px 0 16px}\n</style></head><body>\n<h1>"
      << Escape(s.model_name) << "</h1>\n";
  auto text = ReportText(s.report);
  if (text.ok()) out << "<pre>" << Escape(*text) << "</pre>\n";
  const Program* p = Main(s);
  if (p == nullptr) return out.str() + "</body></html>\n";
  double begin, end;
  std::vector<Span> spans = SteadySpans(*p, &begin, &end);
  const double width = 1400, total = std::max(end - begin, 1e-12), scale = width / total, least = width / 4000;
  const int row = 46, top = 24;
  out << "<p class=\"key\">Three steps as the planner predicts them. Wheel: zoom; drag: move; hover: what it is."
         "<span style=\"background:#3b78b0\"></span>upload<span style=\"background:#c77d2e\"></span>prepare"
         "<span style=\"background:#4c9a6a\"></span>compute<span style=\"background:#b3261e\"></span>gradient"
         "<span style=\"background:#7a5ba6\"></span>download</p>\n";
  const int height = top + row * static_cast<int>(p->lanes.size()) + 8;
  out << "<svg id=\"view\" viewBox=\"0 0 " << width << " " << height << "\" width=\"100%\" height=\"" << height * 1.4
      << "\" preserveAspectRatio=\"none\">\n";
  std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return a.lane != b.lane ? a.lane < b.lane : a.start < b.start;
  });
  char text_buffer[256];
  for (size_t x = 0; x < spans.size();) {
    const Span& first = spans[x];
    const Lane& lane = p->lanes[static_cast<size_t>(first.lane)];
    const Instruction& i = lane.instructions[static_cast<size_t>(first.index)];
    double finish = first.finish;
    size_t next = x + 1;
    // Short neighbours of one color and iteration become one rectangle.
    while (next < spans.size() && spans[next].lane == first.lane && spans[next].iteration == first.iteration &&
           (spans[next].start - finish) * scale < least && (spans[next].finish - first.start) * scale < 2 * least &&
           Color(lane.kind, lane.instructions[static_cast<size_t>(spans[next].index)]) == Color(lane.kind, i)) {
      finish = spans[next].finish;
      ++next;
    }
    std::string label = next == x + 1 ? Label(s, i) : std::to_string(next - x) + " instructions from " + Label(s, i);
    std::snprintf(text_buffer, sizeof text_buffer,
                  "<rect x=\"%.3f\" y=\"%d\" width=\"%.3f\" height=\"%d\" fill=\"%s\" fill-opacity=\"%s\"><title>",
                  (first.start - begin) * scale, top + row * first.lane, std::max((finish - first.start) * scale, least / 4),
                  row - 14, Color(lane.kind, i), first.iteration % 2 == 0 ? "1" : ".72");
    out << text_buffer << Escape(label) << "; step " << first.iteration << "; " << FormatSeconds(finish - first.start)
        << "</title></rect>\n";
    x = next;
  }
  out << "</svg>\n<p>";
  for (size_t l = 0; l < p->lanes.size(); ++l) out << (l > 0 ? ", " : "Lanes from top: ") << Name(p->lanes[l].kind);
  out << ". Shown: " << FormatSeconds(total) << ".</p>\n<script>\n"
         "const v=document.getElementById('view'),W="
      << width << ",H=" << height
      << ";let x=0,w=W,d=null;\n"
         "function set(){x=Math.max(0,Math.min(x,W-w));v.setAttribute('viewBox',x+' 0 '+w+' '+H)}\n"
         "v.addEventListener('wheel',e=>{e.preventDefault();const r=v.getBoundingClientRect(),f=(e.clientX-r.left)/r.width,"
         "n=Math.max(W/5000,Math.min(W,w*(e.deltaY>0?1.2:1/1.2)));x+=f*(w-n);w=n;set()},{passive:false});\n"
         "v.addEventListener('mousedown',e=>d=e.clientX);addEventListener('mouseup',()=>d=null);\n"
         "addEventListener('mousemove',e=>{if(d===null)return;x-=(e.clientX-d)*w/v.getBoundingClientRect().width;d=e.clientX;set()});\n"
         "</script></body></html>\n";
  return out.str();
}

}  // namespace zo2
