"""Text -> token ids as JSON lines, cut into rows of one length.

    python make_data.py OUT TEXT... [--seq 32] [--tokenizer tokenizer.json]

OUT gets train.jsonl and eval.jsonl, one {"input_ids": [...]} per line. Every tenth row is held out. With --tokenizer, the
file of a pretrained model's tokenizer, text becomes its tokens; without, each byte is a token (256 of them), which suits
the small model of export_model.py. Labels are not needed: a causal model learns its input_ids.
"""
import argparse, json, os

a = argparse.ArgumentParser()
a.add_argument('out')
a.add_argument('text', nargs='+')
a.add_argument('--seq', type=int, default=32)
a.add_argument('--tokenizer')
o = a.parse_args()
os.makedirs(o.out, exist_ok=True)

if o.tokenizer:
    from tokenizers import Tokenizer
    encode = lambda text, tokenizer=Tokenizer.from_file(o.tokenizer): tokenizer.encode(text).ids
else:
    encode = lambda text: list(text.encode())
ids = [i for name in o.text for i in encode(open(name, encoding='utf-8').read())]
rows = [ids[i:i + o.seq] for i in range(0, len(ids) - o.seq + 1, o.seq)]
for name, part in (('train', [r for i, r in enumerate(rows) if i % 10 != 9]), ('eval', rows[9::10])):
    with open(os.path.join(o.out, name + '.jsonl'), 'w') as f:
        f.writelines(json.dumps({'input_ids': row}) + '\n' for row in part)
    print(f'{len(part)} rows of {o.seq} tokens in {os.path.join(o.out, name + ".jsonl")}')
