#include "backup/write_passes.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vs::backup {
namespace {

// Of an entry: its header, and mostly a pax header with its records. 512 made blocks of links three times as
// large as they were meant to be.
constexpr uint64_t kHeaderBytes = 1536;

// Inodes held open at once, beside what the pipeline opens: when there are that many it is waited for them to
// be read, so few are slow. The usual limit of a process, 1024 descriptors, gives 384.
size_t most_held() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 512) return 64;
  return std::min<size_t>(4096, (limit.rlim_cur - 256) / 2);
}

}  // namespace

WritePasses::WritePasses(const RunView& run, ScannedHost& host, TypedBits<InodeNumber>& gone,
                         const std::unordered_set<InodeNumber>& sample, const std::vector<Target*>& targets,
                         Pipeline& pipeline, const BeforeFinish& before_finish, RunContext& context)
    : run_(run),
      host_(host),
      gone_(gone),
      sample_(sample),
      targets_(targets),
      pipeline_(pipeline),
      context_(context),
      before_finish_(before_finish),
      blocks_(pipeline),
      most_held_(most_held()),
      large_files_(run, targets, pipeline, blocks_, context) {}

void WritePasses::write_shared() {
  std::unordered_map<InodeNumber, uint32_t>
      wanted;  // by inode with other names, what is read: by which targets
  for (InodeNumber i; i < host_.inodes.next_number(); ++i) {
    const Inode& inode = host_.inodes[i];
    if (!inode.shared || is_dir(inode)) continue;
    Item item = item_of(Item::Kind::shared, i);
    item.path = host_.first_path(inode);
    for (size_t t = 0; t < targets_.size(); ++t)
      if (!pipeline_.failed(t))
        pipeline_.with_target(t, [&](Target& target) {
          if (target.wants_shared(i) != DirectoryWants::no) item.wanted |= 1u << t;
        });
    item.last_try = inode.names < 2;
    if (!item.last_try && will_read(item)) wanted.emplace(i, item.wanted);
    plan_item(std::move(item));
  }
  large_files_.settle_all();
  blocks_.drain();
  try_other_names(wanted);
  // What the sink calls refers to what outlives the pipeline: this object goes before it when a run fails.
  blocks_.end_block([&pipeline = pipeline_, &before = before_finish_] {
    if (before.must_hold) before.must_hold();
    pipeline.each_target([](Target& target) { target.end_shared(); });
  });
  // Nothing is under way after this, so what the sink merged may be looked at: names of what is gone are not
  // planned.
  pipeline_.drain();
  gone_.resize(host_.inodes.size());
  for (InodeNumber i; i < gone_.next_number(); ++i) gone_[i] = pipeline_.read_inodes().gone(i);
}

// What its first name did not lead to, guests move their directories, is read by another; what no name leads
// to any more is one file a name now, if it is there at all.
void WritePasses::try_other_names(const std::unordered_map<InodeNumber, uint32_t>& wanted) {
  const auto missed = [&](InodeNumber i) { return pipeline_.read_inodes().gone(i) && wanted.contains(i); };
  if (std::none_of(wanted.begin(), wanted.end(), [&](const auto& one) { return missed(one.first); })) return;
  const OtherNames names(host_, {}, host_.guests.next_number(), missed);
  std::vector<InodeNumber> nowhere;
  for (InodeNumber i; i < host_.inodes.next_number(); ++i) {
    if (names.of(i).empty()) continue;
    Item item = item_of(Item::Kind::shared, i);
    item.wanted = wanted.at(i);
    auto found = names.open(i);
    if (!found && found.error().code == ESTALE) {
      nowhere.push_back(i);
    } else if (!found) {
      context_.log.object_failed(found.error().message);
    } else {
      item.guest = found->guest;
      item.path = std::move(found->path);
      item.opened = std::move(found->opened);
      plan_item(std::move(item));
      limit_held();
    }
  }
  large_files_.settle_all();
  blocks_.drain();
  for (const InodeNumber inode : nowhere) split_names(host_, names.of(inode));
}

void WritePasses::limit_held() {
  if (++held_ < most_held_) return;
  blocks_.drain();
  held_ = 0;
}

void WritePasses::write_guest(GuestNumber guest) {
  names_.reset();
  pipeline_.each_target([&](Target& target) { target.begin_guest(guest); });
  std::vector<std::pair<DirNumber, std::string>> stack{{host_.trees[guest].root, ""}};
  while (!stack.empty()) {
    const auto [dir, path] = std::move(stack.back());
    stack.pop_back();
    plan_directory(guest, dir, path);
    const auto& children = host_.dirs[dir].children;
    for (auto it = children.rbegin(); it != children.rend(); ++it)
      if (const Inode& inode = host_.inodes[it->inode]; is_dir(inode))
        stack.emplace_back(inode.dir, join_path(path, host_.trees[guest].name(it->name)));
  }
  large_files_.settle_all();
  blocks_.end_block([&pipeline = pipeline_, &before = before_finish_, guest] {
    if (before.must_hold) before.must_hold();
    if (before.was_read) before.was_read(guest);
    pipeline.each_target([guest](Target& target) { target.end_guest(guest); });
  });
}

Item WritePasses::item_of(Item::Kind kind, InodeNumber inode) const {
  Item item;
  item.kind = kind;
  item.inode = inode;
  item.guest = host_.inodes[inode].guest;
  item.dir = host_.inodes[inode].dir;
  return item;
}

std::vector<DirectoryWants> WritePasses::ask_targets(GuestNumber guest, DirNumber dir,
                                                     const std::string& path) {
  std::vector<DirectoryWants> wants(targets_.size());
  for (auto& none : wants) none.children.assign(host_.dirs[dir].children.size(), DirectoryWants::no);
  for (size_t t = 0; t < targets_.size(); ++t)
    if (!pipeline_.failed(t))
      pipeline_.with_target(t, [&](Target& target) { wants[t] = target.plan_directory(guest, dir, path); });
  return wants;
}

void WritePasses::plan_directory(GuestNumber guest, DirNumber dir, const std::string& path) {
  const DirNode& node = host_.dirs[dir];
  const std::vector<DirectoryWants> wants = ask_targets(guest, dir, path);
  Item self = item_of(Item::Kind::directory, node.inode);
  self.guest = guest;
  self.path = path;
  for (size_t t = 0; t < targets_.size(); ++t) {
    if (wants[t].self == DirectoryWants::no) continue;
    self.wanted |= 1u << t;
    if (!wants[t].list.empty()) self.list = wants[t].list;
  }
  plan_item(std::move(self));
  for (size_t child = 0; child < node.children.size(); ++child) plan_child(guest, dir, path, child, wants);
}

void WritePasses::plan_child(GuestNumber guest, DirNumber dir, const std::string& path, size_t number,
                             const std::vector<DirectoryWants>& wants) {
  const Child& child = host_.dirs[dir].children[number];
  const Inode& inode = host_.inodes[child.inode];
  if (is_dir(inode) || gone_[child.inode]) return;
  const bool first = inode.guest == guest && inode.dir == dir && inode.name == child.name;
  const auto kind = inode.shared ? Item::Kind::name : first ? Item::Kind::object : Item::Kind::link;
  Item item = item_of(kind, child.inode);
  item.guest = guest;
  item.path = join_path(path, host_.trees[guest].name(child.name));
  for (size_t t = 0; t < targets_.size(); ++t)
    if (wants[t].children[number] != DirectoryWants::no) item.wanted |= 1u << t;
  if (kind == Item::Kind::object && inode.names > 1 && will_read(item) && !hold(item)) {
    if (gone_[child.inode]) return;
    return plan_child(guest, dir, path, number, wants);  // now that it is an inode of its own
  }
  plan_item(std::move(item));
}

// An inode of which other names will be links to this one, held open so that it cannot go any more: else they
// would lead nowhere. False if that cannot be: it is gone, and named, or each of its names is an inode of its
// own now.
bool WritePasses::hold(Item& item) {
  auto opened = open_inode(host_, host_.inodes[item.inode], item.guest, item.path);
  if (opened) {
    item.opened = std::make_shared<OpenedInode>(std::move(*opened));
    limit_held();
    return true;
  }
  if (!names_) {
    const auto linked = [&](InodeNumber i) { return !host_.inodes[i].shared && host_.inodes[i].names > 1; };
    names_ = std::make_unique<OtherNames>(host_, item.guest, item.guest + 1, linked);
  }
  auto by_other = names_->open(item.inode);
  if (by_other) {
    item.opened = std::move(by_other->opened);
    limit_held();
    return true;
  }
  if (by_other.error().code == ESTALE) {
    blocks_.drain();
    split_names(host_, names_->of(item.inode));
    gone_.resize(host_.inodes.size());
  } else {
    context_.log.object_failed(by_other.error().message);
    gone_[item.inode] = true;
    blocks_.add_gone(item.inode);
  }
  return false;
}

bool WritePasses::will_read(const Item& item) const {
  return !run_.known.known(item.inode) || (is_file(host_.inodes[item.inode]) && item.wanted != 0);
}

void WritePasses::plan_item(Item item) {
  const Inode& inode = host_.inodes[item.inode];
  const bool reference = item.kind == Item::Kind::link || item.kind == Item::Kind::name;
  const bool known = reference || run_.known.known(item.inode);
  if (known && item.wanted == 0) {
    if (reference || !sample_.contains(item.inode)) return;
    item.verify = true;
    return blocks_.add(std::move(item), inode.size < kPiece ? inode.size : kPiece);
  }
  const bool content = is_file(inode) && !reference;
  item.read = !reference && will_read(item);
  if (item.read && content && inode.size > kPiece) {
    if (large_files_.store(item)) return;
    gone_[item.inode] = true;
    return blocks_.add_gone(item.inode);
  }
  const uint64_t bytes =
      kHeaderBytes + item.path.size() + item.list.size() + (item.read && content ? inode.size : 0);
  blocks_.add(std::move(item), bytes);
}

}  // namespace vs::backup
