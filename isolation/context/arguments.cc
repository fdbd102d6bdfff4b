#include "isolation/context/arguments.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/escape.h"

namespace vs::isolation {

Arguments::Arguments(std::string program, std::string usage, std::string about, std::string footer)
    : program_(std::move(program)),
      usage_(std::move(usage)),
      about_(std::move(about)),
      footer_(std::move(footer)) {}

void Arguments::flag(const std::string& name, bool& target, const std::string& help) {
  options_.push_back({name, "", help, [&target](const std::string&) { target = true; }});
}
void Arguments::value(const std::string& name, const std::string& metavar, std::string& target,
                      const std::string& help) {
  options_.push_back({name, metavar, help, [&target](const std::string& text) { target = text; }});
}
void Arguments::list(const std::string& name, const std::string& metavar, std::vector<std::string>& target,
                     const std::string& help) {
  options_.push_back({name, metavar, help, [&target](const std::string& text) { target.push_back(text); }});
}

std::string Arguments::help() const {
  std::string text = fmt::format("usage: {} {}\n{}\n\nOptions:\n", program_, usage_, about_);
  for (const auto& option : options_) {
    const std::string left = option.name + (option.metavar.empty() ? "" : " " + option.metavar);
    text += fmt::format("  {:<24}  {}\n", left, option.help);
  }
  return text + fmt::format("  {:<24}  {}\n  {:<24}  {}\n\n{}\n", "--help", "this text", "--version",
                            "the version", footer_);
}

std::vector<std::string> Arguments::parse(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  size_t at = 0;
  for (; at < words.size(); ++at) {
    std::string word = words[at];
    if (word == "--") {
      ++at;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    if (word == "--help" || word == "-h") {
      std::fputs(help().c_str(), stdout);
      throw Shown{};
    }
    if (word == "--version") {
      fmt::print("{} {}\n", program_, VS_VERSION);
      throw Shown{};
    }
    const size_t equal = word.find('=');
    const std::string name = word.substr(0, equal);
    const Option* option = nullptr;
    for (const auto& one : options_)
      if (one.name == name) option = &one;
    if (option == nullptr && otherwise_ && otherwise_(word)) continue;
    if (option == nullptr)
      throw Error(fmt::format("'{}' is no option; see {} --help", escaped(word), program_), Exit::usage);
    if (option->metavar.empty() && equal != std::string::npos)
      throw Error(fmt::format("{} takes no value", name), Exit::usage);
    if (option->metavar.empty())
      option->set("");
    else if (equal != std::string::npos)
      option->set(word.substr(equal + 1));
    else if (at + 1 < words.size())
      option->set(words[++at]);
    else
      throw Error(fmt::format("{} needs a value: {}", name, option->metavar), Exit::usage);
  }
  return {words.begin() + static_cast<long>(std::min(at, words.size())), words.end()};
}

std::vector<std::string> Arguments::pass_through(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (first == "--help" || first == "--version") parse(argc, argv);
  return {argv + 1, argv + argc};
}

int run_tool(const std::string& program, int failure, const std::function<int()>& body) {
  try {
    return body();
  } catch (const Arguments::Shown&) {
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}: error: {}\n", program, error.what());
    return failure != 0 ? failure : static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: error: {}\n", program, error.what());
    return failure != 0 ? failure : static_cast<int>(Exit::failed);
  }
}

int exec_program(const std::string& program, const std::vector<std::string>& command) {
  std::fflush(stdout);
  std::vector<char*> words;
  for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  const int failed = errno;
  fmt::print(stderr, "{}: cannot run {}: {}\n", program, escaped(command[0]), std::strerror(failed));
  return failed == ENOENT ? 127 : 126;
}

}  // namespace vs::isolation
