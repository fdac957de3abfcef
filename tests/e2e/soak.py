"""Hours of training that is killed, interrupted, evaluated and resumed all the while, beside an undisturbed run at the end:
the same journal, metrics and weights to the bit, and flat memory.

    soak.py [--hours H] [--link RATE] [--seed N] [--folder F]

The model is small and an emulated link paces it, so that the machine sleeps nine tenths of the time; `nice` it. Not a part
of ctest. ZO2_BUILD names the folder of the programs (copies of them, where others are being built meanwhile).

  lives      the same command line again and again, with two plans of one fingerprint in turn; each process lives some
             seconds, some a quarter of an hour; then SIGKILL, SIGINT, SIGTERM, or SIGINT and SIGKILL right behind it
  between    eval, replay and export of the journal, often while it is being written
  memory     RssAnon, open files and threads of each process, by the steps it has done: flat within a life, and at equal
             step counts flat from the first life to the last, but for the history that a resumed run keeps"""
import argparse, collections, os, random, shutil, signal, struct, subprocess, tempfile, time
from safetensors.numpy import load_file
from common import *
from run_journal import Journal

EVAL_EVERY, SNAPSHOT_EVERY = 1000, 500
HISTORY = 256  # bytes of memory per step that is resumed from: the record, in a vector that doubles
SLACK = 1 << 20  # of memory that may come and go: the allocator's caches, stacks


class Tail:
    """Counts the steps of a journal that grows, without reading it anew."""

    def __init__(self, path):
        self.path, self.at, self.steps = path, 0, 0

    def read(self):
        if not os.path.exists(self.path):
            return 0
        with open(self.path, 'rb') as f:
            size = os.fstat(f.fileno()).st_size
            if size < self.at or self.at == 0:  # cut back, or new
                self.steps = 0
                self.at = 20 + struct.unpack_from('<I', f.read(16), 12)[0]
            f.seek(self.at)
            data = f.read()
        at = 0
        while at + 5 <= len(data):
            end = at + 8 + struct.unpack_from('<I', data, at)[0]
            if end > len(data):
                break
            self.steps += data[at + 4] == 1
            at = end
        self.at += at
        return self.steps


def resources(process):
    """(RssAnon in bytes, open files, threads) of a living process, else None."""
    try:
        status = dict(line.split(':', 1) for line in open(f'/proc/{process.pid}/status') if ':' in line)
        return int(status['RssAnon'].split()[0]) << 10, len(os.listdir(f'/proc/{process.pid}/fd')), int(status['Threads'])
    except (OSError, KeyError):
        return None


class Life:
    """One process, from its start to its end, and what was seen of it."""

    def __init__(self, command, tail, paced=True):
        self.tail, self.first, self.samples = tail, tail.read(), []
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        env={**ENVIRONMENT, **({'OMP_NUM_THREADS': '1'} if paced else {})})

    def watch(self, seconds, every=1.0):
        """Samples until the time is over or the process ended."""
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            time.sleep(min(every, max(0.0, end - time.time())))
            seen, steps = resources(self.process), self.tail.read() - self.first
            if seen and steps > 0:
                self.samples.append((steps, *seen))

    def wait(self):
        return self.process.communicate(timeout=300)[1], self.process.returncode

    def at(self, steps, most):
        """The sample nearest behind a step count, if there is one within `most` steps."""
        found = [s for s in self.samples if steps <= s[0] <= steps + most]
        return found[0] if found else None


def check_flat(lives):
    """Within each life behind its first evaluation, and of all lives at equal step counts. Returns the figures."""
    figures = collections.OrderedDict()
    grown = longest = 0
    for life in lives:
        settled = [s for s in life.samples if s[0] > EVAL_EVERY + 100]
        if len(settled) < 20:
            continue
        begin, end = settled[:10], settled[-10:]
        growth = min(s[1] for s in end) - max(s[1] for s in begin)
        longest, grown = max(longest, end[-1][0]), max(grown, growth)
        assert growth <= SLACK, f'a process grew by {growth} bytes in {end[-1][0] - begin[0][0]} steps'
        assert {s[2] for s in end} <= {s[2] for s in settled[:10]}, f'open files: {begin} to {end}'
        assert max(s[3] for s in end) <= max(s[3] for s in begin), f'threads: {begin} to {end}'
    figures['within a life, most growth'] = f'{max(0, grown) >> 10} KiB, longest life {longest} steps'
    for steps in (50, 500, 1200):
        row = [(life.first, life.at(steps, 40)) for life in lives]
        row = [(first, seen) for first, seen in row if seen and first > 0]
        if len(row) < 2:
            continue
        base = min(seen[1] for _, seen in row[:max(2, len(row) // 10)])
        for first, seen in row:
            more = seen[1] - base
            assert more <= SLACK + HISTORY * first, f'{steps} steps after a start at {first}: {more} bytes more'
        assert len({seen[3] for _, seen in row}) == 1, f'threads differ: {[seen[3] for _, seen in row]}'
        figures[f'{steps} steps after the start, RssAnon'] = (
            f'{min(s[1] for _, s in row) >> 10} to {max(s[1] for _, s in row) >> 10} KiB in {len(row)} lives '
            f'({row[0][1][1] >> 10} at step {row[0][0]}, {row[-1][1][1] >> 10} at step {row[-1][0]})')
    return figures


def check_metrics(got, want):
    """Every step and every evaluation once and as it should be."""
    bare = lambda r: {k: v for k, v in r.items() if k != 'seconds'}
    steps = lambda rows: [bare(r) for r in rows if 'loss_plus' in r]
    evaluations = lambda rows: [bare(r) for r in rows if 'eval_loss' in r]
    a, b = records(got), records(want)
    assert steps(a) == steps(b), 'the metrics of the steps differ'
    assert evaluations(a) and evaluations(a) == evaluations(b), 'the evaluations differ'


class Soak:

    def __init__(self, folder, options):
        self.folder, self.options, self.rng = folder, options, random.Random(options.seed)
        self.model = made_models(os.path.join(folder, 'model'), 'lm')[0]
        self.plans = [self.file('a.plan'), self.file('b.plan')]
        for plan, slots, every in zip(self.plans, (3, 5), (3, 1)):
            self.model.compile(plan, '--tile', '2KiB', '--resident', 'none', '--slots', slots, '--writeback-every',
                               every, '--quiet')
        self.journal = self.file('run.zoj')
        self.tail, self.lives, self.events, self.looks = Tail(self.journal), [], collections.Counter(), []

    def file(self, name):
        return os.path.join(self.folder, name)

    def command(self, prefix, plan, steps, paced):
        flags = [RUN, 'train', plan, '--data', self.model.data, '--steps', steps, '--lr', 2e-4, '--eps', 1e-3, '--seed',
                 5, '--weight-decay', 0.01, '--journal', prefix + '.zoj', '--resume', '--metrics', prefix + '.jsonl',
                 '--eval-data', self.model.data, '--eval-every', EVAL_EVERY, '--snapshot-every', SNAPSHOT_EVERY, '-o',
                 prefix + '.safetensors', '--quiet']
        return [str(f) for f in flags + (['--emulate-link', f'up={paced},down={paced}'] if paced else [])]

    def look(self):
        """Reads the journal while it is written, or between two lives: evaluation, replay, or an export kept for the end."""
        what = self.rng.choice(['eval', 'replay', 'export'])
        self.events[what] += 1
        if what == 'eval':
            run(RUN, 'eval', self.plans[0], '--data', self.model.data, '--journal', self.journal, '--quiet')
        elif what == 'replay':
            run(RUN, 'replay', self.plans[0], '--journal', self.journal)
        else:
            at, out = self.rng.randrange(self.tail.read() + 1), self.file(f'look{len(self.looks)}.safetensors')
            run(RUN, 'export', self.plans[1], '--journal', self.journal, '--at', at, '-o', out)
            self.looks.append((at, out))

    def live(self, left):
        """One life that is ended from outside."""
        kind = self.rng.choices(['killed', 'killed at start', 'SIGINT', 'SIGTERM', 'SIGINT and killed', 'long, killed'],
                                [50, 12, 14, 8, 10, 6])[0]
        if not self.lives:
            kind = 'long, killed'
        mean, whole = {'killed at start': 0.4, 'long, killed': 900}.get(kind, 40), 3600 * self.options.hours
        seconds = min(left, whole / 8, mean if kind.startswith('long') else self.rng.expovariate(1 / mean))
        plan = self.plans[len(self.lives) % 2]
        life = Life(self.command(self.file('run'), plan, 10**9, self.options.link), self.tail)
        if seconds > min(20, whole / 100) and self.rng.random() < 0.5:
            life.watch(seconds / 2)
            self.look()
            seconds /= 2
        life.watch(seconds)
        assert life.process.poll() is None, f'it ended by itself with {life.wait()}'
        if 'SIG' in kind:
            life.process.send_signal(signal.SIGTERM if kind == 'SIGTERM' else signal.SIGINT)
            if kind.endswith('killed'):
                time.sleep(self.rng.random() * 0.3)
                life.process.kill()
            said, status = life.wait()
            # A signal before training has begun just ends the process.
            fine = (0, -signal.SIGINT, -signal.SIGTERM, *([-signal.SIGKILL] if kind.endswith('killed') else []))
            assert status in fine, f'{kind}: status {status}: {said}'
            if status == 0:
                journal = Journal(self.journal)
                assert journal.snapshots[-1][0] == len(journal.steps), f'{kind}: the last state has no snapshot'
        else:
            life.process.kill()
            life.wait()
        self.events[kind] += 1
        self.lives.append(life)

    def finish(self, prefix, steps, paced):
        life = Life(self.command(prefix, self.plans[0], steps, paced), Tail(prefix + '.zoj'), paced=bool(paced))
        life.watch(float('inf'), every=0.5)
        said, status = life.wait()
        assert status == 0, f'status {status}: {said}'
        return life

    def run(self):
        begin = said = time.time()
        seconds = 3600 * self.options.hours
        while time.time() - begin < seconds:
            self.live(begin + seconds - time.time())
            if self.rng.random() < 0.2 and os.path.exists(self.journal):
                self.look()
            if time.time() - said > 300:
                said = time.time()
                print(f'{(said - begin) / 3600:.2f} h: {self.tail.read()} steps, {len(self.lives)} lives', flush=True)
        hours = (time.time() - begin) / 3600
        steps = self.tail.read() + 3
        self.lives.append(self.finish(self.file('run'), steps, self.options.link))
        print(f'{hours:.2f} h of training: {steps} steps in {len(self.lives)} processes '
              f'({", ".join(f"{k}: {n}" for k, n in sorted(self.events.items()))})', flush=True)
        begin = time.time()
        undisturbed = self.finish(self.file('undisturbed'), steps, None)
        print(f'the undisturbed run of as many steps took {time.time() - begin:.0f} s', flush=True)
        a, b = Journal(self.journal), Journal(self.file('undisturbed.zoj'))
        assert len(b.steps) == steps and a.bits() == b.bits() and a.evaluations == b.evaluations, 'the journals differ'
        differ = differences(load_file(self.file('run.safetensors')), load_file(self.file('undisturbed.safetensors')))
        assert not differ, 'the final weights differ\n' + '\n'.join(differ)
        check_metrics(self.file('run.jsonl'), self.file('undisturbed.jsonl'))
        print('same journal, metrics and weights as the undisturbed run, to the bit')
        for at, out in self.looks:
            again = self.file('again.safetensors')
            run(RUN, 'export', self.plans[0], '--journal', self.file('undisturbed.zoj'), '--at', at, '-o', again)
            wrong = differences(load_file(out), load_file(again))
            assert not wrong, f'the weights exported at step {at} differ: {wrong}'
        print(f'{len(self.looks)} exports made meanwhile are what the undisturbed journal gives')
        for figures in (check_flat(self.lives), {f'undisturbed: {k}': v for k, v in check_flat([undisturbed]).items()}):
            for title, value in figures.items():
                print(f'{title}: {value}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--hours', type=float, default=2)
    parser.add_argument('--link', default='1MB/s')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--folder', help='where files are kept; a temporary one otherwise')
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp(prefix='zo2-soak-')
    os.makedirs(folder, exist_ok=True)
    Soak(folder, options).run()
    if not options.folder:
        shutil.rmtree(folder)
    print('soak passed')
