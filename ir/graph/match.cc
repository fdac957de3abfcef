#include "ir/graph/match.h"

#include <algorithm>
#include <regex>

namespace zo2 {

Result<std::vector<bool>> MatchWeights(const Graph& graph, const std::string& flag, const std::string& regex) {
  std::vector<bool> matches;
  try {
    const std::regex pattern(regex, std::regex::ECMAScript);
    const auto match = [&](const std::string& name) { return std::regex_search(name, pattern); };
    for (const Weight& w : graph.weights)
      matches.push_back(match(w.name) || std::any_of(w.aliases.begin(), w.aliases.end(), match));
  } catch (const std::regex_error& error) {  // matching may find it too complex
    return Invalid(flag, " '", regex, "' is not a regular expression: ", error.what());
  }
  if (std::find(matches.begin(), matches.end(), true) == matches.end())
    return Invalid(flag, " '", regex, "' matches none of the ", graph.weights.size(), " weights",
                   graph.weights.empty() ? "" : ", for example not " + graph.weights[0].name);
  return matches;
}

}  // namespace zo2
