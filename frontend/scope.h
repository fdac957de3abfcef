// Which module of the framework a node came from, as the exporters record it.
//
// dynamo writes it as metadata (pkg.torch.onnx.name_scopes, class_hierarchy, fx_node). The legacy exporter
// leaves it in the node's name, /decoder/layers.0/self_attn/q_proj/MatMul, where modules whose forward() was
// not called are missing (OPT's `model` above); parameters that kept their names show where: they teach which
// scope is which module.
#ifndef ZO2_FRONTEND_SCOPE_H_
#define ZO2_FRONTEND_SCOPE_H_

#include <onnx/onnx_pb.h>

#include <map>
#include <string>
#include <vector>

namespace zo2 {

struct Scope {
  bool known = false;
  bool exact = false;             // from metadata; otherwise from the node's name, to be mapped by ScopeMap
  std::vector<std::string> path;  // components: {"model", "layers", "0", "fc1"}
  std::string module_class;       // "torch.nn.modules.linear.Linear", "" when unknown
  std::string fx_node;            // dynamo's text of the call, "" when unknown
};

Scope ScopeOf(const onnx::NodeProto& node);

std::vector<std::string> SplitPath(const std::string& text);  // "a.b/c" -> {"a", "b", "c"}
std::string JoinDots(const std::vector<std::string>& parts);  // "a.b.c"
// "a.b.weight" -> "a.b"; "" without a dot.
std::string ModuleOf(const std::string& parameter);
bool IsPrefix(const std::vector<std::string>& prefix, const std::vector<std::string>& path);

class ScopeMap {
 public:
  // `parameter` is used directly by a node of `scope`.
  void Learn(const Scope& scope, const std::string& parameter);
  // Module path of a scope, "" when unknown.
  std::string Module(const Scope& scope) const;

 private:
  std::map<std::vector<std::string>, std::vector<std::string>> learned_;  // scope path -> module path
};

// A name that an exporter made up: onnx::MatMul_417, val_96, /model/Constant_output_0, 123, "".
bool IsAnonymous(const std::string& name);

}  // namespace zo2

#endif  // ZO2_FRONTEND_SCOPE_H_
