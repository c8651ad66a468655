#include "io/hub.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"

namespace lorica::io {
namespace {

using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kCommit(40, 'a');

/// Sets a variable for one test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    value ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Variable() { old_.empty() ? ::unsetenv(name_) : ::setenv(name_, old_.c_str(), 1); }

 private:
  const char* name_;
  std::string old_;
};

TEST(Hub, TheCacheFolderFollowsTheEcosystemsVariables) {
  Variable a("HF_HUB_CACHE", nullptr), b("HF_HOME", nullptr), c("XDG_CACHE_HOME", nullptr), d("HOME", "/h"),
      e("HUGGINGFACE_HUB_CACHE", nullptr);
  EXPECT_EQ(hub_cache_folder(), "/h/.cache/huggingface/hub");
  Variable xdg("XDG_CACHE_HOME", "/x");
  EXPECT_EQ(hub_cache_folder(), "/x/huggingface/hub");
  Variable hf("HF_HOME", "~/hf");
  EXPECT_EQ(hub_cache_folder(), "/h/hf/hub");
  Variable cache("HF_HUB_CACHE", "/c");
  EXPECT_EQ(hub_cache_folder(), "/c");
}

TEST(Hub, Ids) {
  for (const char* id : {"gpt2", "meta-llama/Llama-2-7b-hf", "a/b.c_d"}) EXPECT_TRUE(is_hub_id(id)) << id;
  for (const char* id : {"", "/a", "a/", "a/b/c", "./a", "../a", "a b", "a/\xc3\xa9"})
    EXPECT_FALSE(is_hub_id(id)) << id;
}

TEST(Hub, AFolderIsTakenAsItIs) {
  TemporaryFolder folder;
  EXPECT_EQ(find_model(folder.path().string(), "main", folder / "cache"), folder.path());
}

TEST(Hub, ASnapshotIsFoundByBranchTagAndCommit) {
  TemporaryFolder cache;
  const auto entry = cache / "models--org--name";
  put_file(entry / "refs" / "main", kCommit + "\n");
  put_file(entry / "refs" / "refs/pr/1", kCommit);
  put_file(entry / "snapshots" / kCommit / "config.json", "{}");
  for (const auto& revision : {std::string("main"), std::string("refs/pr/1"), kCommit}) {
    EXPECT_EQ(find_model("org/name", revision, cache.path()), entry / "snapshots" / kCommit) << revision;
  }
}

TEST(Hub, WhatIsMissingIsNamedWithTheCommandThatFetchesIt) {
  TemporaryFolder cache;
  const auto fault = [&](const std::string& name, const std::string& revision = "main") {
    return message_of<FileError>([&] { find_model(name, revision, cache.path()); });
  };
  EXPECT_THAT(fault("org/name"), AllOf(HasSubstr("no model of that name"), HasSubstr(cache.path().string()),
                                       HasSubstr("hf download org/name")));
  EXPECT_THAT(fault("no/such/folder"), HasSubstr("no such folder"));
  EXPECT_THAT(fault(""), HasSubstr("empty"));
  put_file(cache / "models--org--name/refs/main", kCommit);
  EXPECT_THAT(fault("org/name", "v2"), AllOf(HasSubstr("no revision \"v2\""), HasSubstr("--revision v2")));
  EXPECT_THAT(fault("org/name"), HasSubstr("files are not there"));
  std::filesystem::create_directories(cache / ("models--org--name/snapshots/" + kCommit));
  EXPECT_THAT(fault("org/name"), HasSubstr("config.json"));
  EXPECT_THAT(fault("org/name", "../../x"), HasSubstr("not a revision"));
  put_file(cache / "models--org--name/refs/main", "../../../etc");
  EXPECT_THAT(fault("org/name"), HasSubstr("files are not there"));
}

}  // namespace
}  // namespace lorica::io
