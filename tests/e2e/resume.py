"""A killed run goes on as if nothing had happened: the same journal, losses and weights, to the bit.

    resume.py [--kills N] [--seed N]

  kills      runs slowed by an emulated link are killed (SIGKILL) at random instants, from start-up to the last step,
             and started again with the same command line until they are done
  replay     base weights + journal, without any snapshot; the state at a step in the middle; export of both
  interrupt  SIGINT finishes the step and leaves with status 0; the same command goes on
  damage     a torn journal end, a flipped byte in it, damaged snapshots: said, and the result is the same
  refusals   other data, seed, eps, q, decay or plan: status 2, the difference named, no file changed"""
import argparse, os, random, shutil, signal, subprocess, tempfile, time
import numpy as np
from safetensors.numpy import load_file, save_file
from common import *
from resume_runs import STEPS, Run, check_equal, check_kills, replaced
from run_journal import Journal


def check_replay(reference, slower, folder):
    """Export and replay of two journals of the same run, with and without snapshots."""
    alone = os.path.join(folder, 'alone', 'run.zoj')
    os.makedirs(os.path.dirname(alone))
    shutil.copy(reference.journal, alone)  # a journal without its snapshots: base weights only
    out = os.path.join(folder, 'replayed.safetensors')
    base = load_file(os.path.join(os.path.dirname(reference.data), 'weights.safetensors'))
    for at in (0, 1, 13, 14, 41, STEPS):
        exports = []
        for journal in (alone, reference.journal, slower.journal):
            run(RUN, 'export', reference.plan, '--journal', journal, '--at', at, '-o', out)
            exports.append(load_file(out))
        for other in exports[1:]:
            assert not differences(exports[0], other), (at, differences(exports[0], other))
        if at == 0:
            assert not differences(exports[0], base), 'step 0 is not the base weights'
        if at == STEPS:
            assert not differences(exports[0], load_file(reference.out)), differences(
                exports[0], load_file(reference.out))
        if at == 41:  # a run of so many steps says the same
            short = Run(folder, reference.plan, reference.data, 'short')
            short.finish(steps=at, slow=False)
            assert not differences(exports[0], load_file(short.out)), differences(exports[0], load_file(short.out))
    said = [run(RUN, 'replay', reference.plan, '--journal', j) for j in (alone, reference.journal, slower.journal)]
    digests = [next(w for w in text.split() if len(w) == 64) for text in said]
    assert len(set(digests)) == 1, said
    refused = run(RUN, 'export', reference.plan, '--journal', alone, '--at', STEPS + 1, '-o', out, status=2)
    assert str(STEPS) in refused, refused
    print('replay: base weights + journal, snapshots + journal and the run agree, at 6 steps')


def check_interrupt(fresh, reference):
    victim = fresh('interrupted')
    stops = 0
    while True:
        process = subprocess.Popen(victim.command(quiet=False),
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT,
                                   text=True,
                                   env=ENVIRONMENT)
        before = victim.steps_done()
        while process.poll() is None and victim.steps_done() < before + 6:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT if stops % 2 == 0 else signal.SIGTERM)
        text = process.communicate()[0]
        assert process.returncode == 0, (process.returncode, text)
        journal = Journal(victim.journal)
        assert journal.snapshots[-1][0] == len(journal.steps), 'the last state has no snapshot'
        if len(journal.steps) == STEPS:
            break
        stops += 1
        assert '--resume' in text, text
    assert stops >= 3, stops
    check_equal(victim, reference, 'interrupted')
    print(
        f'interrupt: {stops} SIGINT or SIGTERM, each with status 0 and a snapshot of the last step; '
        'the same bits in the end'
    )


def check_damage(reference, halfway):
    journal = Journal(halfway.journal)
    done = len(journal.steps)
    good = open(halfway.journal, 'rb').read()

    def case(title, damage, says):
        victim = halfway.copy(title.replace(' ', '-'))
        damage(victim)
        text = victim.finish(slow=False, quiet=False)
        for part in says:
            assert part in text, f'{title}: "{part}" is not said:\n{text}'
        check_equal(victim, reference, title)

    def rewrite(path, data):
        with open(path, 'wb') as f:
            f.write(data)

    def flipped(data, at):
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]

    snapshots = lambda v: [os.path.join(v.folder, n) for n in ('run.zoj.snap-a', 'run.zoj.snap-b')]
    assert all(map(os.path.exists, snapshots(halfway))), 'two generations should be there'
    newest = lambda v: snapshots(v)[journal.snapshots[-1][1]]
    case('torn by some bytes', lambda v: rewrite(v.journal, good[:-5]), ['torn or damaged'])
    case('torn inside a step', lambda v: rewrite(v.journal, good[:journal.ends[done // 2] + 11]),
         ['torn or damaged', f'good for {done // 2 + 1} steps'])
    case('flipped byte', lambda v: rewrite(v.journal, flipped(good, journal.ends[done // 3] + 30)), ['torn or damaged'])
    case('garbage behind', lambda v: rewrite(v.journal, good + b'garbage' * 9),
         ['torn or damaged', f'good for {done} steps'])
    case('newest snapshot damaged', lambda v: rewrite(newest(v), flipped(open(newest(v), 'rb').read(), -9)),
         ['damaged'])
    case('newest snapshot cut', lambda v: os.truncate(newest(v), 1000), [os.path.basename(newest(halfway))])
    case('newest snapshot absent', lambda v: os.remove(newest(v)), [os.path.basename(newest(halfway))])
    case('no snapshot', lambda v: [os.remove(s) for s in snapshots(v)], ['snap'])
    for position in (3, 9, 40, journal.header_end - 2):
        victim = halfway.copy(f'head-{position}')
        rewrite(victim.journal, flipped(good, position))
        before = victim.files()
        text = victim.finish(slow=False, status=2)
        assert victim.files() == before and victim.journal in text, text
    print('damage: 8 kinds recovered with the same bits, 4 damaged heads refused')


def check_refusals(halfway, model, folder, plan_flags):
    data = load_file(halfway.data)
    other_data = os.path.join(folder, 'other.safetensors')
    save_file({**data, 'input_ids': np.roll(data['input_ids'], 1, axis=0)}, other_data)
    plans = {}
    for title, flags, bind in (('q', ('--q', 2), {}), ('tile', ('--tile', '4KiB'), {}),
                               ('trained', ('--train', 'attn'), {}), ('batch', (), {'batch': 3})):
        plans[title] = os.path.join(folder, title + '.plan')
        model.compile(plans[title], *replaced(plan_flags, flags), '--quiet', **bind)
    other = os.path.join(folder, 'tuned-base.safetensors')
    save_file({k: v + np.float32(0.5) for k, v in load_file(model.file('weights.safetensors')).items()}, other)
    rows = [
        ('other data', {'data': other_data}, [], 'data'),
        ('other seed', {}, ['--seed', '6'], 'seed'),
        ('other eps', {}, ['--eps', '2e-3'], 'eps'),
        ('other decay', {}, ['--weight-decay', '0.2'], 'weight_decay'),
        ('other clip', {}, ['--clip-g', '3'], 'clip_g'),
        ('other order', {}, ['--order', 'sequential'], 'order'),
        ('other q', {'plan': plans['q']}, [], 'q is 1'),
        ('other tiles', {'plan': plans['tile']}, [], 'tile'),
        ('other trained weights', {'plan': plans['trained']}, [], 'trainable'),
        ('other batch', {'plan': plans['batch']}, [], 'batch'),
        ('other base weights', {}, ['--weights', other], 'base'),
        ('no --resume', {'resume': False}, [], '--resume'),
    ]
    for title, changes, flags, says in rows:
        victim = halfway.copy('refuse-' + title.replace(' ', '-'))
        command = replaced(victim.command(slow=False, **changes), flags)
        before = victim.files()
        text = run(*command, status=2)
        assert says in text and len(text.strip().splitlines()) == 1, f'{title}: {text}'
        assert victim.files() == before, f'{title}: files changed'
        print(f'  {title}: {text.strip()[:200]}')
    print(f'refusals: {len(rows)}, each with the difference and without a change')


def check_allowed(reference, halfway, model, folder, plan_flags):
    """Another learning rate and another plan of the same fingerprint go on."""
    victim = halfway.copy('other-plan')
    plan = os.path.join(folder, 'resident.plan')
    model.compile(plan, '--tile', '2KiB', '--strategy', 'resident', '--quiet')
    victim.finish(plan=plan, slow=False)
    check_equal(victim, reference, 'another plan of the fingerprint')
    victim = halfway.copy('other-lr')
    run(*replaced(victim.command(slow=False), ['--lr', '0.001']))
    rates = [s['lr'] for s in Journal(victim.journal).steps]
    done = len(Journal(halfway.journal).steps)
    assert rates == [2e-3] * done + [1e-3] * (STEPS - done), rates
    print('allowed: another plan of the same fingerprint gives the same bits; another learning rate is recorded')


parser = argparse.ArgumentParser()
parser.add_argument('--kills', type=int, default=36)
parser.add_argument('--seed', type=int, default=1)
options = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    model = made_models(folder, 'lm')[0]
    plan_flags = ['--tile', '2KiB', '--resident', 'none', '--slots', 3, '--writeback-every', 3]
    plan = os.path.join(folder, 'a.plan')
    model.compile(plan, *plan_flags, '--quiet')
    fresh = lambda title: Run(folder, plan, model.data, title)
    reference = fresh('undisturbed')
    begin = time.time()
    reference.finish(resume=False, slow=False)
    slower = fresh('slower')
    slower.finish()
    check_equal(slower, reference, 'emulated link')
    assert len(Journal(reference.journal).steps) == STEPS
    halfway = fresh('halfway')
    halfway.finish(steps=STEPS // 2, slow=False)
    check_replay(reference, slower, folder)
    check_interrupt(fresh, reference)
    check_damage(reference, halfway)
    check_refusals(halfway, model, folder, plan_flags)
    check_allowed(reference, halfway, model, folder, plan_flags)
    check_kills(fresh, reference, random.Random(options.seed), options.kills)
    print(f'all of it in {time.time() - begin:.0f} s')
