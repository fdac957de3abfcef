"""Loads what came out, in both forms, and checks that they are the model that zo2-run evaluated.

    python use_tuned.py OUT

OUT/tuned.onnx in ONNX Runtime and OUT/tuned.safetensors in transformers must both give the loss that zo2-run eval wrote to
OUT/eval.json, on OUT/eval.jsonl.
"""
import json, os, shutil, sys

os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
import numpy as np
import onnxruntime
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
out = sys.argv[1]
rows = np.array([json.loads(line)['input_ids'] for line in open(os.path.join(out, 'eval.jsonl'))], np.int64)
want = json.load(open(os.path.join(out, 'eval.json')))['loss']


def loss(logits):
    """Mean cross-entropy of each next token, as a causal model is trained."""
    x = logits[:, :-1].astype(np.float64)
    x -= x.max(-1, keepdims=True)
    picked = np.take_along_axis(x, rows[:, 1:, None], -1)[..., 0]
    return float((np.log(np.exp(x).sum(-1)) - picked).mean())


session = onnxruntime.InferenceSession(os.path.join(out, 'tuned.onnx'), providers=['CPUExecutionProvider'])
got = {'tuned.onnx in ONNX Runtime': loss(session.run(['logits'], {'input_ids': rows, 'attention_mask': np.ones_like(rows)})[0])}

# The tuned weights have the framework's names: beside the base model's config they are a model of transformers.
tuned = os.path.join(out, 'tuned')
os.makedirs(tuned, exist_ok=True)
shutil.copy(os.path.join(out, 'base', 'config.json'), tuned)
shutil.copy(os.path.join(out, 'tuned.safetensors'), os.path.join(tuned, 'model.safetensors'))
model = AutoModelForCausalLM.from_pretrained(tuned).eval()
with torch.no_grad():
    got['tuned.safetensors in transformers'] = loss(model(input_ids=torch.from_numpy(rows)).logits.numpy())

print(f'{"zo2-run eval":35s} loss {want:.6f}')
for name, value in got.items():
    print(f'{name:35s} loss {value:.6f}')
    if abs(value - want) > 1e-5 * want:
        sys.exit(f'{name} is not the model that was evaluated')
