// Best first through the settings of the class model: K, slots, their size, the direction in which more is
// copied.
#ifndef ZO2_PLANNER_CLASS_SEARCH_H_
#define ZO2_PLANNER_CLASS_SEARCH_H_

#include <functional>
#include <limits>
#include <vector>

#include "planner/class_model.h"

namespace zo2 {

// Steps between write-backs that may be chosen: the one asked for, or all.
std::vector<int> EveryChoices(const PlanInput& input);

// `visit` gets a setting and its program and returns the T that is to be beaten from now on. Settings whose
// own least T (ClassProgram::Least) is not below it are passed over; `best` is the T to be beaten at first. The least T
// of those, which all of them need at least; infinite where none was. (So 0 from `visit` ends the search.)
//
// Slots are as large as one of the few largest tiles, larger ones being resident. `relaxed`: or they are
// counted as small as the smallest tile and hold any (Setting::any_tile), which stands for all sizes that are left.
using Visit = std::function<double(const ClassModel&, const Setting&, const ClassProgram&)>;
double SearchSettings(ClassModels* models, const std::vector<int>& every, const std::vector<int>& slots,
                      bool relaxed, double best, const Visit& visit);

}  // namespace zo2

#endif  // ZO2_PLANNER_CLASS_SEARCH_H_
