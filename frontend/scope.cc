#include "frontend/scope.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace zo2 {
namespace {

// "['', 'model', 'model.fc']" -> {"", "model", "model.fc"}
std::vector<std::string> ParseList(const std::string& text) {
  std::vector<std::string> items;
  for (size_t at = 0; at < text.size(); ++at) {
    const char quote = text[at];
    if (quote != '\'' && quote != '"') continue;
    const size_t end = text.find(quote, at + 1);
    if (end == std::string::npos) break;
    items.push_back(text.substr(at + 1, end - at - 1));
    at = end;
  }
  return items;
}

bool AllDigits(const std::string& text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
}

}  // namespace

std::vector<std::string> SplitPath(const std::string& text) {
  std::vector<std::string> parts;
  std::string part;
  for (char c : text) {
    if (c != '.' && c != '/') {
      part += c;
    } else if (!part.empty()) {
      parts.push_back(std::exchange(part, ""));
    }
  }
  if (!part.empty()) parts.push_back(part);
  return parts;
}

std::string JoinDots(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ".") + part;
  return text;
}

std::string ModuleOf(const std::string& parameter) {
  const size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? "" : parameter.substr(0, dot);
}

bool IsPrefix(const std::vector<std::string>& prefix, const std::vector<std::string>& path) {
  return prefix.size() <= path.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

Scope ScopeOf(const onnx::NodeProto& node) {
  Scope scope;
  for (const auto& property : node.metadata_props()) {
    if (property.key() == "pkg.torch.onnx.name_scopes") {
      auto items = ParseList(property.value());  // modules from the root down, then the call's own name
      if (items.size() < 2) continue;
      scope.known = scope.exact = true;
      scope.path = SplitPath(items[items.size() - 2]);
    } else if (property.key() == "pkg.torch.onnx.class_hierarchy") {
      auto items = ParseList(property.value());
      if (items.size() >= 2) scope.module_class = items[items.size() - 2];
    } else if (property.key() == "pkg.torch.onnx.fx_node") {
      scope.fx_node = property.value();
    }
  }
  if (!scope.known && node.name().size() > 1 && node.name()[0] == '/') {
    scope.known = true;
    scope.path = SplitPath(node.name().substr(0, node.name().rfind('/')));
  }
  return scope;
}

void ScopeMap::Learn(const Scope& scope, const std::string& parameter) {
  if (!scope.known || scope.exact) return;
  const std::vector<std::string> module = SplitPath(ModuleOf(parameter));
  // The scope is the module path with components left out: match from the left.
  std::vector<size_t> at;
  size_t next = 0;
  for (const std::string& part : scope.path) {
    while (next < module.size() && module[next] != part) ++next;
    if (next == module.size()) return;
    at.push_back(next++);
  }
  for (size_t n = 1; n <= at.size(); ++n)
    learned_.emplace(
        std::vector<std::string>(scope.path.begin(), scope.path.begin() + static_cast<long>(n)),
        std::vector<std::string>(module.begin(), module.begin() + static_cast<long>(at[n - 1]) + 1));
}

std::string ScopeMap::Module(const Scope& scope) const {
  if (!scope.known) return "";
  if (scope.exact) return JoinDots(scope.path);
  for (size_t n = scope.path.size(); n > 0; --n) {
    auto it = learned_.find({scope.path.begin(), scope.path.begin() + static_cast<long>(n)});
    if (it == learned_.end()) continue;
    std::vector<std::string> module = it->second;
    module.insert(module.end(), scope.path.begin() + static_cast<long>(n), scope.path.end());
    return JoinDots(module);
  }
  return JoinDots(scope.path);
}

bool IsAnonymous(const std::string& name) {
  if (name.empty() || name[0] == '/' || name.find("::") != std::string::npos) return true;
  if (name.find("_output_") != std::string::npos || AllDigits(name)) return true;
  for (const char* stem :
       {"val_", "t_", "_val_", "tmp_", "const_", "constant_", "Constant_", "initializer_"}) {
    const std::string s = stem;
    if (name.compare(0, s.size(), s) == 0 && AllDigits(name.substr(s.size()))) return true;
  }
  return false;
}

}  // namespace zo2
