#include "runtime/host_id.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/run_setup.h"

namespace zo2 {
namespace {

using Where = std::map<std::string, std::string>;

Schedule PlannedFor(const std::string& name, const Where& measured_on) {
  Schedule schedule;
  schedule.report = nlohmann::json({{"machine", {{"name", name}, {"measured_on", measured_on}}}}).dump();
  return schedule;
}

TEST(HostId, ThisMachineHasAllThatPredictionsDependOn) {
  const Where here = ThisMachine("up=1GB/s");
  EXPECT_FALSE(here.at("processor").empty());
  EXPECT_GT(std::stoi(here.at("cores")), 0);
  EXPECT_FALSE(here.at("instructions").empty());
  EXPECT_EQ(here.at("link"), "up=1GB/s");
}

TEST(HostId, APlanForAnotherGpuNamesBoth) {
  const Where h200 = ThisMachine("", {{"name", "NVIDIA H200"}});
  EXPECT_EQ(h200.at("gpu"), "NVIDIA H200");
  EXPECT_EQ(MachineWarning(PlannedFor("measured", h200), h200), "");
  const std::string measured = MachineWarning(PlannedFor("measured", ThisMachine("", {{"name", "NVIDIA A100"}})), h200);
  EXPECT_NE(measured.find("A100"), std::string::npos) << measured;
  EXPECT_NE(measured.find("H200"), std::string::npos) << measured;
  const std::string built_in = MachineWarning(PlannedFor("h100-pcie5", {}), h200);
  EXPECT_NE(built_in.find("h100-pcie5"), std::string::npos) << built_in;
  EXPECT_NE(built_in.find("H200"), std::string::npos) << built_in;
  EXPECT_EQ(MachineWarning(PlannedFor("h100-pcie5", {}), ThisMachine("", {{"name", "NVIDIA H100 PCIe"}})), "");
  EXPECT_EQ(MachineWarning(PlannedFor("rtx4090", {}), ThisMachine("", {{"name", "NVIDIA GeForce RTX 4090"}})), "");
}

TEST(HostId, WhatADeviceSaysIsPutInWords) {
  EXPECT_EQ(DeviceText({}, {}, 5), "");
  EXPECT_EQ(DeviceText({}, {{"name", "G"}}, 5), "G");
  EXPECT_EQ(DeviceText({{"name", "G"}, {"energy_j", "100"}}, {{"name", "G"}, {"ecc", "on"}, {"energy_j", "350"}}, 100),
            "G (ecc on); energy 250 J, 2.5 J per step");
}

TEST(HostId, APlanForThisMachineIsNothingToWarnOf) {
  const Where here = ThisMachine("");
  EXPECT_EQ(MachineWarning(PlannedFor("measured", here), here), "");
}

TEST(HostId, WhatDiffersIsNamed) {
  const Where here = ThisMachine("");
  Where there = here;
  there["cores"] = "96";
  there["link"] = "up=2GB/s";
  const std::string text = MachineWarning(PlannedFor("measured", there), here);
  EXPECT_NE(text.find("cores 96, here " + here.at("cores")), std::string::npos) << text;
  EXPECT_NE(text.find("link up=2GB/s, here none"), std::string::npos) << text;
  EXPECT_EQ(text.find("processor"), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
}

TEST(HostId, MachinesThatNobodyMeasuredAreNamed) {
  EXPECT_EQ(UnmeasuredMachine(PlannedFor("cpu-2core", {})), "cpu-2core");
  EXPECT_EQ(MachineWarning(PlannedFor("cpu-2core", {}), ThisMachine("")), "");
  EXPECT_EQ(UnmeasuredMachine(PlannedFor("measured", ThisMachine(""))), "");
}

// Plans made by hand or by other versions have no report, or another one.
TEST(HostId, ReportsOfOtherShapesAreNotJudged) {
  for (const char* report : {"", "no json", "[]", "{}", "{\"machine\":3}"}) {
    Schedule schedule;
    schedule.report = report;
    EXPECT_EQ(MachineWarning(schedule, ThisMachine("")), "") << report;
    EXPECT_EQ(UnmeasuredMachine(schedule), "") << report;
  }
  Schedule schedule;
  schedule.report = "{\"machine\":{\"name\":7,\"measured_on\":{\"cores\":2}}}";
  EXPECT_NE(MachineWarning(schedule, ThisMachine("")), "");
}

}  // namespace
}  // namespace zo2
