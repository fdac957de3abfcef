"""Exports a Hugging Face causal language model to ONNX.

    python export_model.py OUT [--from FOLDER]

OUT gets base/ (the model as transformers saves it) and model.onnx, with batch and sequence length left open. FOLDER is a
model as save_pretrained writes it; without one a small Llama with random weights is made, so that everything runs offline.
"""
import argparse, os, sys

os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

a = argparse.ArgumentParser()
a.add_argument('out')
a.add_argument('--from', dest='folder', help='folder of a pretrained model')
o = a.parse_args()
os.makedirs(o.out, exist_ok=True)

if o.folder:
    model = AutoModelForCausalLM.from_pretrained(o.folder)
else:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=256, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True))
model = model.float().eval()
model.config.use_cache = False  # training needs no key-value cache
model.save_pretrained(os.path.join(o.out, 'base'))

# An example with other sizes than 1 tells the exporter which axes are free.
ids = torch.ones(2, 16, dtype=torch.int64)
batch, seq = torch.export.Dim('batch'), torch.export.Dim('seq', max=model.config.max_position_embeddings)
shape = {0: batch, 1: seq}
path = os.path.join(o.out, 'model.onnx')
torch.onnx.export(model, (), path, kwargs={'input_ids': ids, 'attention_mask': torch.ones_like(ids)}, dynamo=True,
                  input_names=['input_ids', 'attention_mask'], output_names=['logits'], verbose=False,
                  dynamic_shapes={'input_ids': shape, 'attention_mask': shape})
parameters = sum(p.numel() for p in model.parameters())
files = [f for f in os.listdir(o.out) if f.startswith('model.onnx')]
print(f'{parameters / 1e6:.2f} M parameters, {sum(os.path.getsize(os.path.join(o.out, f)) for f in files) / 2**20:.1f} MiB in {path}')
