// zo2-plan: parse flags, call one function of a stage, print.
#include <CLI/CLI.hpp>
#include <iostream>

#include "ir/schedule/schedule.h"
#include "ir/support/last_words.h"
#include "planner/commands.h"

namespace zo2 {
namespace {

constexpr const char* kVersion = "zo2-plan 0.1.0";
constexpr const char* kFooter = R"(
Examples
  zo2-plan check model.onnx --bind batch=8,seq=128
  zo2-plan compile model.onnx --bind batch=8,seq=128 --budget 64MiB -o run.plan
  zo2-plan compile model.onnx --bind batch=8,seq=128 --budget 64MiB --what-if link=2x,budget=+64MiB
  zo2-plan inspect run.plan --format html -o timeline.html
  zo2-plan inspect run.plan --weight model.layers.0.mlp.weight
  zo2-plan compare run.plan other.plan
  zo2-plan sweep model.onnx --bind batch=8,seq=128 --budget 32MiB..1GiB --format html -o sweep.html
  zo2-plan export model.onnx --weights tuned.safetensors -o tuned.onnx
zo2-plan COMMAND --help lists a command's flags. Sizes take units: KiB MiB GiB (powers of 1024), kB MB GB (powers of 1000).
Exit status: 0 done, 2 bad input or usage, 3 no plan fits the budgets, 4 the time limit
ended the search and the best plan was written, 5 the schedule was rejected, 70 a bug of ours.)";

// "--name TYPE   what it is [default]"
class HelpFormat : public CLI::Formatter {
 public:
  HelpFormat() { column_width(28); }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0) return "";
    return " " + option->get_type_name() + (option->get_positional() || !option->get_required() ? "" : " (required)");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string absent = option->get_default_str();
    return option->get_description() + (absent.empty() ? "" : " [" + absent + "]");
  }
};

int Main(int argc, char** argv) {
  Flags f;
  std::function<Result<void>(Flags&)> run;
  CLI::App app(
      "Plans zeroth-order fine-tuning: from an ONNX model, a machine and memory budgets to a static schedule that "
      "zo2-run\n"
      "executes. A plan says what lives where, which bytes move when, which kernel runs at which address, and why.",
      "zo2-plan");
  app.formatter(std::make_shared<HelpFormat>());
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(kVersion) + " (plan format " + std::to_string(kScheduleVersion) + ")",
                       "print the version");
  app.footer(kFooter);
  AddCommands(&app, &f, &run);
  if (argc == 1) {
    std::cerr << app.help();
    return static_cast<int>(Code::kInvalid);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    const bool unknown = argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty();
    std::cerr << "zo2-plan: " << (unknown ? std::string("there is no command ") + argv[1] : e.what()) << " (--help shows how)\n";
    return static_cast<int>(Code::kInvalid);
  }
  Result<void> result = run(f);
  std::cout.flush();
  if (result.ok() && !std::cout) result = Invalid("cannot write to the standard output");
  if (result.ok()) return 0;
  std::cerr << "zo2-plan: " << result.status().message() << "\n";
  return static_cast<int>(result.status().code());
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) {
  zo2::InstallLastWords("zo2-plan");
  return zo2::Main(argc, argv);
}
