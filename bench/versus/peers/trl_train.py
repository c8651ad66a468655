"""The peer on instruction data: TRL's SFTTrainer with QLoRA, padded or packed. Started by ../run.

    python peers/trl_train.py FOLDER [--packing] [--examples 500] [--batch 8]

The data come in order, as they do on our side; everything else is SFTTrainer's default (gradient checkpointing included), but for what would cost it time:
nothing is logged but the losses, nothing saved. Padded means padded to the longest of a batch, TRL's default.
Prints one line of JSON: the loss and the seconds of each step, examples.
"""
from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import datasets
import torch
import transformers
from peft import PeftModel, prepare_model_for_kbit_training
from trl import SFTConfig, SFTTrainer


class Clock(transformers.TrainerCallback):
    def __init__(self):
        self.seconds, self.losses = [], []

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.start)

    def on_log(self, args, state, control, logs=None, **__):
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


class InOrder(SFTTrainer):
    def _get_train_sampler(self, *_, **__):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--lr", type=float, default=1e-4)
    options = parser.parse_args()
    quantization = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.folder / "model", dtype=torch.float32, attn_implementation="sdpa", quantization_config=quantization,
                                                              device_map="cpu")
    model = prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs={"use_reentrant": False})
    model = PeftModel.from_pretrained(model, options.folder / "adapter", is_trainable=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.folder / "model")
    lines = (options.folder / "instructions.jsonl").read_text(encoding="utf-8").splitlines()[: options.examples]
    # Tokenized here, before the clock runs, and with the end token that both sides put after a text.
    rows = datasets.Dataset.from_list([{"input_ids": tokenizer(json.loads(line)["text"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]} for line in lines])
    arguments = SFTConfig(
        output_dir=str(options.folder / "trl-output"), per_device_train_batch_size=options.batch, num_train_epochs=1, max_length=1024, packing=options.packing,
        learning_rate=options.lr, lr_scheduler_type="constant", optim="adamw_torch_fused", adam_beta2=0.95, adam_epsilon=1e-5, weight_decay=0.1, max_grad_norm=0.0,
        bf16=False, use_cpu=True, save_strategy="no", logging_steps=1, report_to="none", disable_tqdm=True, gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False}, dataloader_pin_memory=False)
    clock = Clock()
    adapter = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    trainer = InOrder(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[clock])
    # SFTTrainer rounds a QLoRA adapter to bfloat16: on a CPU without such instructions that is slow, and the losses would be others. Back to float32 before there is an optimizer.
    for name, parameter in trainer.model.named_parameters():
        if name in adapter:
            parameter.data = adapter[name]
    trainer.train()
    print(json.dumps({"losses": clock.losses, "seconds": clock.seconds, "examples": len(lines)}), flush=True)


if __name__ == "__main__":
    main()
