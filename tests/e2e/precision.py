"""Training in 16 bits: the independent judge (judge.py) follows 20 steps of runs whose weights are stored in bf16 and
fp16, with stochastic and with nearest rounding, or whose products are computed in bf16; weights must have its bits.

Files that hold 16 bits as well; and zo2-run shares says what numpy says."""
import json, sys, tempfile
from common import *
from judge import Case, EPS, base_weights, decays, follow, read_weights, rounded
import zo_noise

STREAMED = ('--tile', '2KiB', '--resident', 'none', '--slots', 3, '--writeback-every', 3)
CASES = []
for storage in ('bf16', 'fp16'):
    for rounding in ('stochastic', 'nearest'):
        how = dict(steps=20, storage=storage, rounding=rounding)
        CASES += [
            Case('lm', f'{storage}, {rounding}', **how),
            Case('grouped', f'{storage}, {rounding}, two directions, streamed', samples=2,
                 plan=('--q', 2, *STREAMED), **how),
            Case('classifier', f'{storage}, {rounding}, decay', decay=0.3, **how),
        ]
    CASES += [
        Case(name, f'{storage}, stochastic', batch=0, lr=lambda step: 1e-4, seed=42, steps=20, storage=storage,
             plan=('--tile', '8KiB', '--budget', '1MiB'))
        for name in ('opt-sdpa-dynamo', 'gpt2-sdpa-legacy', 'llama-eager-dynamo', 'bert-cls-sdpa-legacy',
                     'qwen2-sdpa-dynamo', 'opt-untied-sdpa-legacy')
    ]

for storage in ('fp32', 'bf16'):
    how = dict(steps=20, storage=storage, compute='bf16')
    CASES += [
        Case('lm', f'{storage}, computed in bf16', **how),
        Case('grouped', f'{storage}, computed in bf16, two directions, streamed', samples=2, plan=('--q', 2, *STREAMED),
             **how),
        Case('classifier', f'{storage}, computed in bf16, decay', decay=0.3, **how),
        Case('regressor', f'{storage}, computed in bf16', **how),
    ]
    CASES += [
        Case(name, f'{storage}, computed in bf16', batch=0, lr=lambda step: 1e-4, seed=42,
             plan=('--tile', '8KiB', '--budget', '1MiB'), **how)
        for name in ('opt-sdpa-dynamo', 'gpt2-sdpa-legacy', 'llama-eager-dynamo', 'bert-cls-sdpa-legacy',
                     'qwen2-sdpa-dynamo', 'opt-untied-sdpa-legacy')
    ]
for dtype in ('bf16', 'fp16'):
    for name in ('lm', 'grouped', 'classifier'):
        CASES += [
            Case(f'{name}-{dtype}', 'stored as in the file', storage=dtype, as_is=True),
            Case(f'{name}-{dtype}', 'fp32 masters', storage='fp32'),
        ]



def share(wanted, realised):
    """<r, d> / <d, d> and its standard error."""
    d, r = (np.concatenate([x.astype(np.float64).ravel() for x in xs]) for xs in (wanted, realised))
    value = (r * d).sum() / (d * d).sum()
    return value, np.sqrt((d * d * (r - value * d)**2).sum()) / (d * d).sum()


def check_shares(case, model, folder):
    """zo2-run shares against the same sums in numpy, over the last three of five steps."""
    plan, metric, journal, table = (os.path.join(folder, n) for n in ('a.plan', 'a.jsonl', 'a.zoj', 'a.json'))
    model.compile(plan, '--storage', case.storage, '--compute', case.compute, '--rounding', case.rounding, '--q', 2,
                  '--quiet')
    run(RUN, 'train', plan, '--data', model.data, '--steps', 5, '--lr', 1e-6, '--eps', EPS, '--seed', 3,
        '--weight-decay', case.decay, '--metrics', metric, '--journal', journal)
    run(RUN, 'shares', plan, '--journal', journal, '--last', 3, '--json', table)
    said, steps = json.load(open(table)), metrics(metric)
    assert (said['from'], said['to']) == (2, 5)
    base = base_weights(model)
    ids = zo_noise.tensor_ids(said['weights'])
    worst, totals = 0.0, {'perturbation': ([], []), 'update': ([], [])}
    for name, told in said['weights'].items():
        theta = base[model.parameter(name)]
        storage, compute = (how if theta.ndim >= 2 else 'fp32' for how in (case.storage, case.compute))
        theta = rounded(theta, storage)
        draw = lambda direction: zo_noise.noise('gaussian', 3, ids[name], direction, theta.shape)
        wanted, realised = [], []
        for step in steps:
            z, decay = [draw(2 * step['step'] + i) for i in (0, 1)], case.decay if decays(name) else 0.0
            new = zo_noise.store(zo_noise.updated(theta, z, step['g'], step['lr'], decay), storage, case.rounding, 3,
                                 ids[name], step['step'])
            if step['step'] >= said['from']:
                alone = zo_noise.updated(np.zeros_like(theta), z, step['g'], step['lr']).astype(np.float64)
                wanted.append(alone + (float(np.float32(1 - step['lr'] * decay)) - 1) * theta)
                realised.append(new.astype(np.float64) - theta)
            theta = new
        z = draw(2 * said['to'])
        up, down = (rounded(zo_noise.perturbed(theta, z, s * EPS), compute).astype(np.float64) for s in (1, -1))
        for kind, d, r in (('update', wanted, realised),
                           ('perturbation', [zo_noise.perturbed(np.zeros_like(theta), z, EPS)], [(up - down) / 2])):
            totals[kind][0].extend(d)
            totals[kind][1].extend(r)
            value, error = share(d, r)
            worst = max(worst, abs(told[kind]['share'] - value), abs(told[kind]['error'] - error))
            assert worst < 1e-9 and told[kind]['elements'] == sum(x.size for x in d), (name, kind, told[kind], value, error)
    for kind, sums in totals.items():
        value, error = share(*sums)
        worst = max(worst, abs(said[kind]['share'] - value), abs(said[kind]['error'] - error))
    assert worst < 1e-9, (said['perturbation'], said['update'])
    return (f'{case.model}: shares in {case.storage}, {case.rounding}, computed in {case.compute}: '
            f'{said["perturbation"]["share"]:.4f} of perturbations, {said["update"]["share"]:.4f} of updates, '
            f'as numpy says within {worst:.0e}'), worst


SHARES = [
    Case('regressor', '', storage=storage, rounding=rounding, compute=compute, decay=0.1)
    for storage, rounding, compute in (('fp32', 'nearest', 'fp32'), ('bf16', 'stochastic', 'fp32'),
                                       ('bf16', 'nearest', 'bf16'), ('fp16', 'nearest', 'bf16'))
]

with tempfile.TemporaryDirectory() as models_folder:
    made = {m.name: m for m in made_models(models_folder) + shared_models()}
    for dtype in ('bf16', 'fp16'):
        for name in ('lm', 'grouped', 'classifier'):
            narrow = narrow_model(made[name], models_folder, dtype)
            made[narrow.name] = narrow
    if not models():
        print('../shared/models is not there: made models only')
    worst, failed = each(lambda case, folder: follow(case, made[case.model], folder),
                         named(c for c in CASES if c.model in made))
    print(f'{len(worst)} runs in 16 bits agree with the judge; largest deviation of l {max(worst, default=0):.1e}, '
          'final weights to the bit')
    wrong = []
    if not sys.argv[1:] or 'shares' in sys.argv[1:]:
        wrong = each(lambda case, folder: check_shares(case, made[case.model], folder), SHARES)[1]
    sys.exit(1 if failed or wrong else 0)
