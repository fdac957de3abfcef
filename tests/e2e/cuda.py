"""The cuda device from end to end, on a driver that is played by the host: zo2-run with the GPU's kernels on the CPU.

Models follow their recorded PyTorch trajectories (made models: the CPU device's run); losses, g and weights are the same
bits for every budget, order of work, with and without graphs; a journal of one is replayed and resumed by the other's
host code; without a driver the real program says so with status 6.
"""
import os, re, sys, tempfile
import numpy as np
from safetensors.numpy import load_file
from common import *

FAKE = os.path.join(BUILD, 'tests', 'zo2-run-fake-cuda')
GPU = ('--machine', 'h100-pcie5', '--host-budget', '8GiB')


# What a run can be beside fp32 throughout. What is coded decides bits, and only what streams is.
FORMS = {'': (), ' bf16': ('--storage', 'bf16', '--q', 2), ' int8': ('--wire', 'int8', '--resident', 'none'),
         ' int4': ('--wire', 'int4', '--wire-update', 'refresh', '--refresh-every', 3, '--resident', 'none')}


def compile_small(model, plan, *form):
    """Compiles for the smallest budget that works: a budget of nothing is refused with it."""
    flags = ('--quiet', '--tile', '4KiB', *GPU, *form)
    refusal = run(PLAN, 'compile', model.path, *bind_flags(model.bind), '--loss', model.loss, *flags, '--budget', 1, '-o', plan, status=3)
    least = re.search(r'smallest budget that works.*? is [^(]*\((\d+) bytes', refusal).group(1)
    model.compile(plan, *flags, '--budget', least)


def train(model, plan, folder, tag, *flags, seed=0, device='cuda', steps=8):
    metric, tuned = os.path.join(folder, tag + '.jsonl'), os.path.join(folder, tag + '.safetensors')
    run(FAKE, 'train', plan, '--device', device, '--data', model.data, '--order', 'sequential', '--steps', steps, '--lr', 1e-3,
        '--eps', 1e-3, '--seed', 7, '--metrics', metric, '-o', tuned, '--quiet', *flags, env={'ZO2_FAKE_SEED': str(seed)})
    return [{k: v for k, v in m.items() if k != 'seconds'} for m in metrics(metric)], digest(tuned), tuned


class Job(tuple):
    """(model, form) that prints as its name."""

    def __new__(cls, *parts):
        return super().__new__(cls, parts)

    def __str__(self):
        return str(self[0]) + self[1]


def check_bits(job, folder):
    model, form = job
    whole, small = (os.path.join(folder, f'{model}-{n}.plan') for n in ('whole', 'small'))
    model.compile(whole, *GPU, '--quiet', '--tile', '4KiB', *FORMS[form])
    compile_small(model, small, *FORMS[form])
    cpu, _, cpu_tuned = train(model, whole, folder, f'{model}-cpu', device='cpu')
    first = None
    for tag, plan, seed, flags in (('whole', whole, 0, ()), ('small', small, 1, ()), ('random', small, 2, ()),
                                   ('launches', small, 3, ('--no-graphs',)), ('delays', small, 4, ('--chaos-seed', '3')),
                                   ('turns', small, 5, ('--chaos-seed', '5', '--chaos-mode', 'priority'))):
        steps, weights, tuned = train(model, plan, folder, f'{model}-{tag}', *flags, seed=seed)
        assert first is None or (steps, weights) == first, f'{model}: {tag} has other bits'
        first = steps, weights
    # Kernels differ from the CPU device's in rounding only.
    worst = max(float(np.max(np.abs(np.subtract(a[k], b[k])) / np.abs(b[k]))) for a, b in zip(first[0], cpu)
                for k in ('loss_plus', 'loss_minus'))
    assert worst < {"": 1e-5, " bf16": 3e-2}.get(form, 2e-3), f'{model}{form}: a loss is {worst} from the CPU device'
    if form == '':
        a, b = load_file(tuned), load_file(cpu_tuned)
        far = max(float(np.abs(a[w].astype(np.float64) - b[w]).max()) for w in a)
        assert set(a) == set(b) and far < 1e-3, f'{model}: a weight is {far} from the CPU device'
    return f'{str(model) + form:32s} 6 runs with the same bits; losses within {worst:.1e} of the CPU device', worst


def check_trajectory(name, folder):
    trajectory = json.load(open(os.path.join(SHARED, 'models', name, 'trajectory.json')))
    model = os.path.join(SHARED, 'models', name)
    plan, metric = (os.path.join(folder, name + s) for s in ('.plan', '.jsonl'))
    shape = [] if 'static' in name else ['--bind', 'batch=2,seq=16']
    run(PLAN, 'compile', os.path.join(model, 'model.onnx'), *shape, '--tile', '8KiB', *GPU, '--budget', '1MiB', '-o', plan, '--quiet')
    run(FAKE, 'train', plan, '--device', 'cuda', '--data', os.path.join(model, 'train.safetensors'), '--order', 'sequential',
        '--steps', 20, '--lr', trajectory['lr'], '--eps', trajectory['eps'], '--seed', trajectory['seed'], '--metrics', metric,
        '--quiet', env={'ZO2_FAKE_SEED': '6'})
    worst = max(abs(g[k] - want[k]) / abs(want[k]) for g, want in zip(metrics(metric), trajectory['steps'])
                for k in ('loss_plus', 'loss_minus'))
    assert worst < 1e-5, f'{name}: a loss deviates by {worst}'
    return f'{name:32s} l {worst:.1e}', worst


def check_journal(model, folder):
    """A GPU that breaks, and a run that is resumed in another order of work: the same bits; an export agrees."""
    plan = os.path.join(folder, 'journal.plan')
    compile_small(model, plan)
    whole = train(model, plan, folder, 'journal-whole', steps=10)
    journal = os.path.join(folder, 'cuda.zoj')
    train(model, plan, folder, 'journal-part', '--journal', journal, steps=3, seed=2)
    again = [FAKE, 'train', plan, '--device', 'cuda', '--data', model.data, '--order', 'sequential', '--steps', 10, '--lr', 1e-3, '--eps',
             1e-3, '--seed', 7, '--journal', journal, '--resume', '--quiet']
    out = run(*again, status=6, env={'ZO2_FAKE_FAIL_AT': '2500'})
    assert 'fallen off the bus' in out and '--resume goes on' in out, out
    _, weights, _ = train(model, plan, folder, 'journal-rest', '--journal', journal, '--resume', steps=10, seed=3)
    assert weights == whole[1], 'a resumed run has other bits'
    tuned = os.path.join(folder, 'journal-export.safetensors')
    run(RUN, 'export', plan, '--journal', journal, '-o', tuned)
    assert digest(tuned) == weights, 'the export has other bits'
    out = run(FAKE, 'train', plan, '--device', 'cpu', '--data', model.data, '--order', 'sequential', '--steps', 12, '--lr', 1e-3, '--eps',
              1e-3, '--seed', 7, '--journal', journal, '--resume', status=2)
    assert 'kernels' in out or 'library' in out, out


def check_profile(model, folder):
    """A machine measured through the device's queues is one that plans can be made for, with and without a plan's calls."""
    machine, plan = (os.path.join(folder, 'measured' + s) for s in ('.json', '.plan'))
    measure = [FAKE, 'profile', '--device', 'cuda', '--seconds', '0.002', '--disk-folder', folder, '-o', machine, '--quiet']
    for flags in ((), ('--plan', plan)):
        run(*measure, *flags)
        model.compile(plan, '--quiet', '--tile', '4KiB', '--machine', machine)
    report = json.load(open(machine))
    assert report['kind'] == 'cuda' and report['measured_on']['gpu'] == 'a fake', report['measured_on']
    assert any(call.startswith('prepare(') for call in report['calls']), report['calls']
    out = run(FAKE, 'train', plan, '--device', 'cuda', '--data', model.data, '--steps', 1)
    assert 'times are for' not in out, out


def check_messages(model, folder):
    plan = os.path.join(folder, 'cpu.plan')
    model.compile(plan, '--quiet', '--tile', '4KiB')
    out = run(FAKE, 'train', plan, '--device', 'cuda', '--data', model.data, '--steps', 1, status=2)
    assert 'another kind of device' in out, out
    out = run(RUN, 'train', plan, '--device', 'cuda', '--data', model.data, '--steps', 1, status=6)
    assert out.count('\n') == 1 and '--device cpu' in out, out


if not os.path.exists(FAKE):
    skip('zo2-run-fake-cuda is not built')
with tempfile.TemporaryDirectory() as folder:
    made = made_models(folder)
    results, failed = each(check_bits, [Job(m, f) for m in made for f in (FORMS if m is made[0] else ('',))])
    check_journal(made[0], folder)
    check_profile(made[0], folder)
    check_messages(made[0], folder)
    if models():
        names = named(n for n in models() if os.path.exists(os.path.join(SHARED, 'models', n, 'trajectory.json')))
        results, more = each(check_trajectory, names)
        print(f'{len(results)} of {len(names)} models follow their trajectory on the cuda device; largest deviation {max(results):.1e}')
        failed += more
    else:
        print('../shared/models is not there: made models only')
sys.exit(1 if failed else 0)
