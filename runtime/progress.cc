#include "runtime/progress.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace zo2 {
namespace {

double Clock() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::string Duration(double seconds) {
  char text[40];
  const int64_t s = static_cast<int64_t>(std::min(seconds, 1e9) + 0.5);
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ldh%02ldm", static_cast<long>(s / 3600), static_cast<long>(s / 60 % 60));
  else if (s >= 60)
    std::snprintf(text, sizeof text, "%ldm%02lds", static_cast<long>(s / 60), static_cast<long>(s % 60));
  else
    std::snprintf(text, sizeof text, "%.*fs", seconds < 10 ? 1 : 0, seconds);
  return text;
}

}  // namespace

Progress::Progress(int64_t first_step, int64_t total_steps, int64_t tokens_per_step, int64_t examples_per_step,
                   bool quiet, double plain_every)
    : first_(first_step), total_(total_steps), units_(tokens_per_step > 0 ? tokens_per_step : examples_per_step),
      unit_(tokens_per_step > 0 ? "tokens/s" : "examples/s"), quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0),
      plain_every_(plain_every), begin_(Clock()) {}

std::string Progress::Line(int64_t step, int64_t first_step, int64_t total_steps, double loss, int64_t units_per_step,
                           const char* unit, double seconds, const ExecutorStats& stats) {
  const double steps = static_cast<double>(step - first_step + 1);
  const double rate = seconds > 0 ? steps / seconds : 0;
  const double moved = seconds > 0 ? static_cast<double>(stats.bytes_up + stats.bytes_down) / seconds : 0;
  const double total = stats.compute_busy + stats.compute_waiting;
  char text[200];
  std::snprintf(text, sizeof text, "step %ld/%ld  loss %.4f  %.4g s/step  %.0f %s  %.2f GB/s moved  %.0f%% waiting  left ",
                static_cast<long>(step + 1), static_cast<long>(total_steps), loss, rate > 0 ? 1 / rate : 0,
                rate * static_cast<double>(units_per_step), unit, moved * 1e-9,
                total > 0 ? 100 * stats.compute_waiting / total : 0);
  return text + (rate > 0 ? Duration(static_cast<double>(total_steps - step - 1) / rate) : "?");
}

double Progress::Seconds() const { return Clock() - begin_; }

void Progress::Step(int64_t step, double loss, const ExecutorStats& stats) {
  if (quiet_) return;
  const double now = Seconds();
  const bool last = step + 1 == total_;
  if (!last && now - last_ < (terminal_ ? 0.1 : plain_every_)) return;
  last_ = now;
  const std::string line = Line(step, first_, total_, loss, units_, unit_, now, stats);
  if (terminal_) {
    std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
    open_line_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void Progress::Note(const std::string& line) {
  if (open_line_) std::fputs("\r\x1b[K", stderr);
  open_line_ = false;
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Progress::Finish() {
  if (open_line_) std::fputc('\n', stderr);
  open_line_ = false;
}

}  // namespace zo2
