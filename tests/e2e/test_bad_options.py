"""Bad options are refused before anything is read or written, all of them in one go."""

from conftest import instead, refused


def test_unknown_option_names_the_nearest(lorica, training, output):
    refused(lorica(*training, "--lora_rnk", "4"), "lora_rnk", "lora_rank", output=output)


def test_value_out_of_range(lorica, training, output):
    refused(lorica(*training, "--lora_dropout", "1.5"), "lora_dropout", "1.5", output=output)


def test_not_a_number(lorica, training, output):
    refused(lorica(*training, "--batch_size", "four"), "batch_size", "four", output=output)


def test_conflicting_options_are_listed_at_once(lorica, training, output):
    result = lorica(*training, "--warmup_steps", "2", "--warmup_ratio", "0.1", "--eval_fraction", "2", "--lr", "-1")
    refused(result, "warmup_steps", "warmup_ratio", "eval_fraction", "lr", output=output)


def test_unknown_key_of_a_file_names_file_and_line(lorica, training, tmp_path, output):
    config = tmp_path / "run.toml"
    config.write_text("lora_rank = 4\nlora_alhpa = 8\n")
    refused(lorica(*training[:1], config, *training[1:]), "run.toml", "2", "lora_alhpa", "lora_alpha", output=output)


def test_broken_toml_names_the_line(lorica, training, tmp_path, output):
    config = tmp_path / "run.toml"
    config.write_text("lora_rank = 4\nlr = = 3\n")
    refused(lorica(*training[:1], config, *training[1:]), "run.toml", "2", output=output)


def test_what_is_not_built_yet_is_refused_by_name(lorica, training, output):
    refused(lorica(*training, "--train_type", "bnb_dora"), "bnb_dora", "not built yet", output=output)


def test_code_of_a_model_repository_is_never_run(lorica, training, output):
    refused(lorica(*training, "--trust_remote_code", "true"), "trust_remote_code", output=output)


def test_unknown_command(lorica):
    refused(lorica("trian"), "trian", "train")


def test_unknown_lora_target(lorica, training, output):
    """Every pattern must match something."""
    result = lorica(*training, "--lora_target_modules", "q_proj", "--lora_target_modules", "wq")
    refused(result, "wq", "q_proj", output=output)


def test_missing_required_options_are_all_named(lorica):
    refused(lorica("train"), "model_name")


def test_options_that_an_adapter_decides(lorica, training, output, tmp_path):
    """Its own settings hold and are recorded; what says otherwise is refused with both values."""
    lorica.ok(*training, "--lora_dropout", "0.5", "--max_steps", "2")
    second = tmp_path / "second"
    going_on = [*instead(training, "--output_dir", second), "--adapter", output / "final", "--max_steps", "2"]
    refused(lorica(*going_on, "--lora_alpha", "3", "--target_modules", "q_proj"), "--lora_alpha 3.0 (the adapter has 16.0)",
            "--target_modules", "without --adapter", output=second)
    lorica.ok(*going_on)
    recorded = (second / "config.toml").read_text()
    assert "lora_dropout = 0.5\n" in recorded and "lora_rank = 4\n" in recorded


def test_layers_that_the_model_does_not_have(lorica, training, output):
    result = lorica(*training, "--layers_to_transform", "0:31")
    refused(result, "--layers_to_transform 0:31: the model has no layer 2:31; its layers are 0 to 1", output=output)
    assert "lora_target_modules" not in result.err


def test_help_explains_one_option(lorica):
    assert "--lr float" in lorica.ok("train", "--help", "learning_rate").out
    assert "the nearest is lora_rank" in lorica.ok("train", "--help=lora_rnk").out
    assert lorica.ok("train", "--help").out.index("Most used") < 600


def test_launchers_options(lorica, training, output):
    refused(lorica(*training, "--num_nodes", "2"), "--num_nodes", "torchrun", output=output)
    refused(lorica(*training, "--hostfile", "hosts"), "--hostfile", "torchrun", output=output)


def test_verbose_says_what_is_computed(lorica, training):
    quiet, verbose = lorica.ok(*training), lorica.ok(*training, "--verbose", "--overwrite_output_dir")
    assert "micro-batch 1 of 1" in verbose.err and "rows.jsonl:" in verbose.err and "lora_rank = 4" in verbose.err
    assert "micro-batch 1 of 1" not in quiet.err
