"""What a run of days needs of a person: nothing. It keeps its best step, stops when it gets no better or has gone wrong, and
says how to go on.

    long_runs.py [--kills N] [--seed N]

  metrics     loss, accuracy and macro-F1 of evaluations against numpy, from the outputs of the model
  patience    the stop step and the best step of every metric are those that the evaluations of an endless run give
  kills       a run with patience is killed at random instants until it is over: same steps, evaluations, stop and best
  best        export, replay and eval at the best step: the bits of a run that ends there, from the journal alone too
  divergence  a learning rate that is too large, and weights that are not finite: stopped exactly where the rule says, said
              in one sentence, with a whole journal and snapshot; the same command stops at once, another limit goes on
  interrupt   the command that is printed goes on, in a folder whose name needs quotes; a second signal leaves at once
  refusals    metrics that the model does not give, and a best step where nothing was evaluated: status 2, no file changed"""
import argparse, math, os, random, re, shutil, signal, subprocess, tempfile, time
import numpy as np
from safetensors.numpy import load_file, save_file
from common import *
from run_journal import Journal

STEPS, EVERY = 120, 3


class Run:
    """A journal and what stands beside it, in a folder of its own."""

    def __init__(self, folder, plan, model, title, *flags, steps=STEPS):
        self.folder = os.path.join(folder, title)
        os.makedirs(self.folder)
        self.plan, self.steps = plan, steps
        self.journal, self.metrics, self.out = (self.file(n) for n in ('run.zoj', 'run.jsonl', 'tuned.safetensors'))
        self.flags = ['--data', model.data, '--eps', 1e-3, '--seed', 3, *flags]

    def file(self, name):
        return os.path.join(self.folder, name)

    def command(self, *extra):
        return [str(c) for c in (RUN, 'train', self.plan, *self.flags, '--steps', self.steps, '--journal', self.journal,
                                 '--resume', '--metrics', self.metrics, '-o', self.out, *extra)]

    def train(self, *extra, status=0):
        return run(*self.command(*extra), status=status)

    def read(self):
        return Journal(self.journal)

    def start(self, *extra):
        return subprocess.Popen(self.command(*extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env=ENVIRONMENT)

    def steps_done(self):
        return len(self.read().steps) if os.path.exists(self.journal) else 0

    def wait_for(self, process, steps):
        """Until the journal has so many steps, or the process is over."""
        while process.poll() is None and self.steps_done() < steps:
            time.sleep(0.001)

    def evaluations(self):
        return [r for r in records(self.metrics) if 'eval_loss' in r]


def metric_of(line, metric):
    return line['eval_' + metric]


def expected_stop(values, metric, patience):
    """(number of evaluations until the run stops or None, index of the best of them), by the definition."""
    best = 0
    for i, v in enumerate(values):
        if v < values[best] if metric == 'loss' else v > values[best]:
            best = i
        if patience and i - best >= patience:
            return i + 1, best
    return None, best


def macro_f1(labels, predictions):
    scores = []
    for c in set(labels) | set(predictions):
        right = np.sum((labels == c) & (predictions == c))
        precision, recall = right / max(1, np.sum(predictions == c)), right / max(1, np.sum(labels == c))
        scores.append(2 * precision * recall / (precision + recall) if right else 0.0)
    return float(np.mean(scores))


def check_metrics(endless, model):
    labels, outputs, out = load_file(model.data)['labels'], endless.file('outputs'), endless.file('eval.json')
    seen = 0
    for line in endless.evaluations()[::6]:
        run(RUN, 'eval', endless.plan, '--journal', endless.journal, '--at', line['step'], '--data', model.data, '--outputs',
            outputs, '--metrics', out, '--quiet')
        got, logits = records(out)[0], next(iter(load_file(outputs).values()))
        predictions = logits.argmax(axis=1)
        want = {'loss': loss_of('classify', logits, labels), 'accuracy': float(np.mean(predictions == labels)),
                'f1': macro_f1(labels, predictions)}
        for metric, value in want.items():
            assert got[metric] == metric_of(line, metric), (line, got)
            assert abs(got[metric] - value) < 1e-5 * max(1, abs(value)), (metric, got, want)
        seen += 1
    print(f'metrics: loss, accuracy and macro-F1 of {seen} steps are those of numpy, in training and in eval')


def check_patience(endless, fresh):
    lines = endless.evaluations()
    assert len(lines) == STEPS // EVERY
    stops = 0
    for metric in ('loss', 'accuracy', 'f1'):
        for patience in (1, 4, 9):
            count, best = expected_stop([metric_of(l, metric) for l in lines], metric, patience)
            run_ = fresh(f'{metric}-{patience}', '--eval-metric', metric, '--patience', patience)
            text, journal = run_.train(), run_.read()
            step = EVERY * count if count else STEPS
            stops += count is not None
            assert len(journal.steps) == step, (metric, patience, len(journal.steps), step)
            assert journal.bits() == endless.read().bits()[:step]
            assert journal.snapshots[-1][0] == step
            want = [(l['step'], metric, metric_of(l, metric), digest(run_.flags[1])) for l in lines[:step // EVERY]]
            assert journal.evaluations == want, (journal.evaluations, want)
            assert f'best {metric}: {metric_of(lines[best], metric):.6f} at step {lines[best]["step"]}' in text, text
            assert (f'stopped at step {step} of {STEPS}' in text) == (count is not None), text
            if count:  # over is over; more patience goes on
                before = digest(run_.journal)
                assert 'stopped at step' in run_.train()
                assert digest(run_.journal) == before, 'a run that is over took another step'
                run_.flags[run_.flags.index('--patience') + 1] = 0
                run_.train()
                assert run_.read().bits() == endless.read().bits()
                assert run_.evaluations() == lines
    assert stops >= 5, stops
    print(f'patience: {stops} of 9 runs stopped, each where the evaluations say')


def check_kills(fresh, rng, count):
    flags = ('--eval-metric', 'f1', '--patience', 12)
    reference = fresh('undisturbed', *flags)
    reference.train()
    want = reference.read()
    assert len(want.steps) < STEPS, 'patience should end it'
    kills = runs = at_evaluation = 0
    while kills < count:
        victim = fresh(f'victim{runs}', *flags)
        runs += 1
        while True:
            process = victim.start('--emulate-link', 'up=8MB/s,down=8MB/s', '--quiet')
            victim.wait_for(process, victim.steps_done() + rng.randrange(1, 30))
            time.sleep(rng.random() * 0.01)
            process.kill()
            process.communicate()
            if process.returncode == 0:
                break
            kills += 1
            if os.path.exists(victim.journal):
                journal = victim.read()
                done = len(journal.steps)
                at_evaluation += done > 0 and done % EVERY == 0 and journal.evaluations[-1:] != [
                    e for e in want.evaluations if e[0] == done]
        got = victim.read()
        assert got.bits() == want.bits(), f'{len(got.steps)} steps instead of {len(want.steps)}'
        assert got.evaluations == want.evaluations
        assert victim.evaluations() == reference.evaluations()
        assert digest(victim.out) == digest(reference.out)
    print(f'kills: {kills} in {runs} runs, {at_evaluation} of them where an evaluation was due and not made; '
          f'all stop at step {len(want.steps)} with the same bits and evaluations')
    return reference, victim


def check_best(reference, victim, fresh, model):
    values = [e[2] for e in reference.read().evaluations]
    step = reference.read().evaluations[int(np.argmax(values))][0]
    assert 0 < step < len(reference.read().steps)
    short = fresh('short')
    short.steps = step
    short.train()
    alone = fresh('alone')
    shutil.copy(reference.journal, alone.journal)  # base weights and journal, no snapshot
    out, said = reference.file('best.safetensors'), []
    for r in (reference, victim, alone):
        text = run(RUN, 'export', r.plan, '--journal', r.journal, '--at', 'best', '-o', out)
        assert f'best f1: {max(values):.6f} at step {step}' in text and f'weights of step {step}' in text, text
        assert not differences(load_file(out), load_file(short.out)), differences(load_file(out), load_file(short.out))
        text = run(RUN, 'replay', r.plan, '--journal', r.journal, '--at', 'best')
        said.append(re.search(f'weights of step {step}: sha256 (\\w+)', text)[1])
        run(RUN, 'eval', r.plan, '--journal', r.journal, '--at', 'best', '--data', model.data, '--metrics',
            reference.file('best.json'))
        got = records(reference.file('best.json'))[0]
        assert (got['f1'], got['step']) == (max(values), step), got
    assert len(set(said)) == 1, said
    print(f'best: step {step} by export, replay and eval, with the bits of a run that ends there')


def check_divergence(folder, models, compiled):
    high = 0
    for name, lr in (('regressor', 0.3), ('lm', 0.03), ('classifier', 0.03)):
        run_ = Run(folder, compiled[name], models[name], f'diverged-{name}', '--lr', lr, steps=2000)
        text, journal = run_.train('--quiet', status=2), run_.read()
        assert len(text.strip().splitlines()) == 1 and 'diverged' in text and '--stop-loss-ratio' in text, text
        losses = [(s['loss_plus'][0] + s['loss_minus'][0]) / 2 for s in journal.steps]
        assert all(map(math.isfinite, losses)), 'not the rule that is tested here'
        most, row = 10 * max(losses[:3]), 0
        for n, loss in enumerate(losses):
            row = row + 1 if n >= 3 and loss > most else 0
            assert (row == 100) == (n + 1 == len(losses)), (name, n, len(losses))
        assert f'step {len(losses) - 1} ' in text, text
        assert journal.good == journal.size and journal.snapshots[-1][0] == len(losses)
        # Killed on the way it stops at the same step; the same command stops at once; another limit goes on.
        again = Run(folder, compiled[name], models[name], f'killed-{name}', '--lr', lr, steps=2000)
        process = again.start('--quiet')
        again.wait_for(process, len(losses) * 2 // 3)
        process.kill()
        process.communicate()
        for _ in range(2):
            assert 'diverged' in again.train('--quiet', status=2)
            assert again.read().bits() == journal.bits()
        again.steps = len(losses) + 5
        again.train('--stop-loss-ratio', 0)
        assert again.read().bits()[:len(losses)] == journal.bits() and len(again.read().steps) == again.steps
        high += 1
    skipped = 0
    model = models['regressor']
    infinite = os.path.join(folder, 'infinite.safetensors')
    save_file({k: np.full_like(v, np.inf) if k == 'net.2.bias' else v
               for k, v in load_file(model.file('weights.safetensors')).items()}, infinite)
    for most in (1, 2, 3, 10):
        run_ = Run(folder, compiled['regressor'], model, f'skipped-{most}', '--weights', infinite, '--max-skips', most)
        text = run_.train('--quiet', status=2)
        assert f'not finite in {most} steps in a row, the last of them step {most - 1}:' in text.splitlines()[-1], text
        assert [s['skipped'] for s in run_.read().steps] == [1] * most
        assert len(metrics(run_.metrics)) == most
        run_.train('--quiet', status=2)
        assert len(run_.read().steps) == most, 'the same command took another step'
        run_.flags[run_.flags.index('--max-skips') + 1] = most + 2
        run_.train('--quiet', status=2)
        assert len(run_.read().steps) == most + 2
        skipped += 1
    print(f'divergence: {high} runs whose loss rose and {skipped} without finite losses, each stopped at its step')


def check_interrupt(fresh, endless):
    slow = ('--emulate-link', 'up=4MB/s,down=4MB/s')
    victim = fresh("it's a folder; $HOME")
    process = victim.start(*slow)
    for stops in range(4):
        victim.wait_for(process, victim.steps_done() + 5)
        process.send_signal((signal.SIGINT, signal.SIGTERM)[stops % 2])
        text = process.communicate()[0]
        assert process.returncode == 0, (process.returncode, text)
        journal = victim.read()
        assert journal.snapshots[-1][0] == len(journal.steps) < STEPS and 'finishing what is under way' in text, text
        command = re.search('^to go on: (.*)$', text, re.M)[1]
        process = subprocess.Popen(['/bin/sh', '-c', 'exec ' + command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, env=ENVIRONMENT)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    assert victim.read().bits() == endless.read().bits() and digest(victim.out) == digest(endless.out)
    assert victim.evaluations() == endless.evaluations()
    # A second signal, of either kind, ends it within the step; nothing is lost but that.
    hasty = fresh('hasty')
    for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)):
        process = hasty.start('--emulate-link', 'up=40KB/s,down=40KB/s')
        before = hasty.steps_done()
        hasty.wait_for(process, before + 1)
        process.send_signal(first)
        said = ''
        while 'finishing what is under way' not in said:
            line = process.stdout.readline()
            assert line, f'it ended at the first signal: {said}'
            said += line
        process.send_signal(second)
        process.communicate()
        assert process.returncode == -second, process.returncode
        journal = hasty.read()
        assert len(journal.steps) > before and journal.bits() == endless.read().bits()[:len(journal.steps)]
    hasty.train()
    assert hasty.read().bits() == endless.read().bits() and digest(hasty.out) == digest(endless.out)
    print('interrupt: 4 signals and the printed command; 3 times a second signal; the same bits in the end')


def check_refusals(folder, models, compiled, endless):
    lm = Run(folder, compiled['lm'], models['lm'], 'refused', '--lr', 1e-3, steps=4)
    data = models['lm'].data
    for flags, says in ((('--eval-data', data, '--eval-metric', 'f1'), ('--eval-metric f1', 'classify', 'causal-lm')),
                        (('--eval-data', data, '--eval-metric', 'accuracy'), ('--eval-metric accuracy', 'causal-lm')),
                        (('--eval-data', data, '--eval-metric', 'recall'), ('--eval-metric', 'recall', 'f1')),
                        (('--eval-metric', 'f1'), ('--eval-metric', '--eval-data')),
                        (('--patience', 3, '--eval-data', data), ('--patience', '--eval-every')),
                        (('--patience', -1), ('--patience', '-1')), (('--stop-loss-ratio', 0.5), ('--stop-loss-ratio', '0.5')),
                        (('--stop-loss-ratio', 'nan'), ('--stop-loss-ratio', 'nan'))):
        text = lm.train(*flags, status=2)
        assert all(s in text for s in says) and len(text.strip().splitlines()) == 1, text
        assert not os.listdir(lm.folder), os.listdir(lm.folder)
    lm.train()
    before = {n: digest(lm.file(n)) for n in os.listdir(lm.folder)}
    for command, flags in (('export', ('-o', lm.file('new.safetensors'))), ('replay', ()), ('eval', ('--data', data))):
        ask = lambda at: run(RUN, command, lm.plan, '--journal', lm.journal, '--at', at, *flags, status=2)
        for at, says in (('best', 'has no evaluations'), ('5', 'ends at step 4'), ('last', "--at is 'last'")):
            text = ask(at)
            assert says in text and len(text.strip().splitlines()) == 1, text
        assert {n: digest(lm.file(n)) for n in os.listdir(lm.folder)} == before
    run(RUN, 'export', lm.plan, '--journal', lm.journal, '--at', 'end', '-o', lm.file('end.safetensors'))
    assert not differences(load_file(lm.file('end.safetensors')), load_file(lm.out))
    print('refusals: 8 of train, 9 of export, replay and eval')


parser = argparse.ArgumentParser()
parser.add_argument('--kills', type=int, default=24)
parser.add_argument('--seed', type=int, default=1)
options = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    models = {m.name: m for m in made_models(folder, 'classifier', 'regressor', 'lm')}
    compiled = {name: os.path.join(folder, name + '.plan') for name in models}
    for name, model in models.items():
        model.compile(compiled[name], '--tile', '2KiB', '--resident', 'none', '--slots', 3, '--writeback-every', 3, '--quiet')
    model = models['classifier']
    fresh = lambda title, *flags: Run(folder, compiled['classifier'], model, title, '--lr', 3e-3, '--eval-data', model.data,
                                      '--eval-every', EVERY, *flags)
    endless = fresh('endless')
    endless.train()
    check_metrics(endless, model)
    check_patience(endless, fresh)
    reference, victim = check_kills(fresh, random.Random(options.seed), options.kills)
    check_best(reference, victim, fresh, model)
    check_divergence(folder, models, compiled)
    check_interrupt(fresh, endless)
    check_refusals(folder, models, compiled, endless)
