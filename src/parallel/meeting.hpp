// The processes of a run find each other and agree. Inside parallel/ only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/Store.hpp>

#include "config/config.hpp"
#include "parallel/place.hpp"
#include "parallel/watch.hpp"

namespace lorica::parallel {

using StorePointer = c10::intrusive_ptr<c10d::Store>;

/// Connections to the run's store. The first one of rank 0 is the store's server as well, and must live longest.
class StoreAccess {
 public:
  /// Waits up to `limit` seconds for rank 0 to open the store. Throws PeerError, ConfigError (port in use).
  StoreAccess(const Place& place, double limit);
  StorePointer connect() const;
  const StorePointer& first() const { return first_; }
  const std::string& host() const { return host_; }
  int port() const { return port_; }

 private:
  StorePointer open(int listening) const;

  std::string host_, prefix_;
  int port_ = 0;
  double limit_;
  StorePointer first_;
};

/// Who is there: what each process said of itself.
struct Greeting {
  int world = 0;
  std::string host, process, here, there;  ///< its route to the store: own end, the store's end
};

/// Says who this process is. Throws ConfigError when another has that rank or expects another number of processes (and
/// tells the others, if they are still meeting; a run that is under way isn't disturbed).
void introduce(const config::Config& config, const Place& place, const StoreAccess& access, double limit);

/// Collective. Waits until all are there and their configurations agree; everybody's greeting. Throws ConfigError,
/// PeerError.
std::vector<Greeting> meet(const Place& place, const StoreAccess& access, Watch& watch, double limit);

/// What differs between two configurations (as to_toml writes them) that must agree: "lr: 0.1 for rank 0, 0.2 for rank
/// 3"; a line each.
std::vector<std::string> differences(const std::string& first, const std::string& other, int rank);

}  // namespace lorica::parallel
