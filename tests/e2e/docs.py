"""Runs the commands of README.md, docs/*.md and examples/*/README.md, and looks whether what they print is still what the
documents show.

A block marked sh is commands; a block marked text right behind it is their output, with lines "..." where some are left out.
Each document runs as one script in a temporary folder. Small models stand in for those that a user has: demo-out/ for what
`make demo` leaves, mine/ for a model exported with PyTorch. Commands that set up or build, or need PyTorch, are listed
below: they are known, not run. Of the output, words must agree; numbers and names of weights need not.
"""
import glob, json, os, re, shlex, shutil, subprocess, sys, tempfile
import onnx
from common import *

import make_models

# Commands that are not run, by their beginnings.
KNOWN = ('make demo', 'make test', 'make bench', 'STEPS=1000 BUDGET=20MiB make demo', 'export PATH=', 'examples/your_model/run.sh',
         'python examples/your_model/export_model.py', 'python examples/your_model/use_tuned.py')
# The stand-ins are smaller than the models they stand for. Each replacement must be needed somewhere.
SMALLER = {
    'README.md': {'laptop-8g --budget 24MiB': 'laptop-8g --budget 800KiB --tile 4KiB',
                  '--budget 24MiB': '--budget 495KiB --tile 4KiB', '--budget 200MiB': '--budget 1GiB --tile 4KiB',
                  '16MiB..128MiB': '400KiB..2MiB --tile 4KiB',
                  'encoder.encoder.layer.0.attention.self.query.weight': 'encoder.layer.0.attn.q_proj.weight',
                  '-o machine.json': '-o machine.json --seconds 0.001'},
    'examples/your_model/README.md': {'--budget 5MiB': '--budget 1000KiB --tile 8KiB', '4MiB..16MiB': '900KiB..4MiB --tile 8KiB',
                                      '--steps 400': '--steps 12'},
}


def shell(folder, command):
    return run('bash', '-o', 'pipefail', '-c', f'cd {shlex.quote(folder)} && ' + command,
               env={'PATH': BUILD + ':' + os.environ['PATH']})


def stand_ins(folder):
    """What a user has after the commands that are not run."""
    models = make_models.make(os.path.join(folder, 'my-models'), ['lm', 'classifier'])
    demo, mine = os.path.join(folder, 'demo-out'), os.path.join(folder, 'mine')
    os.makedirs(demo), os.makedirs(mine)
    model = onnx.load(os.path.join(models['classifier'], 'model.onnx'))
    for value in list(model.graph.input):  # the demo's model has a fixed sequence length
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == 'seq':
                dim.dim_value = 13
    onnx.save(model, os.path.join(demo, 'model.onnx'))
    for name in ('train', 'heldout'):
        shutil.copy(os.path.join(models['classifier'], 'train.safetensors'), os.path.join(demo, name + '.safetensors'))
    shutil.copy(os.path.join(models['lm'], 'model.onnx'), mine)
    os.makedirs(os.path.join(folder, 'docs'))
    for path in glob.glob(os.path.join(SOURCE, 'docs', '*')):
        shutil.copy(path, os.path.join(folder, 'docs'))
    shutil.copy(os.path.join(SOURCE, 'README.md'), folder)
    # Documents about formats go on from here.
    run(PLAN, 'compile', os.path.join(models['lm'], 'model.onnx'), '--bind', 'batch=4,seq=11', '--budget', '200KiB', '--quiet',
        '-o', os.path.join(folder, 'lm.plan'))


def data_for_mine(folder):
    """The example's own script makes the data; the stand-in model has fewer tokens and positions than it uses."""
    script = os.path.join(SOURCE, 'examples', 'your_model', 'make_data.py')
    shell(folder, f'{shlex.quote(sys.executable)} {shlex.quote(script)} mine README.md --seq 32')
    for name in ('train', 'eval'):
        path = os.path.join(folder, 'mine', name + '.jsonl')
        rows = [json.loads(line)['input_ids'] for line in open(path)]
        open(path, 'w').writelines(json.dumps({'input_ids': [i % 61 for i in row]}) + '\n' for row in rows[:40])


def blocks(path):
    """(kind, text, line number) of each fenced block."""
    text = open(path, encoding='utf-8').read()
    for m in re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.M | re.S):
        yield m[1], m[2], text.count('\n', 0, m.start()) + 2


def commands(text):
    return [c for c in text.replace('\\\n', ' ').splitlines() if c.strip() and not c.startswith('#')]


def skeleton(line):
    """What of a line does not depend on the model, the machine or the moment."""
    line = re.sub(r'\b[0-9a-f]{16,64}\b', '#', line)
    line = re.sub(r"[^\s,;:()\[\]]*[A-Za-z_][._/:]+[^\s,;()\[\]]*", '@', line)  # names of weights and files
    line = re.sub(r'[-+]?\d+(\.\d+)?(e[-+]?\d+)?', '#', line)
    line = re.sub(r'# ?(ns|us|ms|s|min|h|B|KiB|MiB|GiB|[KMGT]?FLOP|[KMG])\b', '#', line)
    line = re.sub(r'less than a second|# seconds|about # \w+', '#', line)
    line = re.sub(r'(#, )+#', '#', line)
    return ' '.join(line.split())


class Document:
    def __init__(self, folder, name):
        self.folder, self.name, self.ran, self.used = folder, name, 0, set()

    def smaller(self, command):
        for old, new in SMALLER.get(self.name, {}).items():
            if old in command:
                self.used.add(old)
                command = command.replace(old, new)
        return command

    def one(self, command):
        """Runs a line; returns what it printed, or None if it is only known."""
        if command.startswith('python examples/your_model/make_data.py'):
            data_for_mine(self.folder)
            return None
        if command.startswith(KNOWN):
            return None
        first = shlex.split(command)[0]
        assert first in ('zo2-plan', 'zo2-run', 'sha256sum', 'grep'), f'{self.name}: what is "{command}"? Add it to KNOWN.'
        self.ran += 1
        command = self.smaller(command)
        return shell(self.folder, command)

    def check(self):
        printed, failures = None, []
        for kind, text, line in blocks(os.path.join(SOURCE, self.name)):
            if kind == 'sh':
                outputs = [self.one(c) for c in commands(text)]
                printed = None if None in outputs else ''.join(outputs)
            elif kind == 'text' and printed is not None:
                have = {skeleton(l) for l in printed.splitlines()}
                for i, l in enumerate(text.splitlines()):
                    if l.strip() not in ('', '...') and skeleton(l) not in have:
                        failures.append(f'{self.name}:{line + i}: nobody prints "{l}" any more; closest forms:\n    ' +
                                        '\n    '.join(sorted(h for h in have if h[:4] == skeleton(l)[:4])[:5]))
                printed = None
            elif kind == 'json':
                lines = set(open(os.path.join(SOURCE, 'docs', 'tiny.plan.json')).read().splitlines())
                failures += [f'{self.name}:{line + i}: "{l}" is not in tiny.plan.json' for i, l in enumerate(text.splitlines())
                             if l not in lines]
            else:
                printed = None
        failures += [f'{self.name}: nothing needs the replacement of "{old}"' for old in set(SMALLER.get(self.name, {})) - self.used]
        return failures


def links(name):
    """Relative links of a document must lead somewhere."""
    text = open(os.path.join(SOURCE, name), encoding='utf-8').read()
    here = os.path.dirname(os.path.join(SOURCE, name))
    return [f'{name}: the link {target} leads nowhere' for target in re.findall(r'\]\(([^)#]+)\)', text)
            if '://' not in target and not os.path.exists(os.path.join(here, target))]


def main():
    if not os.path.exists(RUN):
        skip('zo2-run was not built')
    names = ['README.md', *sorted(os.path.relpath(p, SOURCE) for p in glob.glob(os.path.join(SOURCE, 'docs', '*.md'))),
             *sorted(os.path.relpath(p, SOURCE) for p in glob.glob(os.path.join(SOURCE, 'examples', '*', 'README.md')))]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        stand_ins(folder)
        for name in names:
            document = Document(folder, name)
            failures += links(name)
            try:
                failures += document.check()
            except AssertionError as e:
                failures.append(f'{name}: {e}')
            print(f'{name}: {document.ran} commands', flush=True)
    print('\n'.join(failures) or 'every command runs and prints what is written')
    sys.exit(1 if failures else 0)


main()
