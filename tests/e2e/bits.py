"""One numeric fingerprint, the same bits: losses, evaluations and final weights over a grid of plans and interleavings.

    bits.py [--count N] [--jobs N] [NAME...]

For each configuration (a model and whatever decides bits) N / len(configurations) combinations are drawn from: budget,
slots, residency, write-back every K steps, strategy, link rates in the cost model, emulated link, adversarial
interleavings (delays, priorities). Every plan must carry the configuration's fingerprint; every run must leave the same
bits. And what decides bits must change the fingerprint."""
import argparse, collections, concurrent.futures, dataclasses, json, os, random, sys, tempfile, time
from common import *

STEPS = 7  # not a multiple of any K but 1: runs end with updates pending


@dataclasses.dataclass
class Configuration:
    model: str
    plan: tuple  # flags that decide bits
    bind: dict
    train: tuple = ()
    exported: bool = False

    def __str__(self):
        return ' '.join([self.model, *(f'{k}={v}' for k, v in self.bind.items()), *map(str, self.plan)])


CONFIGURATIONS = [
    Configuration('lm', ('--tile', '2KiB'), {'batch': 2}),
    Configuration('lm', ('--tile', '3KiB', '--q', 2, '--micro', 2), {'batch': 4, 'seq': 7}),
    Configuration('grouped', (
        '--tile',
        '1500',
    ), {'batch': 3}),
    Configuration('grouped', ('--tile', '4KiB', '--micro', 3, '--train', 'proj|norm'), {'batch': 3, 'seq': 5}),
    Configuration('classifier', ('--tile', '700'), {'batch': 3}),
    Configuration('classifier', ('--tile', '2KiB', '--q', 3, '--rademacher'), {'batch': 2}),
    Configuration('regressor', ('--tile', '512'), {'batch': 5}),
    Configuration('regressor', ('--tile', '256', '--q', 2, '--micro', 2), {'batch': 6}),
    Configuration('lm', ('--tile', '1KiB', '--storage', 'bf16'), {'batch': 3}),
    Configuration('grouped', ('--tile', '1500', '--storage', 'fp16', '--rounding', 'nearest', '--q', 2), {'batch': 2}),
    Configuration('lm', ('--tile', '2KiB', '--compute', 'bf16'), {'batch': 2}),
    Configuration('classifier', ('--tile', '700', '--compute', 'bf16', '--storage', 'bf16'), {'batch': 3}),
    Configuration('lm', ('--tile', '2KiB', '--train', 'bias', '--wire', 'int4'), {'batch': 2}),
    Configuration('opt-wide-sdpa-dynamo', (), {}, exported=True),
    Configuration('llama-eager-legacy', ('--tile', '8KiB', '--q', 2), {}, exported=True),
    Configuration('bert-cls-sdpa-legacy', ('--tile', '6000', '--micro', 2), {}, exported=True),
    Configuration('gpt2-sdpa-dynamo', (
        '--tile',
        '5KiB',
    ), {'seq': 16}, exported=True),
]


def draw(rng, least, most):
    """One combination: flags of compile, flags of train."""
    strategy = rng.choice(['auto', 'greedy', 'greedy', 'greedy', 'stream', 'zo2', 'resident'])
    plan = ['--strategy', strategy]
    if strategy in ('auto', 'greedy'):
        plan += ['--budget', int(least + rng.choice([0, 0.1, 0.3, 0.6, 1, 1.3]) * (most - least))]
        if rng.random() < 0.6:
            plan += ['--slots', rng.choice([2, 3, 4, 5, 7])]
        if rng.random() < 0.6:
            plan += ['--resident', rng.choice(['none', int((most - least) * rng.random())])]
    elif strategy == 'stream' and rng.random() < 0.7:
        plan += ['--slots', rng.choice([1, 2, 3, 5, 8])]
    if strategy in ('auto', 'greedy', 'stream') and rng.random() < 0.8:
        plan += ['--writeback-every', rng.choice([1, 2, 3, 4, 6, 16])]
    if rng.random() < 0.3:
        plan += ['--link-up', rng.choice(['50MB/s', '1GB/s', '20GB/s']), '--link-down', rng.choice(['30MB/s', '2GB/s'])]
    train, dice = [], rng.random()
    if dice < 0.4:
        train += ['--chaos-seed', rng.randrange(1 << 31), '--chaos-mode', 'delay']
    elif dice < 0.8:
        train += ['--chaos-seed', rng.randrange(1 << 31), '--chaos-mode', 'priority']
    if rng.random() < 0.3:
        train += [
            '--emulate-link',
            rng.choice(['up=50MB/s,down=50MB/s', 'up=200MB/s,down=20MB/s', 'up=30MB/s,down=1GB/s'])
        ]
    return plan, train


class Runner:
    """A configuration with its reference run: everything resident, in a quiet order."""

    def __init__(self, configuration, model, folder):
        self.c, self.model, self.folder = configuration, model, folder
        os.makedirs(folder)
        plan = ['--strategy', 'resident']
        self.reference, report = self.outcome('reference', plan, [])
        self.fingerprint = report['fingerprint']
        self.most = report['memory']['device']['bytes']
        refusal = run(PLAN,
                      'compile',
                      model.path,
                      *bind_flags({**model.bind, **configuration.bind}),
                      '--loss',
                      model.loss,
                      *configuration.plan,
                      '--budget',
                      1,
                      status=3)
        self.least = int(refusal.split('smallest budget that works is')[1].split('(')[1].split(' bytes')[0])
        assert self.least < self.most, (self.least, self.most)
        losses = self.reference[1]
        assert len(losses) == STEPS + 2 and len({str(l) for l in losses}) == len(losses), 'a reference that is no test'

    def outcome(self, name, plan, train):
        path = os.path.join(self.folder, name)
        out, metric, report = (f'{path}.{s}' for s in ('safetensors', 'jsonl', 'json'))
        self.model.compile(path, *self.c.plan, *plan, '--report', report, '--quiet', **self.c.bind)
        run(RUN, 'train', path, '--data', self.model.data, '--truncate', '--steps', STEPS, '--lr', 3e-3, '--eps', 1e-3,
            '--seed', 77, '--weight-decay', 0.2, '--lr-schedule', 'cosine', '--warmup', 2, '--eval-data',
            self.model.data, '--eval-every', 4, '--metrics', metric, '-o', out, '--quiet', *train)
        # seconds differ; everything else is printed so that it reads back to the same bits
        losses = [{k: v for k, v in r.items() if k != 'seconds'} for r in records(metric)]
        said = json.load(open(report))
        result = (digest(out), losses)
        for name in (path, out, metric, report):
            os.remove(name)
        return result, said

    def same(self, number, plan, train):
        """'' or what differs; and what kind of plan it was."""
        try:
            (weights, losses), report = self.outcome(f'{number}', plan, train)
        except AssertionError as e:
            if 'exit status 3' in str(e):  # slots or strategy that this budget does not hold
                return None, None
            return str(e), None
        kind = (report['decision']['strategy'], report['decision']['slots'], report['decision']['writeback_every'],
                report['memory']['device']['bytes'])
        if report['fingerprint'] != self.fingerprint:
            return 'the plan has another fingerprint', kind
        if losses != self.reference[1]:
            first = next(i for i, (a, b) in enumerate(zip(losses, self.reference[1])) if a != b)
            return f'line {first} of the metrics is {losses[first]}, the reference has {self.reference[1][first]}', kind
        return ('' if weights == self.reference[0] else 'final weights differ'), kind


def check_changes(model, folder):
    """What decides bits is in the fingerprint; what does not is not."""

    def fingerprint(*flags, **bind):
        report = os.path.join(folder, 'r.json')
        model.compile(os.path.join(folder, 'a.plan'), '--report', report, '--quiet', *flags, **bind)
        return json.load(open(report))['fingerprint']

    base = fingerprint('--tile', '2KiB')
    changed = {
        title: fingerprint(*flags, **bind)
        for title, flags, bind in (('tile size', ('--tile', '3KiB'),
                                    {}), ('directions', ('--tile', '2KiB', '--q', 2),
                                          {}), ('micro-batches', ('--tile', '2KiB', '--micro', 2),
                                                {}), ('batch', ('--tile', '2KiB'),
                                                      {'batch': 3}), ('sequence', ('--tile', '2KiB'), {'seq': 7}),
                                   ('kind of noise', ('--tile', '2KiB', '--rademacher'),
                                    {}), ('trained weights', ('--tile', '2KiB', '--train', 'attn'),
                                          {}), ('rounding', ('--tile', '2KiB', '--rounding', 'nearest'), {}),
                                   ('storage', ('--tile', '2KiB', '--storage', 'bf16'), {}),
                                   ('compute', ('--tile', '2KiB', '--compute', 'bf16'), {}),
                                   ('compute of one', ('--tile', '2KiB', '--compute-for', 'k_proj=bf16'), {}),
                                   ('storage of one', ('--tile', '2KiB', '--storage-for', 'k_proj=fp16'), {}))
    }
    all_of_them = [base, *changed.values()]
    assert len(set(all_of_them)) == len(
        all_of_them), f'something that decides bits is not in the fingerprint: {base} {changed}'
    for flags in (('--budget', '150KiB'), ('--strategy', 'zo2'), ('--slots', 4, '--resident', 'none'),
                  ('--link-up', '1MB/s'), ('--writeback-every', 5, '--resident',
                                           'none'), ('--host-budget', '1GiB'), ('--machine', 'cpu-2core')):
        assert fingerprint('--tile', '2KiB', *flags) == base, f'{flags} changed the fingerprint'
    return len(changed)


parser = argparse.ArgumentParser()
parser.add_argument('names', nargs='*')
parser.add_argument('--count', type=int, default=1000)
parser.add_argument('--jobs', type=int, default=2)
parser.add_argument('--seed', type=int, default=1)
options = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    known = {m.name: m for m in made_models(os.path.join(folder, 'models')) + shared_models()}
    chosen = [
        c for c in CONFIGURATIONS if c.model in known and (not options.names or any(n in str(c) for n in options.names))
    ]
    if not models():
        print('../shared/models is not there: made models only')
    print(f'{check_changes(known["lm"], folder)} things that decide bits change the fingerprint; the others do not',
          flush=True)
    failures, total = [], 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for number, configuration in enumerate(chosen):
            begin = time.time()
            runner = Runner(configuration, known[configuration.model], os.path.join(folder, str(number)))
            rng = random.Random(options.seed * 1000 + number)
            wanted = options.count // len(chosen) + (number < options.count % len(chosen))
            kinds, wrong, done, drawn = collections.Counter(), [], 0, 0
            while done < wanted:
                batch = [draw(rng, runner.least, runner.most) for _ in range(wanted - done)]
                outcomes = pool.map(lambda job: runner.same(job[0], *job[1]), enumerate(batch, drawn))
                drawn += len(batch)
                assert drawn < 10 * wanted, 'hardly any combination is feasible'
                for combination, (difference, kind) in zip(batch, outcomes):
                    if difference is None:
                        continue
                    done += 1
                    kinds[kind] += 1
                    if difference:
                        wrong.append((combination, difference))
            total += done
            periods = sorted({k[2] for k in kinds if k})
            print(
                f'{str(configuration):70s} {done} runs, {len(kinds)} different plans, K {periods}, '
                f'{sum(k is not None and k[1] > 0 for k in kinds)} streaming; {len(wrong)} differ  '
                f'({time.time() - begin:.0f} s)',
                flush=True)
            for (plan, train), difference in wrong[:5]:
                print('   ', *plan, '|', *train, '|', difference, flush=True)
            failures += wrong
    print(f'{total} runs of {len(chosen)} configurations; {len(failures)} differ from their reference')
    sys.exit(1 if failures else 0)
