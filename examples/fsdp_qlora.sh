#!/bin/sh
# A command line of fsdp_qlora, with `lorica train` in the place of `python train.py`: MODEL=folder DATA=file ./fsdp_qlora.sh
# reentrant_checkpointing and use_cpu_offload are accepted with a note that says what happens instead.
set -eu
exec "${LORICA:-lorica}" train \
  --model_name "${MODEL:?the folder of the base model}" \
  --dataset alpaca --dataset_path "${DATA:?alpaca rows: .json, .jsonl or .parquet}" \
  --batch_size 2 \
  --context_length 512 \
  --precision bf16 \
  --train_type qlora \
  --use_gradient_checkpointing true \
  --use_cpu_offload true \
  --reentrant_checkpointing true \
  --output_dir "${OUTPUT:-runs/fsdp-qlora}" \
  "$@"
