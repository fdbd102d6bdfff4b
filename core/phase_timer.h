// How long each pass took, in the order they ran; a pass that runs twice is summed.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace vs {

class PhaseTimer {
 public:
  class Scope {
   public:
    Scope(PhaseTimer& timer, std::string pass) : timer_(timer), pass_(std::move(pass)) {}
    ~Scope() { timer_.add(pass_, std::chrono::duration<double>(Clock::now() - started_).count()); }
    Scope(const Scope&) = delete;

   private:
    using Clock = std::chrono::steady_clock;
    PhaseTimer& timer_;
    std::string pass_;
    Clock::time_point started_ = Clock::now();
  };
  [[nodiscard]] Scope time(std::string pass) { return Scope(*this, std::move(pass)); }
  const std::vector<std::pair<std::string, double>>& passes() const { return passes_; }
  double total() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  }

 private:
  void add(const std::string& pass, double seconds) {
    for (auto& [name, sum] : passes_)
      if (name == pass) return void(sum += seconds);
    passes_.emplace_back(pass, seconds);
  }
  std::vector<std::pair<std::string, double>> passes_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace vs
