"""Peak memory: the high-water mark of arena bytes that a run measures is what its plan says, whatever model, budget and
strategy; and the plan stays within its budget."""
import dataclasses, json, os, re, sys, tempfile
import numpy as np
from safetensors.numpy import load_file, save_file
from common import *

UNITS = {'B': 1, 'KiB': 1 << 10, 'MiB': 1 << 20, 'GiB': 1 << 30}
ALIGNMENT = 64  # an arena ends aligned, its last buffer may not


@dataclasses.dataclass
class Case:
    model: Model
    title: str
    flags: tuple
    bind: dict

    def __str__(self):
        return f'{self.model} {self.title}'


def cases(model):
    """Budgets from the least that works to where everything fits, strategies, micro-batches, several directions."""
    small = ('--tile', '2KiB' if model.made and model.loss != 'mse' else '8KiB' if not model.made else '512')
    several = (*small, '--q', 2, '--micro', 2)
    least = lambda flags: int(
        run(PLAN, 'compile', model.path, *bind_flags(model.bind), '--loss', model.loss, *flags, '--budget', 1, status=3)
        .split('smallest budget that works is')[1].split('(')[1].split(' bytes')[0])
    for title, flags in (('', small), (' q=2 micro=2', several)):
        bytes_ = least(flags)
        for share in (1.0, 1.15, 1.4):
            yield Case(model, f'budget {int(bytes_ * share)}{title}', (*flags, '--budget', int(bytes_ * share)),
                       model.bind)
        for strategy in ('resident', 'stream', 'zo2'):
            yield Case(model, strategy + title, (*flags, '--strategy', strategy), model.bind)
    for title, flags in (('bf16', ('--storage', 'bf16')), ('computed in bf16', ('--compute', 'bf16'))):
        yield Case(model, f'{title}, resident', (*small, *flags, '--strategy', 'resident'), model.bind)
        yield Case(model, f'{title}, stream', (*small, *flags, '--strategy', 'stream'), model.bind)
    coded = (*small, '--wire', 'int4')
    for title, flags in (('host update', ('--wire-update', 'host', '--resident', 'none')),
                         ('refresh', ('--wire-update', 'refresh', '--refresh-every', 3, '--resident', 'none')),
                         ('frozen, stream', ('--train', 'bias|norm', '--strategy', 'stream')),
                         ('frozen, resident', ('--train', 'bias|norm', '--strategy', 'resident'))):
        yield Case(model, f'codes, {title}', (*coded, *flags), model.bind)
    yield Case(model, 'K=3', (*small, '--resident', 'none', '--slots', 4, '--writeback-every', 3), model.bind)


def peaks(text):
    """{tier: (bytes, exact or not, text behind)} of "device memory: peak 61.20 MiB as planned; host memory: ..."."""
    found = {}
    for tier, number, unit, rest in re.findall(r'(\w+) memory: peak ([0-9.]+) (\w+)([^;\n]*)', text):
        found[tier] = (float(number) * UNITS[unit], 0.006 * UNITS[unit], rest)
    return found


def check(case, folder):
    model = case.model
    plan, report, tuned = (os.path.join(folder, n) for n in ('a.plan', 'a.json', 'a.safetensors'))
    model.compile(plan, *case.flags, '--report', report, '--quiet', **case.bind)
    # Every program runs, often enough to use every copy of its rings.
    batch = case.bind.get('batch', 2)
    examples = load_file(model.data)
    data = os.path.join(folder, 'data.safetensors')
    save_file({k: np.resize(v, (10 * batch, *v.shape[1:])) for k, v in examples.items()}, data)
    text = run(RUN, 'train', plan, '--data', data, '--order', 'sequential', '--steps', 10, '--eval-data', data,
               '--eval-every', 5, '-o', tuned)
    said = json.load(open(report))
    line = []
    for tier, (measured, rounding, rest) in peaks(text).items():
        planned = said['memory'][tier]['bytes']
        assert measured <= planned + rounding, f'{tier}: {measured} bytes measured, {planned} planned'
        budget = said['memory'][tier]['budget']
        assert planned <= budget, f'{tier}: {planned} bytes planned for a budget of {budget}'
        assert rest.strip() == 'as planned', text
        assert planned - measured < ALIGNMENT + rounding, f'{tier}: {measured} bytes measured, {planned} planned'
        line.append(f'{tier} {planned}')
    assert len(line) == 2, text
    return f'{str(case):60s} {", ".join(line)} bytes, as planned', said['memory']['device']['bytes']


with tempfile.TemporaryDirectory() as models_folder:
    chosen = made_models(models_folder) + shared_models('opt-wide-sdpa-dynamo', 'bert-cls-sdpa-legacy',
                                                        'llama-eager-legacy')
    jobs = [case for model in named(chosen) for case in cases(model)]
    figures, failed = each(check, jobs)
    print(
        f'{len(figures)} of {len(jobs)} runs on {len(named(chosen))} models peak where their plan says, '
        f'at {len(set(figures))} different '
        'amounts of device memory')
    sys.exit(1 if failed else 0)
