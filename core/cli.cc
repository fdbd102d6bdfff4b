#include "core/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <system_error>

#include "core/escape.h"
#include "core/key_value.h"

namespace vs {

// Each option of a verb knows how to take one value from the file or the environment.
struct Verb::Impl {
  CLI::App* app = nullptr;
  std::function<Exit()> action;
  struct Setting {
    CLI::Option* option;
    std::function<void(const std::string& value, const std::string& where)> set;
    bool many = false;
  };
  std::map<std::string, Setting> settings;  // by long name without dashes

  void add(CLI::Option* option, std::function<void(const std::string&, const std::string&)> set,
           bool many = false) {
    if (!option->get_lnames().empty()) settings[option->get_lnames()[0]] = {option, std::move(set), many};
  }
};

namespace {

// What a shell says of a program that SIGPIPE ended: 128 and the number of the signal.
constexpr int kReaderLeft = 128 + 13;

[[noreturn]] void bad_value(const std::string& where, const std::string& expected, const std::string& value) {
  throw Error(where + ": expected " + expected + ", found '" + escaped(value) + "'", Exit::usage);
}

uint64_t number(const std::string& text, const std::string& where) {
  uint64_t value = 0;
  size_t used = 0;
  try {
    if (!text.empty() && text[0] != '-') value = std::stoull(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size()) bad_value(where, "a number", text);
  return value;
}

bool truth(const std::string& text, const std::string& where) {
  if (text == "1" || text == "yes" || text == "true" || text == "on") return true;
  if (text == "0" || text == "no" || text == "false" || text == "off" || text.empty()) return false;
  bad_value(where, "yes or no", text);
}

std::string environment_name(const std::string& key) {
  std::string name = "VS_";
  for (const char c : key)
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

void Verb::option(const std::string& names, const std::string& value, std::string& target,
                  const std::string& help) {
  auto* option = impl->app->add_option(names, target, help)->option_text(value);
  impl->add(option, [&target](const std::string& text, const std::string&) { target = text; });
}
void Verb::choice(const std::string& names, const std::string& value, const std::vector<std::string>& choices,
                  std::string& target, const std::string& help) {
  const auto take = [&target, choices](const std::string& text, const std::string& where) {
    std::string all;
    for (size_t i = 0; i < choices.size(); ++i) {
      if (choices[i] == text) {
        target = text;
        return;
      }
      all += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
    }
    bad_value(where, all, text);
  };
  auto* option = impl->app
                     ->add_option_function<std::string>(
                         names, [take, names](const std::string& text) { take(text, names); }, help)
                     ->option_text(value);
  impl->add(option, take);
}
void Verb::option(const std::string& names, const std::string& value, uint64_t& target,
                  const std::string& help) {
  auto* option =
      impl->app
          ->add_option_function<std::string>(
              names, [&target, names](const std::string& text) { target = number(text, names); }, help)
          ->option_text(value);
  impl->add(option,
            [&target](const std::string& text, const std::string& where) { target = number(text, where); });
}
void Verb::list(const std::string& names, const std::string& value, std::vector<std::string>& target,
                const std::string& help) {
  auto* option = impl->app->add_option(names, target, help)
                     ->option_text(value + " ...")
                     ->expected(1)
                     ->allow_extra_args(false)
                     ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  impl->add(
      option, [&target](const std::string& text, const std::string&) { target.push_back(text); }, true);
}
void Verb::flag(const std::string& names, bool& target, const std::string& help) {
  impl->add(impl->app->add_flag(names, target, help),
            [&target](const std::string& text, const std::string& where) { target = truth(text, where); });
}
void Verb::count(const std::string& names, int& target, const std::string& help) {
  impl->add(impl->app->add_flag(names, target, help),
            [&target](const std::string& text, const std::string& where) {
              target = static_cast<int>(number(text, where));
            });
}
void Verb::argument(const std::string& name, std::string& target, const std::string& help, bool required) {
  impl->app->add_option(name, target, help)->required(required);
}
void Verb::arguments(const std::string& name, std::vector<std::string>& target, const std::string& help,
                     bool required) {
  impl->app->add_option(name, target, help)->required(required);
}
void Verb::footer(const std::string& text) {
  impl->app->footer(text);
}
void Verb::action(std::function<Exit()> run) {
  impl->action = std::move(run);
}

struct CommandLine::Impl {
  CLI::App app;
  std::string program, default_config, config;
  std::vector<Verb> verbs;
  bool with_verbs = false;

  Verb make(CLI::App* app_of_verb) {
    Verb verb;
    verb.impl = std::make_shared<Verb::Impl>();
    verb.impl->app = app_of_verb;
    if (!default_config.empty())
      app_of_verb->add_option("--config", config, "configuration file [" + default_config + "]")
          ->option_text("FILE");
    verbs.push_back(verb);
    return verb;
  }

  // CLI11 would say that a subcommand is required, and not which word is none.
  void refuse_unknown_verb(int argc, char** argv) const {
    if (!with_verbs) return;
    std::string known;
    for (const auto& verb : verbs) {
      if (argc > 1 && verb.impl->app->get_name() == argv[1]) return;
      known += (known.empty() ? "" : ", ") + verb.impl->app->get_name();
    }
    if (argc > 1 && argv[1][0] == '-') return;
    bad_value(program, "a verb (" + known + ")", argc > 1 ? argv[1] : "nothing");
  }

  bool known_anywhere(const std::string& key) const {
    for (const auto& verb : verbs)
      if (verb.impl->settings.contains(key)) return true;
    return false;
  }

  void apply_config(const Verb& verb) {
    const std::string file = !config.empty()                               ? config
                             : ::access(default_config.c_str(), F_OK) == 0 ? default_config
                                                                           : "";
    if (file.empty()) return;
    for (const auto& line : read_key_values(file, KeyValueGrammar::plain)) {
      if (!known_anywhere(line.key)) bad_value(line.where, "the name of an option", line.key);
      const auto it = verb.impl->settings.find(line.key);
      if (it == verb.impl->settings.end() || it->second.option->count() > 0) continue;
      if (std::getenv(environment_name(line.key).c_str()) != nullptr && !it->second.many) continue;
      it->second.set(line.value, line.where);
    }
  }

  void apply_environment(const Verb& verb) {
    for (const auto& [key, setting] : verb.impl->settings) {
      const char* value = std::getenv(environment_name(key).c_str());
      if (value != nullptr && setting.option->count() == 0) setting.set(value, environment_name(key));
    }
  }
};

CommandLine::CommandLine(const std::string& program, const std::string& description,
                         const std::string& default_config)
    : impl_(std::make_shared<Impl>()) {
  impl_->program = program;
  impl_->default_config = default_config;
  impl_->app.name(program);
  impl_->app.description(description);
  impl_->app.set_version_flag("--version", program + " " VS_VERSION);
  impl_->app.get_formatter()->column_width(34);
}

Verb CommandLine::verb(const std::string& name, const std::string& description) {
  impl_->with_verbs = true;
  impl_->app.require_subcommand(1);
  return impl_->make(impl_->app.add_subcommand(name, description));
}

Verb CommandLine::whole() {
  return impl_->make(&impl_->app);
}

int CommandLine::run(int argc, char** argv) {
  const int code = run_verb(argc, argv);
  // What is still in the buffers: an answer that could not be written is none.
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  if (errno == EPIPE) return kReaderLeft;
  std::cerr << impl_->program << ": error: " << problem_from_errno("write", "standard output").message
            << "\n";
  return code != 0 ? code : static_cast<int>(Exit::failed);
}

int CommandLine::run_verb(int argc, char** argv) {
  try {
    impl_->refuse_unknown_verb(argc, argv);
    impl_->app.parse(argc, argv);
    for (const auto& verb : impl_->verbs) {
      if (impl_->with_verbs && !verb.impl->app->parsed()) continue;
      impl_->apply_config(verb);
      impl_->apply_environment(verb);
      return static_cast<int>(verb.impl->action());
    }
  } catch (const CLI::Success& success) {  // --help, --version
    return impl_->app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::cerr << impl_->program << ": error: " << error.what() << "; see " << impl_->program << " --help\n";
    return static_cast<int>(Exit::usage);
  } catch (const Error& error) {
    std::cerr << impl_->program << ": error: " << error.what() << "\n";
    return static_cast<int>(error.code());
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::broken_pipe) return kReaderLeft;
    std::cerr << impl_->program << ": error: " << error.what() << "\n";
  } catch (const std::exception& error) {
    std::cerr << impl_->program << ": error: " << error.what() << "\n";
  }
  return static_cast<int>(Exit::failed);
}

std::string exit_codes(const std::string& codes, const std::string& example) {
  return "Exit codes: " + codes + "\nExample:    " + example;
}

}  // namespace vs
