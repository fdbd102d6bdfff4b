#include "isolation/context/watched_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/context/spectator.h"

namespace vs::isolation {
namespace {

// Columns that hold no text of a process's own choice, so that words before PID can be counted.
constexpr std::string_view kPlainColumns[] = {
    "F",    "S",     "STAT", "USER", "UID", "EUSER", "RUSER", "EUID",    "RUID", "PPID",
    "PGID", "PGRP",  "SID",  "SESS", "TTY", "TT",    "NI",    "PRI",     "C",    "%CPU",
    "%MEM", "GROUP", "GID",  "TIME", "LWP", "TGID",  "NLWP",  "ELAPSED", "PSR"};

struct Word {
  size_t begin, end;
};

std::optional<Word> word_number(std::string_view line, size_t number) {
  size_t at = 0;
  for (size_t i = 0;; ++i) {
    at = std::min(line.find_first_not_of(' ', at), line.size());
    const size_t end = std::min(line.find(' ', at), line.size());
    if (at == end) return std::nullopt;
    if (i == number) return Word{at, end};
    at = end;
  }
}

// Which word of a line is the process's number; nothing where that cannot be known.
std::optional<size_t> pid_word(std::string_view header) {
  for (size_t i = 0;; ++i) {
    const auto word = word_number(header, i);
    if (!word) return std::nullopt;
    const auto text = header.substr(word->begin, word->end - word->begin);
    if (text == "PID") return i;
    if (std::find(std::begin(kPlainColumns), std::end(kPlainColumns), text) == std::end(kPlainColumns))
      return std::nullopt;
  }
}

std::optional<pid_t> number_at(std::string_view line, const Word& word) {
  const auto text = line.substr(word.begin, word.end - word.begin);
  if (text.size() > 9 || text.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return static_cast<pid_t>(std::stol(std::string(text)));
}

std::string label_text(const std::string& number, const std::string& name) {
  return fmt::format("{:>6} {:<10.10}", number, name);
}

}  // namespace

std::string safe_line(std::string_view line) {
  std::string out;
  while (!line.empty()) {
    const size_t plain = std::min(line.find_first_of("\\\t"), line.size());
    out += escaped(line.substr(0, plain));
    if (plain < line.size()) out += line[plain];
    line.remove_prefix(std::min(plain + 1, line.size()));
  }
  return out;
}

std::string with_contexts(const std::string& output, const std::function<std::string(pid_t)>& label,
                          bool& found) {
  std::string out;
  std::optional<size_t> column;
  bool header = true;
  for (size_t at = 0; at < output.size();) {
    const size_t end = std::min(output.find('\n', at), output.size());
    std::string line = safe_line(std::string_view(output).substr(at, end - at));
    if (header) column = pid_word(line);
    if (const auto word = column ? word_number(line, *column) : std::nullopt) {
      const auto pid = header ? std::nullopt : number_at(line, *word);
      line.insert(word->end, " " + (header ? label_text("CTX", "NAME")
                                    : pid  ? label(*pid)
                                           : std::string(kLabelWidth, ' ')));
    }
    out += line + "\n";
    header = false;
    at = end + 1;
  }
  found = column.has_value();
  return out;
}

std::string ContextLabels::of(pid_t pid) const {
  const auto number = contexts_.of_process(pid, living_);
  if (!number) return label_text("?", "UNKNOWN");
  if (*number == kHost) return label_text("0", "MAIN");
  const auto it = std::find_if(living_.begin(), living_.end(),
                               [&](const ContextInfo& info) { return info.number == *number; });
  return label_text(fmt::to_string(*number), it == living_.end() || it->name.empty() ? "-" : it->name);
}

std::string ContextLabels::spectator() const {
  return label_text("1", "ALL_PROCS");
}

std::string output_in_context_1(Contexts& contexts, const std::string& program,
                                const std::vector<std::string>& command, pid_t& spectator, int& status) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(problem_from_errno("make", "a pipe").message);
  UniqueFd from(ends[0]), to(ends[1]);
  const Child child = start_watching(contexts, program, command, to.get());
  to.reset();
  spectator = child.pid;
  std::string output;
  char buffer[16384];
  for (ssize_t got; (got = ::read(from.get(), buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR);)
    if (got > 0) output.append(buffer, static_cast<size_t>(got));
  status = wait_and_pass_on(child);
  return output;
}

}  // namespace vs::isolation
