"""Writes gpu-pack/: all that `make gpu-check` needs on a machine without zo2-plan, without packages and without network.

    pack.py [--out gpu-pack] [--machine NAME|FILE] [--graphs DIR] [--sizes 1.3b,6.7b,13b]

  include/, googletest/   nlohmann-json, CLI11, GoogleTest's sources
  models/NAME/            small models with their data
  plans/*.json.gz         plans of the small models and of OPT shapes
  manifest.json           which plan is run how, and what is expected of it

Plans are for --machine, for gpu-pack/machine.json where that is there (a run of gpu-check measures it), else for the built-in
h200-pcie5. Expected losses are the CPU device's or, of models that stand beside the repository, PyTorch's. OPT graphs come
from tests/bench/opt_graph.py and are kept in DIR. Runs in `make demo`'s Python environment; build/ has zo2-plan and zo2-run.
"""
import argparse, gzip, json, os, re, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'e2e'), os.path.join(HERE, '..', 'bench')]
import common
from common import PLAN, RUN, SHARED, SOURCE, run

LIMIT = 60 << 20
# What a small model can be beside fp32 throughout, and how near its losses come to the CPU's: rounding differs between
# kernels, and narrow formats make it larger.
FORMS = {'': ((), 1e-4), 'bf16': (('--storage', 'bf16', '--q', 2), 3e-2),
         'int8': (('--wire', 'int8', '--resident', 'none'), 2e-3),
         'int4': (('--wire', 'int4', '--wire-update', 'refresh', '--refresh-every', 3, '--resident', 'none'), 2e-3)}
TRAIN = {'steps': 8, 'lr': 1e-3, 'eps': 1e-3, 'seed': 7}
TILES = {'1.3b': '8MiB', '6.7b': '16MiB', '13b': '16MiB'}
BUDGETS = ('1GiB', '2GiB', '4GiB', '8GiB')
TRAJECTORIES = 12


def say(text):
    print('gpu-pack:', text, flush=True)


class Pack:

    def __init__(self, out, machine):
        self.out, self.machine = out, machine
        self.manifest = {'machine': machine if not os.path.exists(machine) else 'machine.json', 'small': [], 'opt': []}

    def path(self, *parts):
        path = os.path.join(self.out, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def headers(self):
        for name in ('nlohmann', 'CLI'):
            found = next((d for d in ('/usr/include', '/usr/local/include') if os.path.isdir(os.path.join(d, name))), None)
            if found is None:
                sys.exit(f'there are no {name} headers in /usr/include: run cmake/setup.sh build')
            shutil.copytree(os.path.join(found, name), self.path('include', name))
        if not os.path.isdir('/usr/src/googletest/googletest/src'):
            sys.exit('there are no sources of GoogleTest in /usr/src/googletest (Debian: googletest)')
        for part in ('include', 'src'):
            shutil.copytree(f'/usr/src/googletest/googletest/{part}', self.path('googletest', part))

    def keep(self, plan, name):
        """Packs a JSON plan; its name in the pack."""
        with open(plan, 'rb') as source, open(self.path('plans', name + '.json.gz'), 'wb') as file:
            with gzip.GzipFile(filename='', mode='wb', compresslevel=9, fileobj=file, mtime=0) as target:
                shutil.copyfileobj(source, target)
        return f'plans/{name}.json.gz'

    def model(self, folder, name):
        for file in ('model.onnx', 'model.onnx.data', 'train.safetensors'):
            if os.path.exists(os.path.join(folder, file)):
                shutil.copy(os.path.join(folder, file), self.path('models', name, file))

    def compile(self, model, out, bind, *flags):
        """(report, '') or (None, why not)"""
        code, said = common.execute([PLAN, 'compile', model, *bind, '--machine', self.machine, '--quiet', '-o', out, *flags])
        if code == 3:
            return None, said
        if code != 0:
            sys.exit(f'{model} {flags}: {said}')
        with open(out) as file:
            return json.loads(json.load(file)['report']), ''

    def made(self, folder):
        made = common.made_models(folder)
        for model in made:
            self.model(model.folder, model.name)
            for form, (flags, tolerance) in FORMS.items() if model is made[0] else [('', FORMS[''])]:
                name = '-'.join(filter(None, (model.name, form)))
                bind = common.bind_flags(model.bind) + ['--loss', model.loss]
                flags = ('--tile', '4KiB', '--host-budget', '8GiB', *flags)
                whole, small = (os.path.join(folder, f'{name}-{n}.json') for n in ('whole', 'small'))
                self.compile(model.path, whole, bind, *flags)
                _, why = self.compile(model.path, small, bind, *flags, '--budget', 1)
                least = re.search(r'smallest budget that works.*? is [^(]*\((\d+) bytes', why).group(1)
                self.compile(model.path, small, bind, *flags, '--budget', least)
                metrics = os.path.join(folder, 'metrics.jsonl')
                run(RUN, 'train', whole, '--data', model.data, '--order', 'sequential', '--steps', TRAIN['steps'], '--lr', TRAIN['lr'],
                    '--eps', TRAIN['eps'], '--seed', TRAIN['seed'], '--metrics', metrics, '--quiet')
                self.manifest['small'].append({
                    'name': name, 'model': model.name, **TRAIN, 'tolerance': tolerance, 'same_bits': True,
                    'plans': {'whole': self.keep(whole, name + '-whole'), 'small': self.keep(small, name + '-small')},
                    'expected': [[m['loss_plus'], m['loss_minus']] for m in common.metrics(metrics)], 'from': 'the cpu device'})
                say(f'{name}: {TRAIN["steps"]} steps, two plans')

    def trajectories(self, folder):
        names = [n for n in common.models() if os.path.exists(os.path.join(SHARED, 'models', n, 'trajectory.json'))]
        for name in names[::max(1, len(names) // TRAJECTORIES)][:TRAJECTORIES]:
            here = os.path.join(SHARED, 'models', name)
            trajectory = json.load(open(os.path.join(here, 'trajectory.json')))
            plan = os.path.join(folder, name + '.json')
            bind = [] if 'static' in name else ['--bind', 'batch=2,seq=16']
            self.compile(os.path.join(here, 'model.onnx'), plan, bind, '--tile', '8KiB', '--host-budget', '8GiB', '--budget', '1MiB')
            self.model(here, name)
            self.manifest['small'].append({
                'name': name, 'model': name, 'steps': min(20, len(trajectory['steps'])), 'tolerance': 1e-4, 'same_bits': False,
                **{k: trajectory[k] for k in ('lr', 'eps', 'seed')}, 'plans': {'small': self.keep(plan, name)},
                'expected': [[s['loss_plus'], s['loss_minus']] for s in trajectory['steps'][:20]], 'from': 'PyTorch'})
            say(f'{name}: along its trajectory')
        if not names:
            say('../shared/models is not there: made models only')

    def opt(self, size, graphs, folder):
        import opt_graph
        graph = os.path.join(graphs, f'opt-{size}', 'model.onnx')
        if not os.path.exists(graph):
            os.makedirs(os.path.dirname(graph), exist_ok=True)
            opt_graph.export(size, graph)
        out = os.path.join(folder, 'opt.json')
        for dtype in ('fp16', 'bf16'):
            whole = None
            for label, flags in (('all', ('--strategy', 'resident')), ('zo2', ('--strategy', 'zo2')),
                                 *((b, ('--budget', b)) for b in BUDGETS)):
                if whole and label in BUDGETS and int(label[:-3]) << 30 >= whole:
                    continue  # everything is resident there as well
                report, why = self.compile(graph, out, ['--bind', 'batch=1,seq=2048'], '--tile', TILES.get(size, '16MiB'), '--storage',
                                           dtype, *flags)
                if report is None:
                    say(f'opt-{size} {dtype} {label}: no plan: {why.strip()}')
                    continue
                name = f'opt-{size}-{dtype}-{label}'
                self.manifest['opt'].append({
                    'name': name, 'size': size, 'dtype': dtype, 'memory': label, 'plan': self.keep(out, name),
                    'device_bytes': report['memory']['device']['bytes'], 'predicted': report['time']['period']})
                if label == 'all':
                    whole = report['memory']['device']['bytes']
            say(f'opt-{size} {dtype}: plans for {self.manifest["machine"]}')

    def finish(self):
        json.dump(self.manifest, open(self.path('manifest.json'), 'w'), indent=1)
        total = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(self.out) for f in files)
        say(f'{self.out} has {total / 2**20:.1f} MiB of {LIMIT >> 20}')
        if total > LIMIT:
            sys.exit('gpu-pack: that is too large: use fewer --sizes')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', default=os.path.join(SOURCE, 'gpu-pack'))
    parser.add_argument('--machine', default='')
    parser.add_argument('--graphs', default=os.path.join(common.BUILD, 'gpu-pack-graphs'))
    parser.add_argument('--sizes', default='1.3b,6.7b,13b')
    a = parser.parse_args()
    kept = os.path.join(a.out, 'machine.json')
    machine = a.machine or (kept if os.path.exists(kept) else 'h200-pcie5')
    with tempfile.TemporaryDirectory() as folder:
        if os.path.exists(machine):  # it goes along, and is what the next pack is made for
            machine = shutil.copy(machine, os.path.join(folder, 'machine.json'))
        shutil.rmtree(a.out, ignore_errors=True)
        pack = Pack(a.out, machine)
        if os.path.exists(machine):
            shutil.copy(machine, pack.path('machine.json'))
        pack.headers()
        pack.made(folder)
        pack.trajectories(folder)
        for size in filter(None, a.sizes.split(',')):
            pack.opt(size, a.graphs, folder)
        pack.finish()


if __name__ == '__main__':
    main()
