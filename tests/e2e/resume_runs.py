"""Runs with a journal that are killed and go on, for the tests of resuming."""
import os, shutil, subprocess, time
from safetensors.numpy import load_file
from common import *
from run_journal import Journal

STEPS = 60


class Run:
    """A plan, its data and one journal in a folder of its own."""

    def __init__(self, folder, plan, data, title):
        self.folder = os.path.join(folder, title)
        os.makedirs(self.folder)
        self.plan, self.data = plan, data
        self.journal, self.metrics, self.out = (
            os.path.join(self.folder, n) for n in ('run.zoj', 'run.jsonl', 'tuned.safetensors'))

    def command(self, *extra, steps=STEPS, slow=True, plan=None, data=None, resume=True, quiet=True):
        return [
            str(c) for c in (RUN, 'train', plan or self.plan, '--data', data or self.data, '--steps', steps, '--lr',
                             2e-3, '--eps', 1e-3, '--seed', 5, '--weight-decay', 0.1, '--journal', self.journal,
                             *(['--resume'] if resume else []), '--metrics', self.metrics, '--eval-data', self.data,
                             '--eval-every', 16, '--snapshot-every', 7, '-o', self.out, *(['--quiet'] if quiet else []),
                             *(['--emulate-link', 'up=6MB/s,down=6MB/s'] if slow else []), *extra)
        ]

    def finish(self, *extra, status=0, **kw):
        return run(*self.command(*extra, **kw), status=status)

    def steps_done(self):
        return len(Journal(self.journal).steps) if os.path.exists(self.journal) else 0

    def kill(self, rng):
        """Starts it and kills it somewhere; True when it was done before."""
        process = subprocess.Popen(self.command(),
                                   stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL,
                                   env=ENVIRONMENT)
        if rng.random() < 0.75:  # inside training, else anywhere from start-up on
            wanted, begin = self.steps_done() + rng.randrange(1, 8), time.time()
            while self.steps_done() < wanted and process.poll() is None and time.time() - begin < 60:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.02)
        else:
            time.sleep(rng.random() * 0.6)
        process.kill()
        return process.wait() == 0

    def files(self):
        return {n: digest(os.path.join(self.folder, n)) for n in sorted(os.listdir(self.folder))}

    def copy(self, title):
        other = Run(os.path.dirname(self.folder), self.plan, self.data, title)
        for n in os.listdir(self.folder):
            shutil.copy(os.path.join(self.folder, n), other.folder)
        return other


def replaced(command, flags):
    """The command with these flags and values: a flag given twice would be a usage error."""
    command = list(command)
    for flag, value in zip(flags[::2], flags[1::2]):
        if flag in command:
            command[command.index(flag) + 1] = value
        else:
            command += [flag, value]
    return command


def check_equal(got, want, title):
    a, b = Journal(got.journal), Journal(want.journal)
    assert a.bits() == b.bits(), f'{title}: journals of {len(a.steps)} and {len(b.steps)} steps differ'
    wrong = differences(load_file(got.out), load_file(want.out))
    assert not wrong, f'{title}: final weights differ\n' + '\n'.join(wrong)
    # Lines of steps that were done twice or killed before they were written may repeat or lack; none may differ.
    values = {(r['step'], 'g' in r): {k: v for k, v in r.items() if k != 'seconds'} for r in records(want.metrics)}
    for r in records(got.metrics):
        if 'eval_loss' in r and (r['step'], False) not in values:
            continue  # the end of a shorter run
        expected = values[r['step'], 'g' in r]
        assert {k: v for k, v in r.items() if k != 'seconds'} == expected, f'{title}: {r} instead of {expected}'


def check_kills(fresh, reference, rng, count):
    kills = runs = reached = 0
    while kills < count:
        victim = fresh(f'victim{runs}')
        while not victim.kill(rng):
            kills += 1
            if os.path.exists(victim.journal):
                journal = Journal(victim.journal)
                reached += len(journal.steps) > 0
                assert journal.bits() == Journal(
                    reference.journal).bits()[:len(journal.steps)], 'a killed run left a wrong journal'
        runs += 1
        check_equal(victim, reference, f'after {kills} kills')
    print(
        f'kills: {kills} in {runs} runs, {reached} of them with steps done; '
        'every run ends with the bits of the undisturbed one'
    )
