"""Configuration files that Accelerate itself writes are understood, and those that ask for what Lorica lacks refused."""
import json

import pytest
from accelerate.commands.config.config_args import ClusterConfig

from models import make_model
from runner import lorica, refused

FSDP1 = {
    "fsdp_version": 1, "fsdp_reshard_after_forward": "SHARD_GRAD_OP", "fsdp_offload_params": False,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
    "fsdp_backward_prefetch": "BACKWARD_PRE", "fsdp_state_dict_type": "SHARDED_STATE_DICT", "fsdp_forward_prefetch": False,
    "fsdp_use_orig_params": True, "fsdp_cpu_ram_efficient_loading": True, "fsdp_sync_module_states": True,
    "fsdp_activation_checkpointing": True,
}
FSDP2 = {
    "fsdp_version": 2, "fsdp_reshard_after_forward": True, "fsdp_offload_params": False,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    "fsdp_cpu_ram_efficient_loading": True, "fsdp_activation_checkpointing": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model("llama", tmp_path_factory.mktemp("model"), layers=2, dtype="float32")


def written(folder, **fields):
    """A file as `accelerate config` writes it."""
    base = dict(compute_environment="LOCAL_MACHINE", distributed_type="FSDP", mixed_precision="no", use_cpu=False, debug=False,
                num_processes=2, machine_rank=0, num_machines=1, main_training_function="main", rdzv_backend="static",
                same_network=True, downcast_bf16="no")
    path = folder / "accelerate.yaml"
    ClusterConfig(**{**base, **fields}).to_yaml_file(str(path))
    return path


def plan(model, path, *more):
    text = lorica("plan", "--model_name", model, "--accelerate_config", path, "--backend", "cpu", "--json", *more)
    return text[: text.index("{")] + text[text.rindex("}") + 1:], json.loads(text[text.index("{"): text.rindex("}") + 1])


def test_version_1(model, tmp_path):
    notes, figures = plan(model, written(tmp_path, fsdp_config=FSDP1))
    assert "fsdp_reshard_after_forward SHARD_GRAD_OP: sharding_strategy shard_grad_op" in notes
    assert "num_processes 2: world_size 2" in notes
    assert "mixed_precision no: precision fp32" in notes
    assert "fsdp_activation_checkpointing true: use_gradient_checkpointing true" in notes
    assert "nothing to set for" in notes and "fsdp_use_orig_params" in notes
    assert (figures["processes"], figures["shards"]) == (2, 2)


def test_version_2(model, tmp_path):
    notes, figures = plan(model, written(tmp_path, fsdp_config=FSDP2, num_processes=4, mixed_precision="bf16"))
    assert "fsdp_reshard_after_forward true: sharding_strategy full_shard" in notes
    assert "mixed_precision bf16: precision bf16" in notes
    assert (figures["processes"], figures["shards"]) == (4, 4)


def test_copies_of_shards(model, tmp_path):
    mesh = {"parallelism_config_dp_replicate_size": 2, "parallelism_config_dp_shard_size": 2, "parallelism_config_tp_size": 1,
            "parallelism_config_cp_size": 1, "parallelism_config_cp_comm_strategy": "allgather"}
    _, figures = plan(model, written(tmp_path, fsdp_config=FSDP2, num_processes=4, parallelism_config=mesh))
    assert (figures["shards"], figures["replicas"]) == (2, 2)


def test_plain_data_parallel_and_one_process(model, tmp_path):
    _, figures = plan(model, written(tmp_path, distributed_type="MULTI_GPU"))
    assert (figures["shards"], figures["replicas"]) == (1, 2)
    _, figures = plan(model, written(tmp_path, distributed_type="NO", num_processes=1))
    assert figures["processes"] == 1


def test_the_command_line_counts_more(model, tmp_path):
    notes, figures = plan(model, written(tmp_path, fsdp_config=FSDP2), "--world_size", "3", "--sharding_strategy", "ddp")
    assert "--sharding_strategy counts" in notes
    assert (figures["processes"], figures["shards"]) == (3, 1)


@pytest.mark.parametrize("fields, named", [
    (dict(distributed_type="DEEPSPEED", deepspeed_config={"zero_stage": 3}), "DeepSpeed"),
    (dict(distributed_type="MEGATRON_LM", megatron_lm_config={"megatron_lm_tp_degree": 2}), "MEGATRON_LM"),
    (dict(distributed_type="XLA", downcast_bf16="yes", tpu_use_cluster=True), "TPU"),
    (dict(mixed_precision="fp8", fp8_config={"backend": "TE"}, fsdp_config=FSDP2), "fp8"),
    (dict(fsdp_config=FSDP2, parallelism_config={"parallelism_config_tp_size": 2}), "tensor parallelism"),
])
def test_what_cannot_be_honoured_is_refused(model, tmp_path, fields, named):
    assert named in refused("plan", "--model_name", model, "--accelerate_config", written(tmp_path, **fields))
