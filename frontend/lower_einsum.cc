// Einsum: a chain of transposes and batched products, pair by pair.
#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

// One operand with the label of each axis. Labels are letters; those of an ellipsis are digits, counted from
// the end.
struct Term {
  ValueId value = -1;
  std::string labels;
};

// Positions of the label in the term.
int64_t Find(const Term& t, char label) { return static_cast<int64_t>(t.labels.find(label)); }
bool Has(const Term& t, char label) { return t.labels.find(label) != std::string::npos; }

// "a...b" with `axes` axes -> "a" + ellipsis + "b"; an ellipsis of n axes is the last n of '9', ..., '0'.
std::string Labels(Build& b, const std::string& text, int64_t axes, int64_t* ellipsis) {
  const size_t dots = text.find("...");
  std::string labels;
  const auto letters =
      static_cast<int64_t>(std::count_if(text.begin(), text.end(), [](char c) { return c != '.'; }));
  int64_t extra = 0;
  if (dots != std::string::npos) {
    extra = axes < 0 ? *ellipsis : axes - letters;
    if (extra < 0 || extra > 10) {
      b.Fail("its equation does not fit its operands");
      return "";
    }
    *ellipsis = std::max(*ellipsis, extra);
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == dots) {
      for (int64_t k = extra; k-- > 0;) labels += static_cast<char>('0' + k);
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(text[i])) != 0) {
      labels += text[i];
    } else {
      b.Fail("its equation has a '", text.substr(i, 1), "' in the wrong place");
      return "";
    }
  }
  if (axes >= 0 && static_cast<int64_t>(labels.size()) != axes)
    b.Fail("its equation does not fit its operands");
  return labels;
}

// A label that stands twice becomes the diagonal.
void TakeDiagonals(Build& b, Term* t) {
  for (size_t i = 0; b.ok() && i < t->labels.size(); ++i) {
    const size_t j = t->labels.find(t->labels[i], i + 1);
    if (j == std::string::npos) continue;
    const int64_t n = b.dim(t->value, static_cast<int64_t>(i)), rank = b.rank(t->value);
    if (b.dim(t->value, static_cast<int64_t>(j)) != n) b.Fail("a label of its equation stands for two sizes");
    List perm;
    for (int64_t k = 0; k < rank; ++k)
      if (k != static_cast<int64_t>(i) && k != static_cast<int64_t>(j)) perm.push_back(k);
    perm.insert(perm.begin(), {static_cast<int64_t>(i), static_cast<int64_t>(j)});
    ValueId x = b.Transpose(t->value, perm);
    Shape shape = b.shape(x);
    if (!b.ok()) return;
    shape.erase(shape.begin());
    shape[0] = n * n;
    List diagonal;
    for (int64_t k = 0; b.MayMake({n}) && k < n; ++k) diagonal.push_back(k * (n + 1));
    t->value = b.Gather(b.Reshape(x, shape), diagonal, {n}, 0);
    std::string labels(1, t->labels[i]);
    for (size_t k = 0; k < t->labels.size(); ++k)
      if (k != i && k != j) labels += t->labels[k];
    t->labels = labels;
    i = static_cast<size_t>(-1);
  }
}

// Sums over the labels that nothing else needs.
void SumOut(Build& b, Term* t, const std::set<char>& needed) {
  List axes;
  std::string kept;
  for (size_t i = 0; i < t->labels.size(); ++i) {
    if (needed.count(t->labels[i]) > 0)
      kept += t->labels[i];
    else
      axes.push_back(static_cast<int64_t>(i));
  }
  if (axes.empty()) return;
  t->value = b.Reduce(Op::kReduceSum, t->value, axes, false);
  t->labels = kept;
}

// The term with its axes in the order of `labels`, all of which it has.
ValueId Order(Build& b, const Term& t, const std::string& labels) {
  List perm;
  for (char c : labels) perm.push_back(Find(t, c));
  return b.Transpose(t.value, perm);
}

// The product of two terms, summed over the labels that are not needed any more: [batch, left, sum] x [batch,
// sum, right].
Term Product(Build& b, Term x, Term y, const std::set<char>& needed) {
  std::set<char> of_x(x.labels.begin(), x.labels.end()), of_y(y.labels.begin(), y.labels.end());
  of_x.insert(needed.begin(), needed.end());
  of_y.insert(needed.begin(), needed.end());
  SumOut(b, &x, of_y);
  SumOut(b, &y, of_x);
  std::string batch, left, right, sum;
  for (char c : x.labels) (Has(y, c) ? needed.count(c) > 0 ? batch : sum : left) += c;
  for (char c : y.labels)
    if (!Has(x, c)) right += c;
  std::map<char, int64_t> size;
  for (const Term* t : {&x, &y})
    for (char c : t->labels) size[c] = std::max(size[c], b.dim(t->value, Find(*t, c)));
  // An axis of 1 broadcasts against the other term's.
  const auto grown = [&](const Term& t, const std::string& labels) {
    Shape shape;
    for (char c : labels) shape.push_back(size[c]);
    return b.Expand(Order(b, t, labels), shape);
  };
  const auto product = [&](const std::string& labels) {
    int64_t n = 1;
    for (char c : labels) n *= size[c];
    return n;
  };
  const ValueId a = b.Reshape(grown(x, batch + left + sum), {product(batch), product(left), product(sum)});
  const ValueId c = b.Reshape(grown(y, batch + sum + right), {product(batch), product(sum), product(right)});
  Term z{b.MatMul(a, c), batch + left + right};
  Shape shape;
  for (char label : z.labels) shape.push_back(size[label]);
  z.value = b.Reshape(z.value, shape);
  return z;
}

Result<void> Einsum(Lowering& l) {
  Build b(l);
  std::string equation = l.String("equation", "");
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  const size_t arrow = equation.find("->");
  std::string inputs = equation.substr(0, arrow);
  std::vector<Term> terms;
  int64_t ellipsis = 0;
  for (size_t begin = 0; begin <= inputs.size(); ++begin) {
    const size_t end = std::min(inputs.find(',', begin), inputs.size());
    Term t{b.In(terms.size()), ""};
    t.labels = Labels(b, inputs.substr(begin, end - begin), b.rank(t.value), &ellipsis);
    if (!b.ok()) return b.status();
    terms.push_back(t);
    begin = end;
  }
  if (terms.size() != l.operands.size())
    return Invalid("its equation has ", terms.size(), " terms for ", l.operands.size(), " operands");
  std::string wanted;
  if (arrow != std::string::npos) {
    wanted = Labels(b, equation.substr(arrow + 2), -1, &ellipsis);
  } else {  // the ellipsis, then letters that stand once, in alphabetical order
    std::map<char, int> count;
    for (const Term& t : terms)
      for (char c : t.labels) ++count[c];
    for (int64_t k = ellipsis; k-- > 0;) wanted += static_cast<char>('0' + k);
    for (const auto& [c, n] : count)
      if (n == 1 && std::isdigit(static_cast<unsigned char>(c)) == 0) wanted += c;
  }
  if (!b.ok()) return b.status();
  for (Term& t : terms) TakeDiagonals(b, &t);
  Term result = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    std::set<char> needed(wanted.begin(), wanted.end());
    for (size_t k = i + 1; k < terms.size(); ++k)
      needed.insert(terms[k].labels.begin(), terms[k].labels.end());
    result = Product(b, result, terms[i], needed);
  }
  SumOut(b, &result, std::set<char>(wanted.begin(), wanted.end()));
  for (char c : wanted)
    if (b.ok() && (!Has(result, c) || std::count(wanted.begin(), wanted.end(), c) > 1))
      return Invalid("its equation asks for a label that its operands lack");
  return b.Done({Order(b, result, wanted)});
}

}  // namespace

void AddEinsum(LowerTable* table) { (*table)["Einsum"] = Einsum; }

}  // namespace zo2::internal
