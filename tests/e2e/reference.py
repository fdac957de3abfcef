"""An independent judge of training: noise and update in numpy (tests/tools/zo_noise.py), losses from ONNX Runtime.

For each case the product trains some steps; then, step by step from the base weights, the judge
  * evaluates the model at theta +- eps z in ONNX Runtime: each loss within 1e-5 relative of the product's,
  * checks g = (l+ - l-) / 2 eps and the learning rate to the bit,
  * applies the product's own g in numpy; in the end every weight must have the product's bits,
and the evaluation of the tuned weights must agree with ONNX Runtime's."""
import dataclasses, os, sys, tempfile
import numpy as np
from safetensors.numpy import load_file
from common import *
import zo_noise

LOSS = 1e-5


@dataclasses.dataclass
class Case:
    model: str
    title: str
    steps: int = 10
    plan: tuple = ()  # flags of zo2-plan compile
    batch: int = 4
    train: tuple = ()  # flags of zo2-run train
    samples: int = 1
    decay: float = 0.0
    kind: str = 'gaussian'
    trained: str = ''  # weights whose name contains this
    seed: int = 7
    lr: object = lambda step: 1e-2
    skipped: tuple = ()

    def __str__(self):
        return f'{self.model}: {self.title}'


def falling(step):
    return 1e-2 * (1 - step / 10)


CASES = [
    Case('lm', 'plain'),
    Case('lm',
         'two directions, two micro-batches, decay, streamed, written back every 3 steps',
         batch=6,
         samples=2,
         decay=0.3,
         plan=('--q', 2, '--micro', 2, '--tile', '2KiB', '--resident', 'none', '--slots', 3, '--writeback-every', 3)),
    Case('grouped',
         'decay, falling learning rate, 64-bit seed',
         decay=0.1,
         train=('--lr-schedule', 'linear'),
         lr=falling,
         seed=0xFEDCBA9876543210),
    Case('grouped',
         'three directions, signs instead of normals',
         samples=3,
         kind='rademacher',
         plan=('--q', 3, '--rademacher')),
    Case('classifier', 'plain, batches that wrap', batch=5),
    Case('classifier', 'only the attention is trained', trained='attn', decay=0.5, plan=('--train', 'attn')),
    Case('regressor', 'plain', steps=20),
    Case('regressor',
         'three micro-batches, two directions',
         batch=6,
         samples=2,
         plan=('--q', 2, '--micro', 3, '--tile', '512')),
]
EPS = 1e-3


def decays(name):
    return not (name.endswith('bias') or 'norm' in name)


def follow(case, model, folder):
    plan, metric, tuned = (os.path.join(folder, n) for n in ('a.plan', 'a.jsonl', 'a.safetensors'))
    model.compile(plan, *case.plan, '--quiet', batch=case.batch)
    run(RUN, 'train', plan, '--data', model.data, '--order', 'sequential', '--steps', case.steps, '--lr', 1e-2, '--eps',
        EPS, '--seed', case.seed, '--weight-decay', case.decay, '--metrics', metric, '-o', tuned, *case.train)
    steps, final = metrics(metric), load_file(tuned)
    assert [s['step'] for s in steps] == list(range(case.steps))

    data, base = load_file(model.data), load_file(model.file('weights.safetensors'))
    theta = {name: base[model.parameter(name)] for name in final}
    ids = zo_noise.tensor_ids(theta)
    trained = [n for n in theta if case.trained in n]
    forward = Forward(model)
    examples = len(data['labels'])
    worst = 0.0
    lists = lambda v: v if isinstance(v, list) else [v]
    for t, step in enumerate(steps):
        rows = [(t * case.batch + i) % examples for i in range(case.batch)]
        batch = {k: v[rows] for k, v in data.items()}
        plus, minus, slope = (lists(step[k]) for k in ('loss_plus', 'loss_minus', 'g'))
        assert len(plus) == len(minus) == len(slope) == case.samples
        assert step['lr'] == case.lr(t), (t, step['lr'], case.lr(t))
        z = [{n: zo_noise.noise(case.kind, case.seed, ids[n], t * case.samples + i, theta[n].shape)
              for n in trained}
             for i in range(case.samples)]
        for i in range(case.samples):
            for sign, got in ((1, plus[i]), (-1, minus[i])):
                at = {
                    model.parameter(n): zo_noise.perturbed(v, z[i][n], sign * EPS) if n in z[i] else v
                    for n, v in theta.items()
                }
                want = forward.loss(at, batch)
                worst = max(worst, abs(got - want) / abs(want))
                assert worst < LOSS, f'step {t} sample {i}: loss {got}, the judge says {want}'
            assert slope[i] == (plus[i] - minus[i]) / (2 * EPS), (t, i, slope[i])
        for n in trained:
            theta[n] = zo_noise.updated(theta[n], [zi[n] for zi in z], slope, step['lr'],
                                        case.decay if decays(n) else 0.0)
    wrong = differences(final, theta)
    assert not wrong, 'final weights differ from the update in numpy:\n' + '\n'.join(wrong)
    changed = [n for n in theta if not np.array_equal(theta[n], base[model.parameter(n)])]
    assert sorted(changed) == sorted(trained), set(changed) ^ set(trained)
    said = evaluation(plan, model.data, metric, '--weights', tuned)
    want = forward.loss({model.parameter(n): v for n, v in final.items()}, data)
    assert abs(said['loss'] - want) < LOSS * abs(want), (said, want)
    return f'{str(case):95s} l {worst:.1e}  {len(trained)} weights to the bit', worst


zo_noise.self_check()
with tempfile.TemporaryDirectory() as models_folder:
    made = {m.name: m for m in made_models(models_folder)}
    cases = named(CASES)
    worst, failed = each(lambda case, folder: follow(case, made[case.model], folder), cases)
    print(
        f'{len(worst)} of {len(cases)} runs agree with the judge; largest deviation of l {max(worst, default=0):.1e}, '
        'final weights to the bit')
    sys.exit(1 if failed else 0)
