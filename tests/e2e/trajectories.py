"""Every recorded PyTorch trajectory is followed: 20 ZO-SGD steps of each exported model, through the command line.

Per step l+ and l- must agree within 1e-5 relative; final weights with the recorded digests. Prints the largest
deviation of each model (g is a difference of nearly equal losses: it is reported, and bounded loosely)."""
import json, math, os, sys
import numpy as np
from safetensors.numpy import load_file
from common import *

# Two honest PyTorch attention paths differ by 1e-6 in a loss and 5e-4 in g (relative to typical g).
LOSS, WEIGHT = 1e-5, 1e-4


def check(name, folder):
    trajectory = json.load(open(os.path.join(SHARED, 'models', name, 'trajectory.json')))
    model = os.path.join(SHARED, 'models', name)
    plan, metric, tuned = (os.path.join(folder, name + s) for s in ('.plan', '.jsonl', '.safetensors'))
    shape = '' if 'static' in name else 'batch=2,seq=16'
    run(PLAN, 'compile', os.path.join(model, 'model.onnx'), *(['--bind', shape] if shape else []), '--tile', '8KiB',
        '--budget', '1MiB', '-o', plan, '--quiet')
    journal = os.path.join(folder, name + '.zoj')
    run(RUN, 'train', plan, '--data', os.path.join(model, 'train.safetensors'), '--order', 'sequential', '--steps', 20,
        '--lr', trajectory['lr'], '--eps', trajectory['eps'], '--seed', trajectory['seed'], '--metrics', metric,
        '--journal', journal)
    got = metrics(metric)
    assert len(got) == 20 == len(trajectory['steps'])
    worst = {'l': 0.0, 'g': 0.0}
    scale = np.sqrt(np.mean([s['g']**2 for s in trajectory['steps']]))
    for g, want in zip(got, trajectory['steps']):
        for k in ('loss_plus', 'loss_minus'):
            worst['l'] = max(worst['l'], abs(g[k] - want[k]) / abs(want[k]))
        worst['g'] = max(worst['g'], abs(g['g'] - want['g']) / scale)
    run(RUN, 'export', plan, '--journal', journal, '-o', tuned)
    weights = load_file(tuned)
    assert set(trajectory['final']) == set(weights), set(trajectory['final']) ^ set(weights)
    digest = 0.0
    for w, want in trajectory['final'].items():
        v = weights[w].astype(np.float64)
        assert list(weights[w].shape) == trajectory['weights'][w]['shape']
        digest = max(digest,
                     abs(math.sqrt((v * v).sum()) - want['l2']) / want['l2'],
                     np.abs(v.ravel()[:len(want['first'])] - want['first']).max())
    assert worst['l'] < LOSS, f'{name}: a loss deviates by {worst["l"]}'
    assert worst['g'] < 2e-2, f'{name}: g deviates by {worst["g"]} of its root mean square'
    assert digest < WEIGHT, f'{name}: a final weight deviates by {digest}'
    return f'{name:32s} l {worst["l"]:.1e}  g {worst["g"]:.1e}  weights {digest:.1e}', (worst['l'], worst['g'], digest)


if not models():
    skip('../shared/models is not there')
names = named(n for n in models() if os.path.exists(os.path.join(SHARED, 'models', n, 'trajectory.json')))
results, failed = each(check, names)
largest = [max(column) for column in zip(*results)] or [0, 0, 0]
print(f'{len(results)} of {len(names)} models follow their trajectory; largest deviation of l {largest[0]:.1e}, '
      f'of g {largest[1]:.1e} of its rms, of final weights {largest[2]:.1e}')
sys.exit(1 if failed else 0)
