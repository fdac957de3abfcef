// What the HTML pages share: data go into a page as one JSON value, colors follow the reader's choice of
// light or dark.
#ifndef ZO2_PLANNER_PAGE_H_
#define ZO2_PLANNER_PAGE_H_

#include <string>

namespace zo2::internal {

inline constexpr char kPageStyle[] = R"css(:root { color-scheme: light dark;
  --page: #fff; --ink: #222; --soft: #666; --line: #ddd; --frame: #bbb; --panel: #f6f6f4; --grid: #e8e8e8;
  --button: #fafafa; --tip: #222; --tip-ink: #fff; --alarm: #b3261e; --veil: rgba(255,255,255,.66);
  --good: #1f6f9f; --other: #8a5a00 }
@media (prefers-color-scheme: dark) { :root {
  --page: #17191c; --ink: #e6e6e3; --soft: #a3a6aa; --line: #3a3d42; --frame: #565a60; --panel: #202327; --grid: #2e3136;
  --button: #26292e; --tip: #f1f1ee; --tip-ink: #17191c; --alarm: #ff8a80; --veil: rgba(23,25,28,.66);
  --good: #6cb8e6; --other: #e0b050 } }
body { font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; margin: 20px 28px; color: var(--ink); background: var(--page) }
h1 { font-size: 20px; margin: 0 }
.sub { color: var(--soft); margin: 0 0 12px }
#figures { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 14px }
#figures div { border: 1px solid var(--line); border-radius: 6px; padding: 5px 10px; min-width: 72px }
#figures b { display: block; font-size: 17px; font-weight: 600 }
#figures span { color: var(--soft); font-size: 12px }
#figures .binding { border-color: var(--alarm) }
.bar { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; margin: 8px 0; font-size: 12.5px }
button, input { font: inherit; color: inherit; border: 1px solid var(--frame); border-radius: 4px;
  background: var(--button); padding: 2px 8px }
pre { background: var(--panel); padding: 12px; overflow: auto; font-size: 12.5px }
.hint { color: var(--soft); font-size: 12.5px }
#tip { position: fixed; display: none; pointer-events: none; max-width: 520px; background: var(--tip);
  color: var(--tip-ink); border-radius: 5px; padding: 7px 10px; font-size: 12.5px; white-space: pre-line;
  overflow-wrap: anywhere; z-index: 9 })css";

// `page` with the style in place of @STYLE@ and the JSON in place of @DATA@. Nothing in a JSON string ends
// the script.
inline std::string FillPage(std::string page, std::string json) {
  for (size_t at = 0; (at = json.find('<', at)) != std::string::npos; at += 6) json.replace(at, 1, "\\u003c");
  const auto put = [&](const std::string& mark, const std::string& text) {
    const size_t at = page.find(mark);
    if (at != std::string::npos) page.replace(at, mark.size(), text);
  };
  put("@STYLE@", kPageStyle);
  put("@DATA@", json);
  return page;
}

}  // namespace zo2::internal

#endif  // ZO2_PLANNER_PAGE_H_
