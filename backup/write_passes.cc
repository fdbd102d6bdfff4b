#include "backup/write_passes.h"

#include <utility>

namespace vs::backup {
namespace {

// Of an entry: its header, and mostly a pax header with its records. 512 made blocks of links three times as
// large as they were meant to be.
constexpr uint64_t kHeaderBytes = 1536;

template <class Call>
void each_target(const std::vector<Target*>& targets, const Pipeline& pipeline, const Call& call) {
  for (size_t t = 0; t < targets.size(); ++t)
    if (!pipeline.failed(t)) call(*targets[t]);
}

}  // namespace

WritePasses::WritePasses(const RunView& run, std::vector<bool>& gone,
                         const std::unordered_set<uint32_t>& sample, const std::vector<Target*>& targets,
                         Pipeline& pipeline, const BeforeFinish& before_finish, RunContext& context)
    : run_(run),
      gone_(gone),
      sample_(sample),
      targets_(targets),
      pipeline_(pipeline),
      before_finish_(before_finish),
      blocks_(pipeline),
      large_files_(run, targets, pipeline, blocks_, context) {}

void WritePasses::write_shared() {
  for (uint32_t i = 0; i < run_.host.inodes.size(); ++i) {
    const Inode& inode = run_.host.inodes[i];
    if (!inode.shared || is_dir(inode)) continue;
    Item item = item_of(Item::Kind::shared, i);
    item.path = run_.host.first_path(inode);
    for (size_t t = 0; t < targets_.size(); ++t)
      if (!pipeline_.failed(t) && targets_[t]->wants_shared(i) != DirectoryWants::no) item.wanted |= 1u << t;
    plan_item(std::move(item));
  }
  large_files_.settle_all();
  // What the sink calls refers to what outlives the pipeline: this object goes before it when a run fails.
  blocks_.end_block([&targets = targets_, &pipeline = pipeline_, &before = before_finish_] {
    if (before.must_hold) before.must_hold();
    each_target(targets, pipeline, [](Target& target) { target.end_shared(); });
  });
  // Nothing is under way after this, so what the sink merged may be looked at: names of what is gone are not
  // planned.
  pipeline_.drain();
  gone_ = pipeline_.read_inodes().all_gone();
}

void WritePasses::write_guest(uint32_t guest) {
  each_target(targets_, pipeline_, [&](Target& target) { target.begin_guest(guest); });
  std::vector<std::pair<uint32_t, std::string>> stack{{run_.host.trees[guest].root, ""}};
  while (!stack.empty()) {
    const auto [dir, path] = std::move(stack.back());
    stack.pop_back();
    plan_directory(guest, dir, path);
    const auto& children = run_.host.dirs[dir].children;
    for (auto it = children.rbegin(); it != children.rend(); ++it)
      if (const Inode& inode = run_.host.inodes[it->inode]; is_dir(inode))
        stack.emplace_back(inode.dir, join_path(path, run_.host.trees[guest].name(it->name)));
  }
  large_files_.settle_all();
  blocks_.end_block([&targets = targets_, &pipeline = pipeline_, &before = before_finish_, guest] {
    if (before.must_hold) before.must_hold();
    if (before.was_read) before.was_read(guest);
    each_target(targets, pipeline, [guest](Target& target) { target.end_guest(guest); });
  });
}

Item WritePasses::item_of(Item::Kind kind, uint32_t inode) const {
  Item item;
  item.kind = kind;
  item.inode = inode;
  item.guest = run_.host.inodes[inode].guest;
  item.dir = run_.host.inodes[inode].dir;
  return item;
}

std::vector<DirectoryWants> WritePasses::ask_targets(uint32_t guest, uint32_t dir, const std::string& path) {
  std::vector<DirectoryWants> wants(targets_.size());
  for (size_t t = 0; t < targets_.size(); ++t) {
    if (pipeline_.failed(t))
      wants[t].children.assign(run_.host.dirs[dir].children.size(), DirectoryWants::no);
    else
      wants[t] = targets_[t]->plan_directory(guest, dir, path);
  }
  return wants;
}

void WritePasses::plan_directory(uint32_t guest, uint32_t dir, const std::string& path) {
  const DirNode& node = run_.host.dirs[dir];
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

void WritePasses::plan_child(uint32_t guest, uint32_t dir, const std::string& path, size_t number,
                             const std::vector<DirectoryWants>& wants) {
  const Child& child = run_.host.dirs[dir].children[number];
  const Inode& inode = run_.host.inodes[child.inode];
  if (is_dir(inode) || gone_[child.inode]) return;
  const bool first = inode.guest == guest && inode.dir == dir && inode.name == child.name;
  const auto kind = inode.shared ? Item::Kind::name : first ? Item::Kind::object : Item::Kind::link;
  Item item = item_of(kind, child.inode);
  item.guest = guest;
  item.path = join_path(path, run_.host.trees[guest].name(child.name));
  for (size_t t = 0; t < targets_.size(); ++t)
    if (wants[t].children[number] != DirectoryWants::no) item.wanted |= 1u << t;
  plan_item(std::move(item));
}

void WritePasses::plan_item(Item item) {
  const Inode& inode = run_.host.inodes[item.inode];
  const bool reference = item.kind == Item::Kind::link || item.kind == Item::Kind::name;
  const bool known = reference || run_.known.known(item.inode);
  if (known && item.wanted == 0) {
    if (reference || !sample_.contains(item.inode)) return;
    item.verify = true;
    return blocks_.add(std::move(item), inode.size < kPiece ? inode.size : kPiece);
  }
  const bool content = is_file(inode) && !reference;
  item.read = !known || (content && item.wanted != 0);
  if (item.read && content && inode.size > kPiece) {
    if (large_files_.store(item)) return;
    gone_[item.inode] = true;
    return blocks_.add_gone(item.inode);
  }
  const uint64_t bytes = kHeaderBytes + item.list.size() + (item.read && content ? inode.size : 0);
  blocks_.add(std::move(item), bytes);
}

}  // namespace vs::backup
