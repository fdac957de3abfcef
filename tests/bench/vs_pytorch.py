"""A ZO step of ours beside one of plain PyTorch MeZO (in place), interleaved in one run.

    vs_pytorch.py [--model opt-125m|minilm|opt-350m] [--shape 1x128] [--q 1] [--dtype f32|bf16] [--rounds 5]
                  [--steps 6] [--work DIR]

The model has random weights and the published sizes; everything is resident, batch and threads (2) are the same. With bf16,
PyTorch's model is bf16 and ours has weights stored and multiplied in bf16. Both
programs run in processes of their own, round after round in turn; a figure is the median over all rounds of a step's
seconds, the first step of each process left out. Needs `make demo`'s Python environment (PyTorch, transformers).
PyTorch's step is MeZO's usual one: +eps, forward, -2 eps, forward, +eps, update, each with normals drawn again from the
seed; with q directions, all that q times. "forwards" are two forward passes with the loss per direction, nothing else; ours
come from the trace of the same run: the step without prepare and gradient.
"""
import argparse, json, os, re, resource, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('ZO2_BUILD', os.path.join(ROOT, 'build'))
THREADS = 2  # of the built-in machine that the plan is for
SIZES = {'opt-125m': (768, 12, 12, 3072, 768), 'opt-350m': (1024, 24, 16, 4096, 512)}


def make_model(name, threads):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, OPTConfig, OPTForCausalLM
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    if name == 'minilm':
        model = BertForSequenceClassification(BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=12))
    else:
        hidden, layers, heads, ffn, embed = SIZES[name]
        model = OPTForCausalLM(OPTConfig(
            vocab_size=50272, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, ffn_dim=ffn,
            word_embed_proj_dim=embed, do_layer_norm_before=True, max_position_embeddings=2048, attn_implementation='sdpa'))
    model.config.use_cache = False
    return model.float().eval()


def batch_of(model, name, shape):
    import torch
    b, s = map(int, shape.split('x'))
    torch.manual_seed(1)
    ids = torch.randint(3, model.config.vocab_size, (b, s))
    labels = ids.clone() if name != 'minilm' else torch.randint(0, 12, (b,))
    return ids, labels


def export(name, shape, work):
    import torch
    from safetensors.torch import save_file
    model = make_model(name, 2)
    ids, labels = batch_of(model, name, shape)
    torch.onnx.export(model, (), os.path.join(work, 'model.onnx'), dynamo=True, verbose=False, output_names=['logits'],
                      kwargs={'input_ids': ids, 'attention_mask': torch.ones_like(ids)})
    save_file({'input_ids': ids, 'attention_mask': torch.ones_like(ids), 'labels': labels}, os.path.join(work, 'data.safetensors'))


def pytorch(name, shape, q, dtype, steps, threads):
    """One JSON line: seconds of each step, of each pair of forwards, and the peak of resident memory."""
    import torch
    model = make_model(name, threads)
    if dtype == 'bf16':
        model = model.bfloat16()
    ids, labels = batch_of(model, name, shape)
    weights = [p for p in model.parameters()]
    eps, lr = 1e-3, 1e-7

    def loss():
        with torch.inference_mode():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.item()

    def move(seed, scale):
        torch.manual_seed(seed)
        for p in weights:
            p.data.add_(torch.normal(mean=0.0, std=1.0, size=p.data.size(), dtype=p.data.dtype), alpha=scale)

    loss()
    result = {'step': [], 'forwards': []}
    for step in range(steps):
        begin = time.perf_counter()
        moves = []
        for seed in range(step * q, (step + 1) * q):
            move(seed, eps)
            plus = loss()
            move(seed, -2 * eps)
            minus = loss()
            move(seed, eps)
            moves.append((seed, -lr / q * (plus - minus) / (2 * eps)))
        for seed, scale in moves:
            move(seed, scale)
        result['step'].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        for _ in range(2 * q):
            loss()
        result['forwards'].append(time.perf_counter() - begin)
    result['peak'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


def ours(work, steps):
    trace, metrics = os.path.join(work, 'trace.json'), os.path.join(work, 'm.jsonl')
    command = [os.path.join(BUILD, 'zo2-run'), 'train', os.path.join(work, 'run.plan'), '--data',
               os.path.join(work, 'data.safetensors'), '--order', 'sequential', '--steps', str(steps + 1), '--lr', '1e-7',
               '--metrics', metrics, '--trace', trace, '--trace-steps', str(steps + 1), '--quiet']
    peak = int(subprocess.run(['/usr/bin/time', '-f', '%M'] + command, check=True, stderr=subprocess.PIPE, text=True)
               .stderr.split()[-1]) * 1024
    seconds = [json.loads(line)['seconds'] for line in open(metrics)][1:]
    calls = {}
    events = json.load(open(trace))
    for e in events['traceEvents'] if isinstance(events, dict) else events:
        if e.get('ph') == 'X' and e['pid'] == 1 and e.get('cat') not in ('prepare', 'gradient', 'copy') and e['args'].get('iteration', 0) > 0:
            calls[e['args']['iteration']] = calls.get(e['args']['iteration'], 0) + e['dur'] * 1e-6
    return {'step': seconds, 'forwards': list(calls.values()), 'peak': peak}


def main():
    a = argparse.ArgumentParser()
    a.add_argument('--model', default='opt-125m')
    a.add_argument('--shape', default='1x128')
    a.add_argument('--q', type=int, default=1)
    a.add_argument('--dtype', default='f32', choices=('f32', 'bf16'))
    a.add_argument('--rounds', type=int, default=5)
    a.add_argument('--steps', type=int, default=6)
    a.add_argument('--work', help='folder that keeps model and data; what is there already is used')
    a.add_argument('--pytorch', action='store_true', help='used by itself')
    o = a.parse_args()
    os.environ['HF_HUB_OFFLINE'] = '1'
    os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
    if o.pytorch:
        return pytorch(o.model, o.shape, o.q, o.dtype, o.steps, THREADS)
    work = o.work or tempfile.mkdtemp(prefix='zo2-bench-')
    os.makedirs(work, exist_ok=True)
    if not os.path.exists(os.path.join(work, 'data.safetensors')):
        subprocess.run([sys.executable, '-W', 'ignore', '-c',
                        f'import sys; sys.path.insert(0, {HERE!r}); import vs_pytorch as v; v.export({o.model!r}, {o.shape!r}, {work!r})'],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([os.path.join(BUILD, 'zo2-plan'), 'compile', os.path.join(work, 'model.onnx'), '--strategy', 'resident',
                    '--budget', '64GiB', '--host-budget', '64GiB', '--q', str(o.q), *(['--storage', 'bf16', '--compute', 'bf16'] if o.dtype == 'bf16' else []),
                    '-o', os.path.join(work, 'run.plan'), '--quiet'], check=True)
    mine, theirs = {'step': [], 'forwards': [], 'peak': 0}, {'step': [], 'forwards': [], 'peak': 0}
    for _ in range(o.rounds):
        p = subprocess.run([sys.executable, '-W', 'ignore', os.path.abspath(__file__), '--pytorch', '--model', o.model, '--shape',
                            o.shape, '--q', str(o.q), '--dtype', o.dtype, '--steps', str(o.steps + 1)], check=True, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
        for total, one in ((theirs, json.loads(p.stdout.splitlines()[-1])), (mine, ours(work, o.steps))):
            for k in ('step', 'forwards'):
                total[k] += one[k][1:] if total is theirs else one[k]
            total['peak'] = max(total['peak'], one['peak'])
    m, t = ({k: statistics.median(x[k]) for k in ('step', 'forwards')} for x in (mine, theirs))
    print(f'{o.model} {o.shape}, q {o.q}, {o.dtype}, {THREADS} threads, medians of {len(mine["step"])} steps')
    print(f'  PyTorch   step {t["step"]:.4f} s   forwards with loss {t["forwards"]:.4f} s   peak {theirs["peak"] / 2**20:.0f} MiB')
    print(f'  zo2-run   step {m["step"]:.4f} s   forwards with loss {m["forwards"]:.4f} s   peak {mine["peak"] / 2**20:.0f} MiB')
    print(f'  ratio     step {m["step"] / t["step"]:.3f}       forwards {m["forwards"] / t["forwards"]:.3f}       '
          f'our step / our forwards {m["step"] / m["forwards"]:.3f}')


if __name__ == '__main__':
    main()
