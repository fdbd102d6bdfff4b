#include "backup/mount/mount_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "backup/archive/host_tree.h"
#include "backup/archive/stored_objects.h"
#include "backup/mount/node_attributes.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

using Kind = NodeNumbers::Meaning::Kind;

// A state of a million names takes some hundred MiB.
constexpr size_t kStates = 4;
// Entries of directories that were looked into last, some 300 bytes each.
constexpr size_t kEntries = 100'000;
// Frames unpack to 1 to 5 MiB; a few for each file that is being read.
constexpr size_t kFrameBytes = size_t{64} << 20;

constexpr const char* kLatest = "latest";

Problem not_there() {
  return {ENOENT, ""};
}

// As a person would ask for it.
std::string shown(const std::string& guest, const std::string& stamp, const std::string& path) {
  return fmt::format("{}@{}:{}", escaped(guest), escaped(stamp), escaped(path));
}

// What is stored cannot be given.
Problem damaged(const std::string& what, const Problem& why) {
  return {EIO, what + ": " + why.message};
}

}  // namespace

MountTree::MountTree(const std::string& path)
    : mounted_(timespec_of_now()),
      stored_(path),
      states_(kStates),
      directories_(kEntries),
      frames_(kFrameBytes) {}

// --- Above the states -------------------------------------------------------------------------------------

Expected<Node> MountTree::node_above(const Meaning& meaning) {
  if (meaning.kind == Kind::root)
    return Node{directory_attributes(NodeNumbers::kRoot, stored_.guests().size(), mounted_)};
  const auto stamps = stored_.stamps(meaning.guest);
  if (stamps.empty()) return not_there();
  if (meaning.kind == Kind::latest)
    return Node{link_attributes(numbers_.of_latest(meaning.guest), stamps.back(), mounted_)};
  return Node{directory_attributes(numbers_.of_guest(meaning.guest), stamps.size(), mounted_)};
}

Expected<Node> MountTree::lookup_above(const Meaning& meaning, const std::string& name) {
  if (meaning.kind == Kind::root) {
    const auto guests = stored_.guests();
    if (std::find(guests.begin(), guests.end(), guest_of_tree(name)) == guests.end()) return not_there();
    return node(numbers_.of_guest(name));
  }
  if (name == kLatest) return node(numbers_.of_latest(meaning.guest));
  const auto stamps = stored_.stamps(meaning.guest);
  if (std::find(stamps.begin(), stamps.end(), name) == stamps.end()) return not_there();
  auto root = node(numbers_.of_state({meaning.guest, name}));
  if (root) root->fixed = false;  // its name may go
  return root;
}

Expected<Listing> MountTree::list_above(const Meaning& meaning) {
  Listing listing;
  if (meaning.kind == Kind::root) {
    listing = {{".", NodeNumbers::kRoot, S_IFDIR}, {"..", NodeNumbers::kRoot, S_IFDIR}};
    for (const auto& guest : stored_.guests()) listing.push_back({guest, numbers_.of_guest(guest), S_IFDIR});
    return listing;
  }
  listing = {{".", numbers_.of_guest(meaning.guest), S_IFDIR}, {"..", NodeNumbers::kRoot, S_IFDIR}};
  const auto stamps = stored_.stamps(meaning.guest);
  for (const auto& stamp : stamps)
    listing.push_back({stamp, numbers_.of_state({meaning.guest, stamp}), S_IFDIR});
  if (!stamps.empty()) listing.push_back({kLatest, numbers_.of_latest(meaning.guest), S_IFLNK});
  return listing;
}

// --- Within a state ---------------------------------------------------------------------------------------

Expected<std::shared_ptr<const StateIndex>> MountTree::load(const Meaning& meaning) {
  using States = decltype(states_);
  auto loaded = states_.get(meaning.base, [&]() -> Expected<States::Made> {
    auto state = stored_.state(meaning.state.guest, meaning.state.stamp);
    if (!state) return state.error();
    if (!numbers_.is_the_same(meaning.base, state->newest_digest))
      return Problem{0, "it is another backup than the one that was there"};
    return States::Made{std::make_shared<const StateIndex>(std::move(*state))};
  });
  if (!loaded) return damaged(shown(meaning.state.guest, meaning.state.stamp, ""), loaded.error());
  return loaded;
}

Expected<MountTree::Entries> MountTree::entries(const StateIndex& index, uint64_t base,
                                                const StateIndex::Directory& directory) {
  using Directories = decltype(directories_);
  return directories_.get(base + directory.number, [&]() -> Expected<Directories::Made> {
    std::vector<Entry> found;
    if (!decode_dir(*directory.text, found))
      return damaged(shown(index.state().guest, index.state().stamp, *directory.path),
                     {0, "its record in the catalog makes no sense"});
    const size_t weight = found.size();
    return Directories::Made{std::make_shared<const std::vector<Entry>>(std::move(found)), weight};
  });
}

Expected<MountTree::Inside> MountTree::inside(uint64_t number) {
  const Meaning meaning = numbers_.meaning(number);
  if (meaning.kind != Kind::state) return not_there();
  Inside found;
  auto index = load(meaning);
  if (!index) return index.error();
  found.index = std::move(*index);
  found.base = meaning.base;
  found.directory = found.index->holder(meaning.within);
  if (found.directory == nullptr) return not_there();
  auto listed = entries(*found.index, found.base, *found.directory);
  if (!listed) return listed.error();
  found.entries = std::move(*listed);
  found.place = static_cast<size_t>(meaning.within - found.directory->number);
  return found;
}

Expected<MountTree::Inside> MountTree::child(const Inside& parent, const std::string& name) {
  const Entry* entry = find_name(*parent.entries, name);
  if (parent.place != 0) return Problem{ENOTDIR, ""};
  if (entry == nullptr) return not_there();
  if (entry->type != 'd') {
    Inside found = parent;
    found.place = static_cast<size_t>(entry - parent.entries->data());
    return found;
  }
  const auto* directory = parent.index->find(join_path(*parent.directory->path, name));
  if (directory == nullptr) return not_there();
  return inside(parent.base + directory->number);
}

std::string MountTree::shown_path(const Inside& inside) {
  const GuestState& state = inside.index->state();
  const std::string& name = (*inside.entries)[inside.place].name;
  return shown(state.guest, state.stamp, join_path(*inside.directory->path, name));
}

Expected<Entry> MountTree::entry(const Inside& inside) {
  const Entry& entry = (*inside.entries)[inside.place];
  if (entry.pool == 0) return entry;
  auto member = stored_.member(entry);
  if (member) return member;
  return damaged(shown_path(inside), member.error());
}

Expected<Node> MountTree::node(const Inside& inside) {
  const auto whole = entry(inside);
  if (!whole) return whole.error();
  if (inside.place == 0) {
    const auto below = static_cast<size_t>(std::count_if(inside.entries->begin() + 1, inside.entries->end(),
                                                         [](const Entry& e) { return e.type == 'd'; }));
    return Node{attributes_of(*whole, inside.base + inside.directory->number, below + 2), true};
  }
  const auto names = inside.index->names(*inside.directory, inside.place, *whole);
  return Node{attributes_of(*whole, inside.base + names.number, names.count), true};
}

Listing MountTree::list_inside(const Inside& inside) {
  const StateIndex& index = *inside.index;
  const std::string& path = *inside.directory->path;
  const auto* above = path.empty() ? nullptr : index.find(split_path(path).first);
  const uint64_t up = above != nullptr ? inside.base + above->number : numbers_.of_guest(index.state().guest);
  Listing listing{{".", inside.base + inside.directory->number, S_IFDIR}, {"..", up, S_IFDIR}};
  for (size_t i = 1; i < inside.entries->size(); ++i) {
    const Entry& entry = (*inside.entries)[i];
    if (entry.type != 'd') {
      const uint64_t number = inside.base + index.names(*inside.directory, i, entry).number;
      listing.push_back({entry.name, number, type_bits(entry.type)});
    } else if (const auto* directory = index.find(join_path(path, entry.name))) {
      listing.push_back({entry.name, inside.base + directory->number, S_IFDIR});
    }
  }
  return listing;
}

// --- What is asked ----------------------------------------------------------------------------------------

Expected<Node> MountTree::node(uint64_t number) {
  const Meaning meaning = numbers_.meaning(number);
  if (meaning.kind == Kind::nothing) return not_there();
  if (meaning.kind != Kind::state) return node_above(meaning);
  const auto found = inside(number);
  if (!found) return found.error();
  return node(*found);
}

Expected<Node> MountTree::lookup(uint64_t directory, const std::string& name) {
  const Meaning meaning = numbers_.meaning(directory);
  if (meaning.kind == Kind::nothing || meaning.kind == Kind::latest) return not_there();
  if (meaning.kind != Kind::state) return lookup_above(meaning, name);
  const auto parent = inside(directory);
  if (!parent) return parent.error();
  const auto found = child(*parent, name);
  if (!found) return found.error();
  return node(*found);
}

Expected<std::shared_ptr<const Listing>> MountTree::list(uint64_t directory) {
  const Meaning meaning = numbers_.meaning(directory);
  if (meaning.kind != Kind::state) {
    auto listing = list_above(meaning);
    if (!listing) return listing.error();
    return std::make_shared<const Listing>(std::move(*listing));
  }
  const auto found = inside(directory);
  if (!found) return found.error();
  if (found->place != 0) return Problem{ENOTDIR, ""};
  return std::make_shared<const Listing>(list_inside(*found));
}

Expected<std::string> MountTree::target(uint64_t number) {
  const Meaning meaning = numbers_.meaning(number);
  if (meaning.kind == Kind::latest) {
    const auto stamps = stored_.stamps(meaning.guest);
    if (stamps.empty()) return not_there();
    return stamps.back();
  }
  const auto found = inside(number);
  if (!found) return found.error();
  const auto whole = entry(*found);
  if (!whole) return whole.error();
  return whole->target;
}

Expected<std::vector<Xattr>> MountTree::xattrs(uint64_t number) {
  if (numbers_.meaning(number).kind != Kind::state) return std::vector<Xattr>{};
  const auto found = inside(number);
  if (!found) return found.error();
  const auto whole = entry(*found);
  if (!whole) return whole.error();
  return decode_xattrs(whole->xattrs);
}

Expected<std::shared_ptr<StoredFile>> MountTree::open(uint64_t number) {
  const auto found = inside(number);
  if (!found) return found.error();
  auto whole = entry(*found);
  if (!whole) return whole.error();
  if (whole->type != 'f') return Problem{EIO, ""};
  auto archive =
      whole->pool != 0 ? stored_.pool_archive(*whole) : stored_.archive(found->index->state(), *whole);
  if (!archive) return damaged(shown_path(*found), archive.error());
  return std::make_shared<StoredFile>(shown_path(*found), std::move(*whole), std::move(*archive), frames_);
}

}  // namespace vs::backup
