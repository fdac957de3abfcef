"""What faults.py is made of: one training run with its files, the library that makes an operation on them fail, and the
undisturbed run that every other one must end like."""
import collections, os, re, shutil, subprocess
from safetensors import safe_open
from safetensors.numpy import load_file
from common import *
from run_journal import Journal

LIBRARY = os.path.join(BUILD, 'tests', 'faults', 'libzo2_faults.so')
STEPS, SNAPSHOT_EVERY, EVAL_EVERY = 10, 3, 4
STEP_BYTES = 72  # a step's record in the journal, with one direction
WRITES = ('kill-half', 'short', 'half-ENOSPC', 'half-EIO')
KINDS = ('kill-before', 'kill-after', 'EIO', 'ENOSPC', 'full', *WRITES)


def faulty(folder, log=None, at=None, kind=''):
    """The environment that preloads the library."""
    found = {'LD_PRELOAD': LIBRARY, 'ZO2_FAULT_FOLDER': folder, 'ZO2_FAULT_KIND': kind}
    if log:
        found['ZO2_FAULT_LOG'] = log
    if at is not None:
        found['ZO2_FAULT_AT'] = str(at)
    return {**ENVIRONMENT, **found}


def operations(log):
    """[(what, file)] in order; temporary files by the name they have for good."""
    lines = [line.split(' ') for line in open(log)]
    return [(what, re.sub(r'\.tmp\.\d+\.\d+$', '.tmp', file)) for _, what, file, _ in lines]


def chosen(found, everything):
    """The operations to hit: all, or of every kind on every file the first, the last and one between, and every 13th."""
    if everything:
        return list(range(len(found)))
    places = collections.defaultdict(list)
    for i, operation in enumerate(found):
        places[operation].append(i)
    few = {i for at in places.values() for i in (at[0], at[len(at) // 2], at[-1])}
    return sorted(few | set(range(0, len(found), 13)))


def kinds_for(what, i, everything):
    """The kinds of fault that an operation can have; without `everything` each operation has some of them in turn."""
    kinds = [k for k in KINDS if k not in WRITES or what == 'write']
    if what in ('open-read', 'mmap'):
        kinds = ['EIO', 'kill-before']
    return kinds if everything else [k for j, k in enumerate(kinds) if (i + j) % 3 == 0]


def without_seconds(line):
    return re.sub(r'"seconds":[^,}]*', '', line)


def contents(folder):
    """{name: bytes} of a folder, but for what differs between equal runs: names of temporary files, measured times."""
    found = {}
    for name in sorted(os.listdir(folder)):
        data = open(os.path.join(folder, name), 'rb').read()
        if name.endswith('.jsonl'):
            data = without_seconds(data.decode()).encode()
        found[re.sub(r'\.tmp\.\d+\.\d+$', '.tmp', name)] = data
    return found


class Training:
    """The files of one run in one folder, and the command."""

    def __init__(self, plan, data, folder):
        self.plan, self.data, self.folder = plan, data, folder
        os.makedirs(folder, exist_ok=True)
        self.journal, self.metrics, self.out = (
            os.path.join(folder, n) for n in ('run.zoj', 'run.jsonl', 'tuned.safetensors'))

    def command(self, *extra, steps=STEPS, data=None, plan=None):
        return [RUN, 'train', plan or self.plan, '--data', data or self.data, '--steps', steps, '--lr', 2e-3, '--seed',
                5, '--weight-decay', 0.1, '--journal', self.journal, '--resume', '--metrics', self.metrics,
                '--eval-data', self.data, '--eval-every', EVAL_EVERY, '--snapshot-every', SNAPSHOT_EVERY, '-o', self.out,
                '--quiet', *extra]

    def copy(self, folder):
        other = Training(self.plan, self.data, folder)
        for name in os.listdir(self.folder):
            shutil.copy(os.path.join(self.folder, name), folder)
        return other

    def finish(self, **kw):
        status, said = execute(self.command(**kw))
        assert status == 0, f'going on: status {status}: {said}'
        assert all(line.startswith('note: ') for line in said.splitlines()), f'going on says: {said}'


class Reference:
    """What an undisturbed run ends with, and the weights of every step on the way."""

    def __init__(self, run_, inputs):
        self.run, journal = run_, Journal(run_.journal)
        self.bits, self.evaluations = journal.bits(), journal.evaluations
        self.lines = [without_seconds(line) for line in open(run_.metrics)]
        self.tuned = digest(run_.out)
        self.inputs = {path: digest(path) for path in inputs}
        self.trained = list(load_file(run_.journal + '.snap-a'))  # a snapshot holds no others
        self.weights = {}
        for step in range(len(self.bits) + 1):
            out = os.path.join(run_.folder, 'step.safetensors')
            run(RUN, 'export', run_.plan, '--journal', run_.journal, '--at', step, '-o', out)
            self.weights[step] = load_file(out)
            os.remove(out)

    def check_inputs(self):
        changed = [path for path, want in self.inputs.items() if digest(path) != want]
        assert not changed, f'inputs changed: {changed}'

    def check_end(self, run_, title):
        journal = Journal(run_.journal)
        assert journal.bits() == self.bits, f'{title}: another journal'
        assert journal.evaluations == self.evaluations, f'{title}: other evaluations: {journal.evaluations}'
        assert digest(run_.out) == self.tuned, f'{title}: other weights'
        lines = [without_seconds(line) for line in open(run_.metrics)]
        assert lines == self.lines, f'{title}: other metrics: {sorted(set(lines) ^ set(self.lines))[:4]}'
        left = [n for n in os.listdir(run_.folder) if '.tmp' in n]
        assert not left, f'{title}: left behind: {left}'
        self.check_inputs()

    def snapshots(self, run_):
        """The steps of the snapshots in a folder, each of them whole and right."""
        steps = []
        for path in (run_.journal + '.snap-a', run_.journal + '.snap-b'):
            if os.path.exists(path):
                with safe_open(path, 'np') as f:
                    steps.append(int(f.metadata()['step']))
                wrong = differences(load_file(path), {n: self.weights[steps[-1]][n] for n in self.trained})
                assert not wrong, f'{path} is damaged: {wrong}'
        return steps

    def check_between(self, run_, before, had):
        """After a fault: nothing lost of `before`, nothing wrong in what is new. `had`: steps of its journal and the
        older of its snapshots."""
        steps_before, snapshot_before = had
        if os.path.exists(run_.journal) or steps_before:
            journal = Journal(run_.journal)
            assert journal.bits() == self.bits[:len(journal.steps)], 'the journal is wrong'
            assert len(journal.steps) >= steps_before, f'the journal lost steps: {len(journal.steps)}'
            steps = self.snapshots(run_)
            assert all(step <= len(journal.steps) for step in steps), f'snapshots {steps} of {len(journal.steps)} steps'
            assert snapshot_before == 0 or max(steps) >= snapshot_before, f'no snapshot of step {snapshot_before} or later'
        assert digest(run_.out) in (before['tuned.safetensors'], self.tuned), 'the output is neither old nor new'
        if os.path.exists(run_.metrics):
            lines = without_seconds(open(run_.metrics).read()).splitlines(keepends=True)
            old = before.get('run.jsonl', '')
            wrong = [line for line in lines[:-1] if line not in self.lines and line not in old]
            assert not wrong, f'wrong metrics: {wrong}'
        self.check_inputs()
