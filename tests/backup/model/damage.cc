#include "tests/backup/model/damage.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kArchive = ".tar.zst";
constexpr const char* kCatalog = ".catalog";

class Damage {
 public:
  Damage(SetFiles& files, const FileVersions& own, const FileVersions& other, Dice& dice)
      : files_(files), own_(own), other_(other), dice_(dice) {}

  std::string one() {
    using Kind = std::string (Damage::*)();
    static constexpr Kind kKinds[] = {
        &Damage::lose,      &Damage::lose_pair,   &Damage::tear,      &Damage::flip,
        &Damage::flip,      &Damage::flip,        &Damage::swap,      &Damage::swap,
        &Damage::swap_pair, &Damage::swap_pair,   &Damage::turn_back, &Damage::turn_back,
        &Damage::come_back, &Damage::rename_pair, &Damage::overwrite, &Damage::append,
    };
    // Few histories have any, and it is what is hardest to tell.
    if (dice_.one_in(3))
      if (auto what = exchange(); !what.empty()) return what;
    return (this->*kKinds[dice_.below(std::size(kKinds))])();
  }

 private:
  std::string any_name() {
    return std::next(files_.begin(), static_cast<ptrdiff_t>(dice_.below(files_.size())))->first;
  }
  // The name of an archive without its suffix; "" for none.
  std::string any_archive() {
    std::vector<std::string> stems;
    for (const auto& [name, bytes] : files_)
      if (name.ends_with(kArchive)) stems.push_back(name.substr(0, name.size() - 8));
    return stems.empty() ? "" : dice_.pick(stems);
  }

  std::string lose() {
    const std::string name = any_name();
    files_.erase(name);
    return "lost " + name;
  }
  std::string lose_pair() {
    const std::string stem = any_archive();
    if (stem.empty()) return "";
    for (const char* suffix : {kArchive, kCatalog}) files_.erase(stem + suffix);
    return "lost " + stem;
  }
  std::string tear() {
    const std::string name = any_name();
    std::string& bytes = files_[name];
    bytes.resize(dice_.one_in(4) ? 0 : dice_.below(bytes.size() + 1));
    return fmt::format("{} cut to {}", name, bytes.size());
  }
  std::string flip() {
    const std::string name = any_name();
    std::string& bytes = files_[name];
    if (bytes.empty()) return "";
    const size_t at =
        dice_.one_in(4) ? dice_.below(std::min<size_t>(bytes.size(), 500)) : dice_.below(bytes.size());
    const auto by = static_cast<char>(dice_.one_in(2) ? 1 << dice_.below(8) : 1 + dice_.below(255));
    bytes[at] = static_cast<char>(bytes[at] ^ by);
    return fmt::format("{} byte {} ^ {:02x}", name, at, static_cast<unsigned char>(by));
  }
  std::string swap() {
    const std::string one = any_name(), other = any_name();
    if (one == other || fs::path(one).extension() != fs::path(other).extension()) return "";
    std::swap(files_[one], files_[other]);
    return "swapped " + one + " and " + other;
  }
  std::string swap_pair() {
    const std::string one = any_archive(), other = any_archive();
    if (one == other || !files_.contains(one + kCatalog) || !files_.contains(other + kCatalog)) return "";
    for (const char* suffix : {kArchive, kCatalog}) std::swap(files_[one + suffix], files_[other + suffix]);
    return "swapped all of " + one + " and " + other;
  }
  // What the name had in another night, or has in the other set.
  std::string turn_back() {
    const FileVersions& from = dice_.one_in(2) ? own_ : other_;
    const std::string name = dice_.one_in(3) ? "vbackup.set" : any_name();
    const auto versions = from.all().find(name);
    if (versions == from.all().end() || !files_.contains(name)) return "";
    const std::string& bytes = dice_.pick(versions->second);
    if (bytes == files_[name]) return "";
    files_[name] = bytes;
    return name + " is that of another night or set";
  }
  // What has the same name in the other set, and is something else.
  std::string exchange() {
    std::vector<std::string> stems;
    for (const auto& [name, versions] : other_.all())
      if (const auto it = files_.find(name);
          name.ends_with(kArchive) && it != files_.end() && it->second != versions.back())
        stems.push_back(name.substr(0, name.size() - 8));
    if (stems.empty()) return "";
    const std::string stem = dice_.pick(stems);
    for (const char* suffix : {kArchive, kCatalog})
      if (const auto it = other_.all().find(stem + suffix); it != other_.all().end())
        files_[stem + suffix] = it->second.back();
    return stem + " is that of the other set";
  }
  // Files that were removed, or those of the other set.
  std::string come_back() {
    const FileVersions& from = dice_.one_in(2) ? own_ : other_;
    std::vector<std::string> stems;
    for (const auto& [name, versions] : from.all())
      if (name.ends_with(kArchive)) stems.push_back(name.substr(0, name.size() - 8));
    if (stems.empty()) return "";
    const std::string stem = dice_.pick(stems);
    bool changed = false;
    for (const char* suffix : {kArchive, kCatalog}) {
      const auto versions = from.all().find(stem + suffix);
      if (versions == from.all().end()) continue;
      std::string& bytes = files_[stem + suffix];
      changed = changed || bytes != versions->second.back();
      bytes = versions->second.back();
    }
    return changed ? stem + " came back, or is that of the other set" : "";
  }
  // Under a name that it has not: another pool number, guest or stamp.
  std::string rename_pair() {
    const std::string stem = any_archive();
    std::string to = stem;
    if (stem.empty()) return "";
    if (stem.starts_with("pool"))
      to = "pool-" + std::to_string(1 + dice_.below(12));
    else if (dice_.one_in(2))
      to = (stem.starts_with("alpha") ? "beta" : "alpha") + stem.substr(stem.find('-'));
    else
      to[to.size() - 2] = to[to.size() - 2] == '9' ? '0' : static_cast<char>(to[to.size() - 2] + 1);
    if (to == stem) return "";
    for (const char* suffix : {kArchive, kCatalog})
      if (auto node = files_.extract(stem + suffix); !node.empty()) files_[to + suffix] = node.mapped();
    return stem + " renamed to " + to;
  }
  std::string overwrite() {
    const std::string name = any_name();
    std::string& bytes = files_[name];
    if (bytes.empty()) return "";
    const size_t at = dice_.below(bytes.size()), size = std::min(bytes.size() - at, 1 + dice_.below(4096));
    const std::string noise = dice_.one_in(2) ? std::string(size, '\0') : dice_.bytes(size);
    bytes.replace(at, size, noise);
    return fmt::format("{} overwritten from {} to {}", name, at, at + size);
  }
  std::string append() {
    const std::string name = any_name();
    files_[name] += dice_.bytes(1 + dice_.below(100));
    return name + " is longer";
  }

  SetFiles& files_;
  const FileVersions &own_, &other_;
  Dice& dice_;
};

}  // namespace

SetFiles files_of(const std::string& set) {
  SetFiles files;
  for (const auto& entry : fs::directory_iterator(set)) {
    const std::string name = entry.path().filename();
    if (name != ".lock" && name != "README.txt") files[name] = read_file(entry.path());
  }
  return files;
}

void put_files(const std::string& set, const SetFiles& now, const SetFiles& wanted) {
  for (const auto& [name, bytes] : now)
    if (!wanted.contains(name)) fs::remove(set + "/" + name);
  for (const auto& [name, bytes] : wanted)
    if (const auto it = now.find(name); it == now.end() || it->second != bytes)
      write_file(set + "/" + name, bytes);
}

void FileVersions::add(const SetFiles& files) {
  for (const auto& [name, bytes] : files) {
    auto& versions = versions_[name];
    if (std::find(versions.begin(), versions.end(), bytes) == versions.end()) versions.push_back(bytes);
  }
}

std::string damage(SetFiles& files, const FileVersions& own, const FileVersions& other, Dice& dice) {
  std::string text;
  for (size_t left = dice.one_in(3) ? 1 + dice.below(3) : 1; left > 0 && !files.empty(); --left)
    if (const std::string what = Damage(files, own, other, dice).one(); !what.empty())
      text += (text.empty() ? "" : "; ") + what;
  return text;
}

}  // namespace vs::test
