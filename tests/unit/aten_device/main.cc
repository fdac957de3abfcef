// The tests of tests/unit/aten against the device's table, and what is the device's own (this folder). Left out are the
// tests of what only the CPU's table promises.
#include <gtest/gtest.h>

#include <string>

namespace {

constexpr const char* kOnlyTheCpu[] = {
    // Data errors: a device makes NaN of them (data_errors_test.cc).
    "Embedding.IdsOutsideOfTheTableAreNamed",
    "Gather.IdsOutsideAreNamed",
    "CausalLmLoss.BadLabelsAreNamed",
    "ClassifyLoss.NanStaysInItsExampleAndBadLabelsAreNamed",
    "Elementwise.IntegerDivisionCannotStopTheProcess",
    // ATen's vector loops on a CPU treat the last elements of what they are given differently.
    "Activation.AnElementsBitsDoNotDependOnItsPlace",
    // ATen's fused attention on a CPU, which stands in for a GPU's, takes a score of NaN for a masked one.
    "Attention.NanReachesTheRowsThatSeeIt",
    // Of AtenKernels() itself; kernel_table_test.cc of this folder has its like.
    "KernelTable.*",
};

}  // namespace

int main(int argc, char** argv) {
  std::string filter;
  for (const char* test : kOnlyTheCpu) filter += (filter.empty() ? "-" : ":") + std::string(test);
  GTEST_FLAG_SET(filter, filter);  // --gtest_filter says more than this
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
