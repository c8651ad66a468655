"""Writes a checkpoint that is quantized already (NF4, double quantization, the rest in bfloat16), as bitsandbytes and transformers write it. Started by ../run, once.

    python peers/quantize.py MODEL_FOLDER OUTPUT_FOLDER
"""
import shutil
import sys
from pathlib import Path

import torch
import transformers

source, target = map(Path, sys.argv[1:])
quantization = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, quantization_config=quantization, device_map="cpu")
beside = target.with_name(target.name + "-unfinished")
shutil.rmtree(beside, ignore_errors=True)
model.save_pretrained(beside)
for path in source.glob("tokenizer*"):
    shutil.copy(path, beside)
beside.rename(target)
