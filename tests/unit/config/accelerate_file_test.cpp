// Accelerate's configuration files: which option each key becomes, who wins, what is refused.
#include "config/helpers.hpp"

namespace lorica::config::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class AccelerateFile : public WithFolder {
 protected:
  ParsedConfig with(const std::string& yaml, Words more = {}) {
    const Words file = {"--accelerate_config", write("fsdp.yaml", yaml)};
    more.insert(more.begin(), file.begin(), file.end());
    return train(more);
  }
  std::string refused(const std::string& yaml) {
    return train_error({"--accelerate_config", write("fsdp.yaml", yaml)});
  }
};

constexpr const char* kVersion1 = R"(compute_environment: LOCAL_MACHINE
debug: false
distributed_type: FSDP
downcast_bf16: 'no'
enable_cpu_affinity: false
fsdp_config:
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_backward_prefetch: NO_PREFETCH
  fsdp_cpu_ram_efficient_loading: false
  fsdp_forward_prefetch: false
  fsdp_offload_params: false
  fsdp_sharding_strategy: SHARD_GRAD_OP
  fsdp_state_dict_type: SHARDED_STATE_DICT
  fsdp_sync_module_states: true
  fsdp_use_orig_params: false
machine_rank: 0
main_process_ip: 10.0.0.7
main_process_port: 29501
main_training_function: main
mixed_precision: 'no'
num_machines: 1
num_processes: 4
rdzv_backend: static
same_network: true
tpu_env: []
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: false
)";

TEST_F(AccelerateFile, Version1BecomesOurOptions) {
  const auto parsed = with(kVersion1);
  const auto& config = parsed.config;
  EXPECT_EQ(config.sharding_strategy, Sharding::shard_grad_op);
  EXPECT_EQ(config.prefetch_blocks, 0);
  EXPECT_FALSE(config.low_memory);
  EXPECT_FALSE(config.use_cpu_offload);
  EXPECT_EQ(config.world_size, 4);
  EXPECT_EQ(config.master_addr, "10.0.0.7");
  EXPECT_EQ(config.master_port, 29501);
  EXPECT_EQ(config.precision, Precision::fp32);
  EXPECT_THAT(parsed.notes,
              Contains(AllOf(HasSubstr("fsdp_sharding_strategy SHARD_GRAD_OP: sharding_strategy shard_grad_op"),
                             HasSubstr("fsdp.yaml:12"))));
  EXPECT_THAT(parsed.notes, Contains(AllOf(HasSubstr("nothing to set for"), HasSubstr("fsdp_use_orig_params"))));
}

TEST_F(AccelerateFile, StrategiesByNameAndNumberOfBothVersions) {
  const std::vector<std::tuple<int, const char*, const char*, Sharding>> cases{
      {1, "fsdp_sharding_strategy", "FULL_SHARD", Sharding::full_shard},
      {1, "fsdp_sharding_strategy", "2", Sharding::shard_grad_op},
      {1, "fsdp_sharding_strategy", "NO_SHARD", Sharding::ddp},
      {1, "fsdp_sharding_strategy", "4", Sharding::hybrid_full_shard},
      {1, "fsdp_reshard_after_forward", "HYBRID_SHARD_ZERO2", Sharding::hybrid_shard_grad_op},
      {2, "fsdp_reshard_after_forward", "true", Sharding::full_shard},
      {2, "fsdp_reshard_after_forward", "false", Sharding::shard_grad_op},
      {2, "fsdp_sharding_strategy", "SHARD_GRAD_OP", Sharding::full_shard},  // not read by version 2
      {2, "reshard_after_forward", "false", Sharding::shard_grad_op},        // the prefix may be left out
  };
  for (const auto& [version, key, value, expected] : cases) {
    const auto yaml = "distributed_type: FSDP\nfsdp_config:\n  fsdp_version: " + std::to_string(version) + "\n  " +
                      key + ": " + value + "\n";
    EXPECT_EQ(with(yaml).config.sharding_strategy, expected) << yaml;
  }
}

TEST_F(AccelerateFile, OtherKeysReachTheirOptions) {
  const auto parsed = with(
      "distributed_type: FSDP\nmixed_precision: bf16\nuse_cpu: true\ngradient_accumulation_steps: 6\nfsdp_config:\n"
      "  fsdp_version: 2\n  fsdp_offload_params: true\n  fsdp_activation_checkpointing: true\n"
      "  fsdp_activation_checkpointing_offload: true\n  fsdp_backward_prefetch: BACKWARD_PRE\n"
      "  fsdp_cpu_ram_efficient_loading: true\n",
      {"--preset", "qlora-evolved"});
  EXPECT_EQ(parsed.config.backend, Backend::cpu);
  EXPECT_EQ(parsed.config.precision, Precision::bf16);
  EXPECT_EQ(parsed.config.gradient_accumulation_steps, 6);
  EXPECT_TRUE(parsed.config.use_cpu_offload);
  EXPECT_TRUE(parsed.config.use_activation_cpu_offload);
  EXPECT_TRUE(parsed.config.low_memory);
  EXPECT_EQ(parsed.config.prefetch_blocks, 1);
  EXPECT_EQ(recompute_policy(parsed.config), Recompute::recompute);
  EXPECT_EQ(
      recompute_policy(with("distributed_type: FSDP\nfsdp_config:\n  fsdp_activation_checkpointing: false\n").config),
      Recompute::keep);
  EXPECT_EQ(with("distributed_type: MULTI_GPU\nnum_processes: 3\n").config.sharding_strategy, Sharding::ddp);
  EXPECT_EQ(with("distributed_type: MULTI_CPU\n").config.backend, Backend::cpu);
}

TEST_F(AccelerateFile, CopiesOfShards) {
  const auto by_machine = with(
      "distributed_type: FSDP\nnum_machines: 2\nnum_processes: 8\nfsdp_config:\n  fsdp_sharding_strategy: "
      "HYBRID_SHARD\n");
  EXPECT_EQ(by_machine.config.sharding_strategy, Sharding::hybrid_full_shard);
  EXPECT_EQ(by_machine.config.hybrid_shard_size, 4);
  EXPECT_THAT(by_machine.notes, Contains(HasSubstr("torchrun")));
  const auto by_mesh = with(
      "distributed_type: FSDP\nnum_processes: 8\nfsdp_config:\n  fsdp_version: 2\n  fsdp_reshard_after_forward: false\n"
      "parallelism_config:\n  parallelism_config_dp_replicate_size: 4\n  parallelism_config_dp_shard_size: 2\n"
      "  parallelism_config_tp_size: 1\n");
  EXPECT_EQ(by_mesh.config.sharding_strategy, Sharding::hybrid_shard_grad_op);
  EXPECT_EQ(by_mesh.config.hybrid_shard_size, 2);
}

TEST_F(AccelerateFile, IsWeakerThanTomlAndCommandLine) {
  const auto path = write("fsdp.yaml", kVersion1);
  const auto parsed =
      toml("model_name = \"m\"\nprefetch_blocks = 3\naccelerate_config = \"" + path + "\"\n", {"--world_size", "2"});
  EXPECT_EQ(parsed.config.prefetch_blocks, 3);
  EXPECT_EQ(parsed.config.world_size, 2);
  EXPECT_EQ(parsed.config.sharding_strategy, Sharding::shard_grad_op);
  EXPECT_THAT(parsed.notes, Contains(AllOf(HasSubstr("num_processes 4"), HasSubstr("--world_size counts"))));
  // Of two options for one thing, too.
  const auto chosen = with("distributed_type: FSDP\nfsdp_config:\n  fsdp_activation_checkpointing: false\n",
                           {"--recompute", "selective"});
  EXPECT_EQ(recompute_policy(chosen.config), Recompute::selective);
}

TEST_F(AccelerateFile, EverythingThatCannotBeHonouredIsNamedAtOnce) {
  const auto message = refused(
      "distributed_type: DEEPSPEED\nmixed_precision: fp8\nnum_proceses: 2\ntpu_use_cluster: true\ngpu_ids: 0,1\n"
      "deepspeed_config:\n  zero_stage: 3\nparallelism_config:\n  parallelism_config_tp_size: 2\n");
  for (const char* part :
       {"distributed_type DEEPSPEED", "mixed_precision fp8", "tpu_use_cluster true", "gpu_ids 0,1", "deepspeed_config",
        "tp_size 2", "did you mean num_processes?", "fsdp.yaml:3", "7 problems"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  EXPECT_THAT(refused("distributed_type: MEGATRON_LM\n"), HasSubstr("MEGATRON_LM"));
  EXPECT_THAT(refused("mixed_precision: fp16\n"), HasSubstr("bf16"));
  EXPECT_THAT(refused("distributed_type: FSDP\nfsdp_config:\n  fsdp_sharding_stategy: 1\n"),
              HasSubstr("did you mean fsdp_sharding_strategy?"));
  EXPECT_THAT(refused("distributed_type: FSDP\nfsdp_config:\n  fsdp_sharding_strategy: NO_RESHARD\n"),
              HasSubstr("expected FULL_SHARD"));
  EXPECT_THAT(refused("num_processes: many\n"), HasSubstr("becomes world_size"));
}

TEST_F(AccelerateFile, FilesThatAreNoConfiguration) {
  EXPECT_THAT(refused("a: [1, 2\nb: }\n"), AllOf(HasSubstr("not valid YAML"), HasSubstr("fsdp.yaml:")));
  EXPECT_THAT(refused("- 1\n- 2\n"), HasSubstr("no keys"));
  EXPECT_THAT(refused(""), HasSubstr("no keys"));
  EXPECT_THAT(refused("distributed_type: FSDP\nfsdp_config: 7\n"), HasSubstr("expected keys with values"));
  EXPECT_THAT(refused("num_processes: 1\nnum_processes: 2\n"), HasSubstr("given twice"));
  EXPECT_THAT(refused(std::string(2 << 20, '#')), HasSubstr("too large"));
  EXPECT_THROW(train({"--accelerate_config", (folder_ / "absent.yaml").string()}), FileError);
}

}  // namespace
}  // namespace lorica::config::test
