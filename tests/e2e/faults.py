"""Every operation on a file goes wrong once, in every way, and nothing is lost.

    faults.py [--all] [--kills N] [--seed N] [--only PART]

tests/faults/faults.cc is preloaded: it numbers a program's operations on the files of one folder and lets one of them go
wrong. The undisturbed runs are counted; then each operation (a sample without --all) is hit by each kind of fault, the
folder is looked at, the same command is given again without a fault, and what it ends with is compared to the bit.

  train    a run from nothing, and one that goes on with a torn journal, a torn metrics file and half a snapshot: evaluation,
           snapshots, metrics, tuned weights. After a fault: the status is 0 or 2 (or it was killed); an error is one line
           that names the file or folder; what was there is as before or new and whole; the journal is a beginning of the
           undisturbed one and has lost nothing; a snapshot is still whole. After --resume: the same journal, metrics and
           weights, and no temporary file is left.
  outputs  zo2-run export and zo2-plan compile over files that exist: old or new, never half; the same once repeated
  kills    SIGKILL at random instants inside steps of a slow run, N times, and again while it resumes
  damage   fault_damage.py: a journal cut or flipped at every byte of its last records, snapshots exchanged or of another
           run, weights and data cut, changed or gone, also while they are in use; two runs on one journal"""
import argparse, collections, concurrent.futures, json, os, random, re, shutil, signal, sys, tempfile, time
from safetensors.numpy import load_file, save_file
from common import *
from fault_damage import check_damage
from fault_runs import *
from run_journal import Journal

ONE_LINE = re.compile(r'zo2-(run|plan): [^\n]+\n')


def check_error(status, said, kind, folder):
    """A fault that does not kill ends in success, or in one sentence with status 2."""
    if kind.startswith('kill'):
        assert status == -signal.SIGKILL, f'it should have been killed: status {status}: {said}'
        return
    said = ''.join(line for line in said.splitlines(keepends=True) if not line.startswith('note: '))
    if status == 0:
        assert said == '', said
        return
    assert status == 2 and ONE_LINE.fullmatch(said), f'status {status}, not one line with status 2: {said}'
    assert folder in said, f'no file is named: {said}'
    assert 'No space left' in said or 'Input/output error' in said, f'no reason is given: {said}'


def essence(path):
    """What must be equal: the bytes of a file; of a plan in JSON, all but how long planning took."""
    if not path.endswith('.json'):
        return digest(path)
    try:
        plan = json.load(open(path))
        report = json.loads(plan['report'])
    except ValueError:
        return digest(path)
    del report['planner_seconds']
    return json.dumps({**plan, 'report': report})


class Faults:

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.seen, self.failures = set(), []
        self.model = made_models(os.path.join(folder, 'model'), 'lm')[0]
        self.plan = self.file('a.plan')
        self.model.compile(self.plan, '--tile', '2KiB', '--resident', 'none', '--slots', 3, '--writeback-every', 3,
                           '--train', 'layers.0', '--quiet')
        undisturbed = self.training('undisturbed')
        status, said = execute(undisturbed.command())
        assert (status, said) == (0, ''), said
        inputs = [self.plan] + [self.model.file(n) for n in ('model.onnx', 'train.safetensors', 'weights.safetensors')]
        self.reference = Reference(undisturbed, inputs)
        assert len(self.reference.bits) == STEPS

    def file(self, name):
        return os.path.join(self.folder, name)

    def training(self, name):
        return Training(self.plan, self.model.data, self.file(name))

    def start(self):
        """Nothing but an output of an earlier run. Made once: others copy it side by side."""
        template = self.training('start')
        if not os.path.exists(template.out):
            save_file({'old': load_file(self.model.data)['input_ids']}, template.out)
        return template

    def halfway(self):
        """Killed in the middle of the record of step 8, with traces of other accidents."""
        template = self.start().copy(self.file('halfway'))
        log = self.file('steps.log')
        execute(template.command(), faulty(self.folder, log))
        steps = [i for i, line in enumerate(open(log)) if line.endswith(f'write halfway/run.zoj {STEP_BYTES}\n')]
        assert len(steps) == STEPS, steps
        shutil.rmtree(template.folder)
        template = self.start().copy(self.file('halfway'))
        status, _ = execute(template.command(), faulty(self.folder, at=steps[8], kind='kill-half'))
        journal = Journal(template.journal)
        assert status == -9 and len(journal.steps) == 8 and journal.good < journal.size, (status, len(journal.steps))
        shutil.copy(template.journal + '.snap-a', template.journal + '.snap-b.tmp.123.4')
        with open(template.metrics, 'a') as f:
            f.write('{"step":8,"loss_')
        return template

    def trial(self, template, i, kind):
        """One fault in one run. Returns the exit status, and whether the run had to go on after it."""
        here = template.copy(tempfile.mkdtemp(prefix='t', dir=self.folder))
        title = f'{os.path.basename(template.folder)}, operation {i}, {kind}'
        try:
            before = {n: digest(os.path.join(template.folder, n)) for n in os.listdir(template.folder)}
            had = (0, 0)
            if 'run.zoj' in before:
                had = (len(Journal(template.journal).steps), min(self.reference.snapshots(template)))
                before['run.jsonl'] = without_seconds(open(template.metrics).read())
            status, said = execute(here.command(), faulty(self.folder, at=i, kind=kind))
            check_error(status, said, kind, self.folder)
            self.reference.check_between(here, before, had)
            state = hash(tuple(contents(here.folder).items()))
            fresh = state not in self.seen
            self.seen.add(state)
            if status == 0 and not any('.tmp' in n for n in os.listdir(here.folder)):
                self.reference.check_end(here, title)
            elif fresh:  # a state that has been gone on from needs not be gone on from again
                here.finish()
                self.reference.check_end(here, title)
            return status, fresh and status != 0
        except AssertionError as e:
            raise AssertionError(f'{title}: {e}') from None
        finally:
            shutil.rmtree(here.folder)

    def check_training(self):
        for template in (self.start(), self.halfway()):
            whole, log = template.copy(self.file('counted')), self.file(os.path.basename(template.folder) + '.log')
            status, said = execute(whole.command(), faulty(self.folder, log))
            assert status == 0, said
            self.reference.check_end(whole, 'counted')
            found = operations(log)
            shutil.rmtree(whole.folder)
            jobs = [(i, kind) for i in chosen(found, self.options.all)
                    for kind in kinds_for(found[i][0], i, self.options.all)]
            statuses, resumed = collections.Counter(), 0
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                for job, result in zip(jobs, pool.map(lambda job: self.attempt(template, *job), jobs)):
                    if isinstance(result, str):
                        what, file = found[job[0]]
                        self.failures.append(f'{result} [{what} {file}]')
                        continue
                    statuses[result[0]] += 1
                    resumed += result[1]
            hit = len({i for i, _ in jobs})
            print(f'train, {os.path.basename(template.folder)}: {len(found)} operations, {hit} of them hit by '
                  f'{len(jobs)} faults: {statuses[-9]} killed, {statuses[2]} errors, {statuses[0]} went on; '
                  f'{resumed} different states resumed', flush=True)

    def attempt(self, template, i, kind):
        try:
            return self.trial(template, i, kind)
        except AssertionError as e:
            return str(e)

    def check_outputs(self):
        """Programs that write one file over another."""
        journal, tuned, plan = self.reference.run.journal, self.file('out/tuned.safetensors'), self.file('out/plan.json')
        commands = {
            tuned: [RUN, 'export', self.plan, '--journal', journal, '--at', 5, '-o', tuned],
            plan: [PLAN, 'compile', self.model.path, *bind_flags(self.model.bind), '--loss', self.model.loss, '--tile',
                   '2KiB', '--quiet', '-o', plan],
        }
        os.makedirs(self.file('out'))
        for path, command in commands.items():
            log = self.file('out.log')
            status, said = execute(command, faulty(self.folder, log))
            assert status == 0, said
            want, found = essence(path), operations(log)
            os.remove(log)
            jobs = [(i, kind) for i in chosen(found, self.options.all)
                    for kind in kinds_for(found[i][0], i, self.options.all)]
            for i, kind in jobs:
                title = f'{os.path.basename(path)}, operation {i} {found[i]}, {kind}'
                try:
                    with open(path, 'w') as f:
                        f.write('old')
                    old = essence(path)
                    status, said = execute(command, faulty(self.folder, at=i, kind=kind))
                    check_error(status, said, kind, self.folder)
                    assert essence(path) in ((want,) if status == 0 else (old, want)), 'neither old nor new'
                    if status != 0:
                        status, said = execute(command)
                    assert status == 0 and essence(path) == want, f'repeated: {status} {said}'
                    left = [n for n in os.listdir(self.file('out')) if '.tmp' in n]
                    assert not left, f'left behind: {left}'
                    self.reference.check_inputs()
                except AssertionError as e:
                    self.failures.append(f'{title}: {e}')
            print(f'outputs: {os.path.basename(path)}: {len(found)} operations, {len(jobs)} faults', flush=True)

    def check_kills(self, count):
        """Inside the steps of a slow run: at an operation of a step, and a random time after it."""
        slow = ('--emulate-link', 'up=3MB/s,down=3MB/s')  # a step takes some 20 ms
        rng = random.Random(self.options.seed)
        kills, states = collections.Counter(), set()
        self.start()

        def one(n, rng):
            here = self.start().copy(tempfile.mkdtemp(prefix='k', dir=self.folder))
            killed = 0
            try:
                while True:
                    at, later = rng.randrange(10, 140), rng.randrange(30000)
                    status, said = execute(here.command(*slow), faulty(self.folder, at=at, kind=f'kill-later:{later}'))
                    assert status in (0, -9), f'status {status}: {said}'
                    if status == 0:
                        break
                    killed += 1
                    if os.path.exists(here.journal):
                        journal = Journal(here.journal)
                        assert journal.bits() == self.reference.bits[:len(journal.steps)], 'the journal is wrong'
                        self.reference.snapshots(here)
                        states.add((len(journal.steps), tuple(sorted(os.listdir(here.folder)))))
                    if killed >= 6 or rng.random() < 0.4:
                        here.finish()
                        break
                self.reference.check_end(here, f'after {killed} kills')
                return killed
            finally:
                shutil.rmtree(here.folder)

        begin, runs = time.time(), 0
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            while kills['all'] < count and len(self.failures) < 40:
                wave = [pool.submit(one, runs + k, random.Random(rng.random())) for k in range(8)]
                for future in wave:
                    runs += 1
                    try:
                        kills['all'] += future.result()
                    except AssertionError as e:
                        self.failures.append(f'kills, run {runs}: {e}')
        print(f'kills: {kills["all"]} at random instants in {runs} runs, in {time.time() - begin:.0f} s, which left '
              f'journals of {len({s for s, _ in states})} different lengths',
              flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--all', action='store_true', help='every operation, every kind')
    parser.add_argument('--kills', type=int, default=40)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--only', default='train,outputs,kills,damage')
    options = parser.parse_args()
    if not os.path.exists(LIBRARY):
        sys.exit(f'{LIBRARY} is not there: build the target zo2_faults')
    begin = time.time()
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(folder, options)
        parts = options.only.split(',')
        if 'train' in parts:
            faults.check_training()
        if 'outputs' in parts:
            faults.check_outputs()
        if 'kills' in parts:
            faults.check_kills(options.kills)
        if 'damage' in parts:
            check_damage(faults)
        for failure in faults.failures[:40]:
            print('FAILED', failure[:400])
        print(f'{len(faults.failures)} failures, in {time.time() - begin:.0f} s')
    sys.exit(1 if faults.failures else 0)


if __name__ == '__main__':
    main()
