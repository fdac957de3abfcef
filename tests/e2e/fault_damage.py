"""The part of faults.py about files that were damaged, changed or taken away, before a run goes on or while it runs."""
import os, re, shutil, subprocess, tempfile, time
from safetensors.numpy import load_file
from common import *
from fault_runs import *
from run_journal import Journal

REFUSED = re.compile(r'(note: [^\n]*\n)*zo2-run: [^\n]+\n')


def rewrite(path, data):
    with open(path, 'wb') as f:
        f.write(data)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class Damage:

    def __init__(self, faults):
        self.faults, self.reference, self.cases = faults, faults.reference, 0
        self.halfway = faults.start().copy(faults.file('eight'))
        status, said = execute(self.halfway.command('--fsync', 'never', steps=8))
        assert status == 0, said
        # A plan that reads a model and data that may be spoilt.
        self.own = faults.file('own')
        shutil.copytree(faults.model.folder, self.own)
        self.model = os.path.join(self.own, 'model.onnx')
        self.data = os.path.join(self.own, 'train.safetensors')
        self.plan = os.path.join(self.own, 'own.plan')
        run(PLAN, 'compile', self.model, *bind_flags(faults.model.bind), '--loss', faults.model.loss, '--tile', '2KiB',
            '--resident', 'none', '--slots', 3, '--writeback-every', 3, '--train', 'layers.0', '--quiet', '-o', self.plan)

    def case(self, title, check):
        here = self.halfway.copy(tempfile.mkdtemp(prefix='d', dir=self.faults.folder))
        self.cases += 1
        try:
            check(here)
        except AssertionError as e:
            self.faults.failures.append(f'damage: {title}: {e}')
        finally:
            shutil.rmtree(here.folder)

    def recovered(self, here, says='', **kw):
        """Goes on to the same end, and says what was wrong."""
        status, said = execute(here.command(**kw))
        assert status == 0 and says in said, f'status {status}, not saying "{says}": {said}'
        assert all(line.startswith('note: ') for line in said.splitlines()), said
        self.reference.check_end(here, says)

    def refused(self, here, says, **kw):
        """One sentence, status 2, and no file changed."""
        before = contents(here.folder)
        status, said = execute(here.command(**kw))
        assert status == 2 and REFUSED.fullmatch(said) and says in said, f'status {status}, not saying "{says}": {said}'
        assert contents(here.folder) == before, 'files changed'

    def journals(self, everything):
        """The last records of a journal: the end is cut off at every byte, and every byte is flipped."""
        good = open(self.halfway.journal, 'rb').read()
        journal = Journal(self.halfway.journal)
        places = range(journal.ends[6], len(good))
        for at in places if everything else [*places[::19], len(good) - 1]:
            torn = '' if at in journal.boundaries else 'torn or damaged'
            self.case(f'cut at byte {at}', lambda h: (os.truncate(h.journal, at), self.recovered(h, torn)))
            self.case(f'flipped byte {at}',
                      lambda h: (rewrite(h.journal, flipped(good, at)), self.recovered(h, 'torn or damaged')))

    def snapshots(self):
        a, b = (lambda h: h.journal + '.snap-a'), (lambda h: h.journal + '.snap-b')
        newest = '.snap-a' if Journal(self.halfway.journal).snapshots[-1][1] == 0 else '.snap-b'

        def exchanged(here):
            os.rename(a(here), a(here) + '.x')
            os.rename(b(here), a(here))
            os.rename(a(here) + '.x', b(here))
            self.recovered(here, 'does not count')

        def of_another_run(here):
            other = self.faults.training('another')
            status, said = execute([*other.command(steps=8), '--eps', 2e-3])
            assert status == 0, said
            shutil.copy(other.journal + newest, here.journal + newest)
            shutil.rmtree(other.folder)
            self.recovered(here, 'does not count')

        self.case('snapshots exchanged', exchanged)
        self.case('snapshot of another run', of_another_run)

    def inputs(self):
        """Weights and data are cut, changed or gone between two runs; then they are as they were."""
        ids = load_file(self.data)['input_ids'].tobytes()
        for path, name, digest_says in ((self.model, 'model.onnx', 'base'), (self.data, 'train.safetensors', 'data')):
            good = open(path, 'rb').read()
            # Inside of a weight, or of the first token: another number, not another format.
            inside = len(good) // 2 if path == self.model else good.index(ids)
            for title, damage, says in (
                ('cut', lambda: os.truncate(path, len(good) * 2 // 3), name),
                ('empty', lambda: os.truncate(path, 0), name),
                ('gone', lambda: os.remove(path), name),
                ('one bit changed', lambda: rewrite(path, flipped(good, inside)), digest_says),
            ):

                def check(here):
                    damage()
                    try:
                        self.refused(here, says, plan=self.plan, data=self.data)
                    finally:
                        rewrite(path, good)
                    self.recovered(here, plan=self.plan, data=self.data)

                self.case(f'{name} {title}', check)

    def during(self, here, act):
        """A run from nothing that stops at its third step until `act` has been called. (status, said)."""
        for name in os.listdir(here.folder):
            if name.startswith('run.'):
                os.remove(os.path.join(here.folder, name))
        log = here.folder + '.log'
        command = [str(c) for c in here.command(plan=self.plan, data=self.data)]
        execute(command, faulty(here.folder, log))
        at = [i for i, line in enumerate(open(log)) if line.endswith(f'write run.zoj {STEP_BYTES}\n')][2]
        os.remove(log)
        for name in os.listdir(here.folder):
            if name.startswith('run.'):
                os.remove(os.path.join(here.folder, name))
        go_on = here.folder + '.go'
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=faulty(here.folder, log, at, f'wait:{go_on}'))
        try:
            while process.poll() is None and not (os.path.exists(log) and len(open(log).readlines()) > at):
                time.sleep(0.01)
            assert process.poll() is None, process.communicate()
            act()
        finally:
            open(go_on, 'w').close()
            said = process.communicate(timeout=60)[1]
            os.remove(go_on)
        os.remove(log)
        return process.returncode, said

    def in_use(self):

        def data_cut(here):
            good = open(self.data, 'rb').read()
            try:
                status, said = self.during(here, lambda: os.truncate(self.data, 0))
            finally:
                rewrite(self.data, good)
            assert status == 2 and REFUSED.fullmatch(said) and 'train.safetensors' in said, f'status {status}: {said}'
            self.recovered(here, plan=self.plan, data=self.data)

        def weights_cut(here):
            """They are in memory by then."""
            good = open(self.model, 'rb').read()
            try:
                status, said = self.during(here, lambda: os.truncate(self.model, 0))
            finally:
                rewrite(self.model, good)
            assert status == 0, f'status {status}: {said}'
            self.reference.check_end(here, 'weights cut')

        def two_runs(here):
            other = []
            status, said = self.during(here, lambda: other.append(execute(here.command(plan=self.plan, data=self.data))))
            assert status == 0, f'status {status}: {said}'
            assert other[0][0] == 2 and REFUSED.fullmatch(other[0][1]) and 'another run' in other[0][1], other
            self.reference.check_end(here, 'two runs')

        self.case('data cut while in use', data_cut)
        self.case('weights cut while in use', weights_cut)
        self.case('two runs on one journal', two_runs)


def check_damage(faults):
    damage = Damage(faults)
    damage.journals(faults.options.all)
    damage.snapshots()
    damage.inputs()
    damage.in_use()
    print(f'damage: {damage.cases} cases: the same bits in the end, or one sentence and no file changed', flush=True)
