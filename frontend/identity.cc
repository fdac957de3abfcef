#include "frontend/identity.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "frontend/scope.h"

namespace zo2 {
namespace {

enum class Role { kMatrix, kTable, kScale, kBias, kAdd, kMul, kStatic, kOther };

constexpr size_t kLongestChain = 16;

// One use of an initializer, possibly through nodes that only forward it.
struct Use {
  int node, operand;
  bool transposed;        // by Transpose nodes on the way
  bool reads_transposed;  // the op itself takes [out, in] (Gemm transB)
  Role role;
  Scope scope;
  std::string given;  // name an Identity node gave it on the way
  std::vector<int> chain;
  std::string parameter;  // the parameter that this use is, "" where nothing says
};

struct Root {
  const StoredTensor* tensor;
  std::vector<Use> uses;
};

struct View {
  std::string root, given;
  bool transposed = false;
  std::vector<int> chain;
};

const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, const char* name) {
  for (const auto& attribute : node.attribute())
    if (attribute.name() == name) return &attribute;
  return nullptr;
}

int64_t IntAttribute(const onnx::NodeProto& node, const char* name, int64_t fallback) {
  const auto* attribute = FindAttribute(node, name);
  return attribute != nullptr ? attribute->i() : fallback;
}

std::string LastPart(const std::string& name) {
  const size_t dot = name.rfind('.');
  std::string last = dot == std::string::npos ? name : name.substr(dot + 1);
  for (char& c : last) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return last;
}

bool IsBufferName(const std::string& name) {
  static const std::set<std::string> kBuffers = {"inv_freq",
                                                 "original_inv_freq",
                                                 "freqs",
                                                 "freqs_cis",
                                                 "cos",
                                                 "sin",
                                                 "cos_cached",
                                                 "sin_cached",
                                                 "cos_cache",
                                                 "sin_cache",
                                                 "running_mean",
                                                 "running_var",
                                                 "num_batches_tracked",
                                                 "position_ids",
                                                 "token_type_ids",
                                                 "mask",
                                                 "attn_mask",
                                                 "causal_mask",
                                                 "attention_mask",
                                                 "masked_bias",
                                                 "relative_position_index"};
  return kBuffers.count(LastPart(name)) > 0;
}

bool IsParameterName(const std::string& name) {
  const std::string last = LastPart(name);
  for (const char* stem :
       {"weight", "bias", "gamma", "beta", "scale", "kernel", "embed", "lora", "param", "token", "prompt"})
    if (last.find(stem) != std::string::npos) return true;
  return false;
}

// "a.b.parameters" has a dot of a module path.
bool IsDotted(const std::string& name) { return name.find('.') != std::string::npos; }

Role RoleOf(const onnx::NodeProto& node, int operand, size_t rank) {
  const std::string& op = node.op_type();
  if (op == "MatMul") return operand == 1 && rank == 2 ? Role::kMatrix : Role::kOther;
  if (op == "Gemm") return operand == 1 && rank == 2 ? Role::kMatrix : operand == 2 ? Role::kBias : Role::kOther;
  if (op == "Gather")
    return operand == 0 && rank == 2 && IntAttribute(node, "axis", 0) == 0 ? Role::kTable : Role::kOther;
  // What a static compiler reads, and statistics, whatever they are called.
  if (operand > 0 && (op == "Resize" || op == "Upsample" || op == "Pad" || op == "Clip" || op == "OneHot" || op == "Dropout"))
    return Role::kStatic;
  if (op == "Range" || (op == "BatchNormalization" && operand > 2)) return Role::kStatic;
  if (op == "LayerNormalization" || op == "RMSNormalization" || op == "GroupNormalization" ||
      op == "InstanceNormalization" || op == "BatchNormalization")
    return operand == 1 ? Role::kScale : operand == 2 ? Role::kBias : Role::kOther;
  if (op == "Add" || op == "Sub") return Role::kAdd;
  if (op == "Mul" || op == "Div") return Role::kMul;
  return Role::kOther;
}

const char* SuffixOf(Role role) {
  switch (role) {
    case Role::kMatrix:
    case Role::kTable:
    case Role::kScale:
    case Role::kMul:
      return ".weight";
    case Role::kBias:
    case Role::kAdd:
      return ".bias";
    default:
      return nullptr;
  }
}

WeightRole ToWeightRole(Role role) {
  switch (role) {
    case Role::kMatrix:
      return WeightRole::kMatrix;
    case Role::kTable:
      return WeightRole::kEmbedding;
    case Role::kScale:
    case Role::kMul:
      return WeightRole::kNormScale;
    case Role::kBias:
    case Role::kAdd:
      return WeightRole::kBias;
    default:
      return WeightRole::kOther;
  }
}

class Identifier {
 public:
  explicit Identifier(const OnnxFile& file) : file_(file) {}

  Result<Identity> Run() {
    FollowViews();
    DropConstants();
    NameUses();
    // Meaningful names first, so that an anonymous copy finds the weight it is a copy of; tables before
    // matrices.
    for (int pass = 0; pass < 3; ++pass)
      for (auto& [name, root] : roots_) {
        const bool table =
            std::any_of(root.uses.begin(), root.uses.end(), [](auto& u) { return u.role == Role::kTable; });
        const int turn = IsAnonymous(name) ? 2 : table ? 0 : 1;
        if (turn == pass) ZO2_TRY(AddRoot(name, root));
      }
    for (Weight& weight : result_.weights) Finish(weight);
    NoteDroppedBiases();
    if (recovered_ > 0)
      result_.notes.push_back("names: " + std::to_string(recovered_) +
                              " weights have their names from the scopes of nodes: " + example_);
    return std::move(result_);
  }

 private:
  // Where each floating-point tensor is used, through Identity, Cast and Transpose nodes.
  void FollowViews() {
    std::map<std::string, View> views;
    for (const auto& [name, tensor] : file_.tensors())
      if (IsFloat(tensor.dtype) && !tensor.shape.empty()) views[name] = {name, "", false, {}};
    for (int i = 0; i < file_.graph().node_size(); ++i) {
      const auto& node = file_.graph().node(i);
      const std::string& op = node.op_type();
      if (node.output_size() == 0) continue;
      for (int k = 0; k < node.input_size(); ++k) {
        auto it = views.find(node.input(k));
        if (it == views.end()) continue;
        View view = it->second;
        const StoredTensor& tensor = *file_.Find(view.root);
        const size_t rank = tensor.shape.size();
        bool forwards = op == "Identity" && node.output_size() == 1;
        if (op == "CastLike") forwards = k == 0;
        if (op == "Cast") {
          auto to = FromOnnxType(static_cast<int>(IntAttribute(node, "to", 0)));
          forwards = to && IsFloat(*to);
        }
        if (op == "Transpose" && rank == 2) {
          const auto* perm = FindAttribute(node, "perm");
          forwards = true;
          if (perm == nullptr || (perm->ints_size() == 2 && perm->ints(0) == 1))
            view.transposed = !view.transposed;
        }
        // Every view has its own chain; no exporter makes one that is long.
        if (forwards && view.chain.size() < kLongestChain) {
          if (op == "Identity" && !IsAnonymous(node.output(0)) && IsDotted(node.output(0)))
            view.given = node.output(0);
          view.chain.push_back(i);
          views[node.output(0)] = view;
          break;
        }
        Root& root = roots_[view.root];
        root.tensor = &tensor;
        root.uses.push_back({i, k, view.transposed,
                             op == "Gemm" && k == 1 && IntAttribute(node, "transB", 0) != 0,
                             RoleOf(node, k, rank), ScopeOf(node), view.given, view.chain, ""});
      }
    }
  }

  bool IsWeight(const std::string& name, const Root& root) const {
    if (IsBufferName(name)) return false;
    const bool anonymous = IsAnonymous(name);
    const bool pytorch = file_.model().producer_name().find("pytorch") != std::string::npos;
    for (const Use& use : root.uses) switch (use.role) {
        case Role::kMatrix:
        case Role::kScale:
          return true;
        case Role::kBias:
          if (!anonymous || use.scope.known) return true;
          break;
        case Role::kTable:
          if (!anonymous || use.scope.module_class.find("Embedding") != std::string::npos) return true;
          break;
        case Role::kStatic:
          break;
        default:
          // Elsewhere only the name tells: PyTorch's parameters have dotted or telling names.
          if (anonymous || root.tensor->initializer < 0) break;
          if (IsParameterName(name) || IsDotted(name) || (!pytorch && use.role != Role::kOther)) return true;
      }
    return false;
  }

  void DropConstants() {
    for (auto it = roots_.begin(); it != roots_.end();) {
      if (IsWeight(it->first, it->second)) {
        ++it;
        continue;
      }
      if (NumElements(it->second.tensor->shape) > 1)
        result_.notes.push_back("constant: " + it->first +
                                " is not a parameter by name or use; it is not trained");
      it = roots_.erase(it);
    }
  }

  void NameUses() {
    for (const auto& [name, root] : roots_)
      for (const Use& use : root.uses)
        if (const std::string& own = use.given.empty() ? name : use.given; !IsAnonymous(own) && IsDotted(own))
          scopes_.Learn(use.scope, own);
    for (auto& [name, root] : roots_)
      for (Use& use : root.uses) {
        const std::string module = scopes_.Module(use.scope);
        const char* suffix = SuffixOf(use.role);
        if (!use.given.empty()) {
          use.parameter = use.given;
        } else if (!IsAnonymous(name) &&
                   (module.empty() || IsPrefix(SplitPath(module), SplitPath(ModuleOf(name))))) {
          use.parameter = name;  // used by its own module or by one around it
        } else if (!module.empty() && suffix != nullptr) {
          use.parameter = module + suffix;
        } else if (!IsAnonymous(name)) {
          use.parameter = name;
        }
      }
  }

  // All elements equal; nullopt when the bytes are not there.
  Result<std::optional<bool>> IsUniform(const StoredTensor& tensor) const {
    ZO2_ASSIGN(std::span<const std::byte> bytes, file_.Bytes(tensor));
    if (bytes.empty()) return std::optional<bool>();
    const size_t size = static_cast<size_t>(SizeOf(tensor.dtype));
    return std::optional<bool>(std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) == 0);
  }

  Place PlaceOf(const std::string& name, const StoredTensor& tensor, bool transposed) const {
    return {name, tensor.range, tensor.dtype, transposed, tensor.present};
  }

  WeightId FindByName(const std::string& name) const {
    for (size_t i = 0; i < result_.weights.size(); ++i) {
      const Weight& w = result_.weights[i];
      if (w.name == name || std::find(w.aliases.begin(), w.aliases.end(), name) != w.aliases.end())
        return static_cast<WeightId>(i);
    }
    return -1;
  }

  static void AddAlias(Weight& weight, const std::string& name) {
    if (!name.empty() && name != weight.name &&
        std::find(weight.aliases.begin(), weight.aliases.end(), name) == weight.aliases.end())
      weight.aliases.push_back(name);
  }

  void AddOperand(const std::string& root, const Use& use, WeightId id, bool place_transposed) {
    const Role role = use.role;
    result_.operands[{use.node, use.operand}] = {id, use.transposed != place_transposed, root, use.chain};
    result_.views.insert(use.chain.begin(), use.chain.end());
    Weight& weight = result_.weights[static_cast<size_t>(id)];
    // A tied table is an embedding to decay and to readers, whatever else uses it.
    const WeightRole mine = ToWeightRole(role);
    if (weight.role == WeightRole::kOther || mine == WeightRole::kEmbedding) weight.role = mine;
  }

  // How the bytes of `tensor` agree with a place of `weight`: 1 as is, 2 transposed, 0 not, -1 unknown
  // (absent).
  Result<int> Agree(const Weight& weight, const StoredTensor& tensor) const {
    const Place& place = weight.places[0];
    Shape stored = weight.shape, mine = tensor.shape;
    if (place.transposed) std::swap(stored[0], stored[1]);
    const StoredTensor* other = file_.Find(place.name);
    if (other == nullptr || tensor.dtype != place.dtype) return 0;
    const bool same = mine == stored,
               flipped = mine.size() == 2 && stored.size() == 2 && mine[0] == stored[1] && mine[1] == stored[0];
    if (!same && !flipped) return 0;
    ZO2_ASSIGN(std::span<const std::byte> a, file_.Bytes(*other));
    ZO2_ASSIGN(std::span<const std::byte> b, file_.Bytes(tensor));
    if (a.empty() || b.empty()) return -1;
    int found = 0;
    if (same && std::memcmp(a.data(), b.data(), a.size()) == 0) found = 1;
    if (found == 0 && flipped) {
      const size_t rows = static_cast<size_t>(stored[0]), cols = static_cast<size_t>(stored[1]),
                   size = static_cast<size_t>(SizeOf(tensor.dtype));
      bool equal = true;
      for (size_t r = 0; equal && r < rows; ++r)
        for (size_t c = 0; equal && c < cols; ++c)
          equal = std::memcmp(a.data() + (r * cols + c) * size, b.data() + (c * rows + r) * size, size) == 0;
      if (equal) found = 2;
    }
    if (found == 0) return 0;
    return (found == 2) != place.transposed ? 2 : 1;  // relative to the logical layout
  }

  Result<void> AddRoot(const std::string& name, Root& root) {
    const StoredTensor& tensor = *root.tensor;
    if (!tensor.in_file)
      return Invalid(file_.path(), ": weight ", name,
                     " is stored as typed values, not as raw bytes: save the model again with onnx.save");
    const bool anonymous = IsAnonymous(name);
    std::string base = name;
    const Use* first = nullptr;  // the use that names an anonymous initializer
    for (const Use& use : root.uses)
      if (anonymous && first == nullptr && !use.parameter.empty()) first = &use, base = use.parameter;

    // A folded transpose is stored as the op reads it, [in, out]; the framework's layout is [out, in].
    bool transposed = false;
    if (first != nullptr && first->role == Role::kMatrix && tensor.shape.size() == 2)
      transposed = !first->reads_transposed && !first->transposed &&
                   first->scope.module_class.find("Conv1D") == std::string::npos;

    // A copy of a weight that is known already?
    WeightId id = FindByName(base);
    if (id >= 0 || anonymous || IsProjection(root)) ZO2_TRY(FindTie(name, root, base, &id, &transposed));
    if (id < 0) {
      if (FindByName(base) >= 0) {
        result_.notes.push_back("name: " + name + " would be " + base +
                                " by its scope, but has other values; it keeps its own name");
        base = name;
        transposed = false;
      } else if (anonymous && base != name) {
        if (recovered_++ == 0)
          example_ = base + " is stored " + (transposed ? "transposed " : "") + "as " + name;
      } else if (anonymous) {
        result_.notes.push_back("name: nothing tells the parameter's name of " + name);
      }
      id = NewWeight(base, name, tensor, transposed);
    } else {
      Weight& weight = result_.weights[static_cast<size_t>(id)];
      weight.places.push_back(PlaceOf(name, tensor, transposed));
      if (base != weight.name) AddAlias(weight, base);
      result_.notes.push_back("tied: " + name + " holds " + weight.name +
                              (transposed ? " transposed" : " again"));
    }
    return AddUses(name, root, id, transposed);
  }

  bool IsProjection(const Root& root) const {
    return std::any_of(root.uses.begin(), root.uses.end(),
                       [](const Use& u) { return u.role == Role::kMatrix; });
  }

  // Sets *id to the weight of which `name` is another copy, -1 when there is none.
  Result<void> FindTie(const std::string& name, const Root& root, const std::string& base, WeightId* id,
                       bool* transposed) {
    if (*id >= 0) {
      ZO2_ASSIGN(int agree, Agree(result_.weights[static_cast<size_t>(*id)], *root.tensor));
      if (agree == 0) *id = -1;
      if (agree > 0) *transposed = agree == 2;
      return {};  // absent bytes: the name decides
    }
    if (!IsProjection(root)) return {};
    for (size_t i = 0; i < result_.weights.size(); ++i) {
      Weight& weight = result_.weights[i];
      if (weight.role != WeightRole::kEmbedding || weight.shape.size() != 2) continue;
      ZO2_ASSIGN(int agree, Agree(weight, *root.tensor));
      if (agree < 0)
        result_.notes.push_back("tied?: " + base + " may be the same parameter as " + weight.name +
                                "; their data is not there, so they are two");
      if (agree <= 0) continue;
      *id = static_cast<WeightId>(i);
      *transposed = agree == 2;
      break;
    }
    return {};
  }

  WeightId NewWeight(const std::string& canonical, const std::string& root, const StoredTensor& tensor,
                     bool transposed) {
    Weight weight;
    weight.name = canonical;
    weight.shape = tensor.shape;
    if (transposed) std::swap(weight.shape[0], weight.shape[1]);
    weight.dtype = tensor.dtype;
    weight.places = {PlaceOf(root, tensor, transposed)};
    result_.weights.push_back(std::move(weight));
    return static_cast<WeightId>(result_.weights.size()) - 1;
  }

  // Distributes the uses of an initializer over one weight, or over several where equal parameters were
  // merged.
  Result<void> AddUses(const std::string& name, const Root& root, WeightId id, bool transposed) {
    const std::string canonical = result_.weights[static_cast<size_t>(id)].name;
    std::optional<bool> uniform;
    for (const Use& use : root.uses)
      if (!use.parameter.empty() && use.parameter != canonical) {
        ZO2_ASSIGN(uniform, IsUniform(*root.tensor));
        break;
      }
    const bool merged = uniform.value_or(root.tensor->shape.size() == 1);
    for (const Use& use : root.uses) {
      WeightId mine = id;
      if (!use.parameter.empty() && use.parameter != canonical) {
        const WeightId known = FindByName(use.parameter);
        if (merged) {
          mine = known >= 0 && known != id ? known : NewWeight(use.parameter, name, *root.tensor, transposed);
          if (known < 0)
            result_.notes.push_back(
                "separated: " + use.parameter + " was merged into " + name +
                (uniform ? ", whose elements are all equal" : ", whose data is not there"));
        } else if (known < 0) {
          AddAlias(result_.weights[static_cast<size_t>(id)], use.parameter);
          result_.notes.push_back("tied: " + use.parameter + " is " + canonical);
        }
      }
      AddOperand(name, use, mine, transposed);
    }
    return {};
  }

  static void Finish(Weight& weight) {
    std::stable_partition(weight.places.begin(), weight.places.end(),
                          [](const Place& p) { return !p.transposed; });
    weight.decay = weight.role == WeightRole::kMatrix || weight.role == WeightRole::kEmbedding ||
                   (weight.role == WeightRole::kOther && weight.shape.size() >= 2);
  }

  // dynamo's optimizer removes a bias of zeros; its text of the call still shows it.
  void NoteDroppedBiases() {
    for (const auto& node : file_.graph().node()) {
      if (node.op_type() != "Gemm" || (node.input_size() > 2 && !node.input(2).empty())) continue;
      const Scope scope = ScopeOf(node);
      if (scope.fx_node.find("_bias") == std::string::npos) continue;
      result_.notes.push_back("dropped: " + scopes_.Module(scope) +
                              ".bias was all zeros and the exporter left it out; it is not "
                              "in the file and is not trained");
    }
  }

  const OnnxFile& file_;
  std::map<std::string, Root> roots_;
  ScopeMap scopes_;
  Identity result_;
  int recovered_ = 0;  // anonymous initializers that a scope named
  std::string example_;
};

}  // namespace

Result<Identity> Identify(const OnnxFile& file) { return Identifier(file).Run(); }

}  // namespace zo2
