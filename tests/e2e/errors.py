"""Every bad input through both programs: the message, the exit status, and nothing damaged.

error_cases.py has one row per case. Each runs in a folder of its own with the same good files; what a case makes worse
is in `prepare`. The last line on standard error must be one sentence of the program that contains every text of `says`;
the exit status must be `status`; and the folder must be as before: nothing half-written, nothing that existed changed,
but for `leaves`. Then plans with flipped bytes and hostile numbers, and a disk that fills up."""
import concurrent.futures, json, multiprocessing, os, random, resource, shutil, subprocess, sys, tempfile
from common import *
from error_cases import *
from run_journal import Journal


def tree():
    state = lambda path: 'link to ' + os.readlink(path) if os.path.islink(path) else digest(path)
    return {
        os.path.relpath(os.path.join(base, n), '.'): state(os.path.join(base, n)) for base, _, names in os.walk('.')
        for n in names
    }


def make_good(good, models_folder):
    """The files that every case finds, but for the plans."""
    models = {m.name: m for m in made_models(models_folder, 'regressor', 'lm')}
    os.makedirs(os.path.join(good, 'ext'))
    for name, source in (('model.onnx', 'model.onnx'), ('ext/model.onnx', 'ext/model.onnx'), ('ext/model.onnx.data',
                                                                                              'ext/model.onnx.data'),
                         ('weights.safetensors', 'weights.safetensors'), ('train.safetensors', 'train.safetensors')):
        shutil.copy(models['regressor'].file(source), os.path.join(good, name))
    for name, source in (('lm.onnx', 'model.onnx'), ('lm-weights.safetensors', 'weights.safetensors'),
                         ('lm.safetensors', 'train.safetensors')):
        shutil.copy(models['lm'].file(source), os.path.join(good, name))
    os.chdir(good)
    write('old.txt', 'what was here before\n')()
    write('old.jsonl', '{"what": "was here before"}\n')()
    make_plans()
    run(RUN, *TRAIN[:4], '--steps', 6, '--journal', 'run.zoj', '--snapshot-every', 2, '--quiet')


def make_plans():
    """A plan knows the folder of its model, so each case makes its own."""
    streamed = (*REGRESSOR, '--resident', 'none', '--tile', '512', '--slots', '3', '--writeback-every', '2')
    run(PLAN, *streamed, '-o', 'good.plan')
    run(PLAN, *streamed, '-o', 'good.json')
    run(PLAN, 'compile', 'lm.onnx', '--bind', 'batch=4,seq=11', '--quiet', '-o', 'lm.plan')


def execute(command, memory=0):
    limit = (lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))) if memory else None
    return subprocess.run([str(c) for c in command],
                          capture_output=True,
                          text=True,
                          env=ENVIRONMENT,
                          timeout=120,
                          preexec_fn=limit)


def check(case, good):
    """In a process of its own: it works in the case's folder."""
    with tempfile.TemporaryDirectory() as folder:
        here = os.path.join(folder, 'case')
        shutil.copytree(good, here)
        os.chdir(here)
        make_plans()
        if case.prepare is not None:
            case.prepare()
        before = tree()
        p = execute(case.command, case.memory)
        said = p.stderr.strip().splitlines()
        assert p.returncode == case.status, f'exit status {p.returncode}, expected {case.status}: {p.stdout}{p.stderr}'
        assert 1 <= len(said) <= case.lines, f'too many lines: {p.stderr}'
        assert said[-1].startswith(os.path.basename(case.command[0]) + ': '), said
        for text in case.says:
            assert text in said[-1], f'"{text}" is not said: {said[-1]}'
        after = tree()
        changed = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)} - set(case.leaves)
        assert not changed, f'files changed: {sorted(changed)}; {said[-1]}'
        if case.check is not None:
            case.check(p.stdout)
        os.chdir('/')
        return f'{case.title}: {case.status}, {said[-1][:300]}'


def worsen(value, rng):
    """Changes one number somewhere in a JSON value."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(value[key], (dict, list)) or not value[key]:
            break
        value = value[key]
    if isinstance(value[key], (int, float)) and not isinstance(value[key], bool) or rng.random() < 0.2:
        value[key] = rng.choice(
            [0, 1, -1, 7, 64, 2**31 - 1, 2**31, -2**31, 2**40, 2**53, 2**63 - 1, 2**64 - 64, -2**63, 1e300])
    elif isinstance(value[key], str) and value[key].isdigit():
        value[key] = str(rng.choice([0, 1, 64, 2**31, 2**40, 2**63, 2**64 - 64]))
    else:
        del value[key]


def check_hostile(good):
    """Plans with flipped bytes or hostile numbers, through verify and through the runtime: an answer, never a crash."""
    with tempfile.TemporaryDirectory() as folder:
        here = os.path.join(folder, 'case')
        shutil.copytree(good, here)
        os.chdir(here)
        make_plans()
        data, schedule, rng, answers = open('good.plan',
                                            'rb').read(), json.load(open('good.json')), random.Random(5), {}
        del schedule['report']
        for number in range(600):
            damaged = bytearray(data)
            kind = 'flipped' if number % 3 == 0 else 'hostile'
            if kind == 'flipped':
                for _ in range(rng.choice([1, 1, 3])):
                    damaged[rng.randrange(len(data))] = rng.randrange(256)
                write('bad.plan', bytes(damaged))()
            else:
                hostile = json.loads(json.dumps(schedule))
                for _ in range(rng.choice([1, 1, 2])):
                    worsen(hostile, rng)
                write('bad.plan', json.dumps(hostile))()
            command = plan('verify', 'bad.plan') if number % 11 else runs('train', 'bad.plan', *TRAIN[2:])
            p = execute(command)
            assert p.returncode in (0, INVALID, INFEASIBLE, REJECTED,
                                    DEVICE), f'{kind} {number}: {p.returncode} {p.stdout}{p.stderr}'
            assert p.returncode == 0 or len(p.stderr.strip().splitlines()) == 1, p.stderr
            answers[kind, p.returncode] = answers.get((kind, p.returncode), 0) + 1
        os.chdir('/')
        return '; '.join(f'{n} {kind} plans: status {status}' for (kind, status), n in sorted(answers.items()))


def check_full_disk(good):
    """A file system of 192 KiB fills up while a run writes its journal, snapshots and weights."""
    with tempfile.TemporaryDirectory() as folder:
        small, here = os.path.join(folder, 'small'), os.path.join(folder, 'case')
        os.makedirs(small)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=192k', 'tmpfs', small],
                          capture_output=True).returncode != 0:
            return 'full disk: left out, this machine allows no mount'
        try:
            shutil.copytree(good, here)
            os.chdir(here)
            make_plans()
            lines = []
            cases = (('journal', 160, ('--snapshot-every', 1000)), ('snapshot', 100, ('--snapshot-every', 4)),
                     ('weights', 140, ('-o', f'{small}/tuned.safetensors')))
            for title, taken, flags in cases:
                for name in os.listdir(small):
                    os.remove(os.path.join(small, name))
                write(f'{small}/ballast', b'x' * (taken << 10))()
                journal = f'{small}/run.zoj' if title != 'weights' else 'disk.zoj'
                command = runs(*LM_TRAIN[:4], '--steps', 400, '--lr', '1e-3', '--fsync', 'never', '--quiet',
                               '--journal', journal, *flags)
                if title == 'weights':
                    command = runs(*LM_TRAIN, '--journal', journal, *flags)
                p = execute(command)
                said = p.stderr.strip().splitlines()
                assert p.returncode == INVALID and len(
                    said) == 1 and 'No space left' in said[0], f'{title}: {p.returncode} {p.stdout}{p.stderr}'
                left = sorted(os.listdir(small))
                assert not [n for n in left if '.tmp' in n or 'tuned' in n], f'{title}: half-written files: {left}'
                done = len(Journal(journal).steps)
                os.remove(f'{small}/ballast')  # room again: the same command goes on
                again = execute((*[str(done + 2) if c == 400 else c for c in command], '--resume'))
                assert again.returncode == 0, f'{title}: {again.stderr}'
                finished = Journal(journal)
                assert len(finished.steps) == (done + 2 if title != 'weights' else 4) and finished.good == finished.size
                lines.append(f'full disk ({title}): {said[0][:200]}')
                os.chdir(here)
            os.chdir('/')
            return '\n'.join(lines)
        finally:
            os.chdir('/')
            subprocess.run(['umount', small], check=True)


def attempt(number):
    case = JOBS[number]
    try:
        return (check(case, GOOD) if isinstance(case, Case) else case(GOOD)), True
    except Exception as e:
        return f'{case.title if isinstance(case, Case) else case.__name__}: FAILED: {type(e).__name__}: {e}', False
    finally:
        os.chdir('/')


with tempfile.TemporaryDirectory() as folder:
    GOOD = os.path.join(folder, 'good')
    make_good(GOOD, os.path.join(folder, 'models'))
    JOBS = named([case for group in GROUPS for case in group()])
    JOBS += [
        job for job in (check_hostile, check_full_disk)
        if not sys.argv[1:] or any(a in job.__name__ for a in sys.argv[1:])
    ]
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('fork')) as pool:
        for line, good in pool.map(attempt, range(len(JOBS))):
            failed += not good
            print(line, flush=True)
    print(f'{len(JOBS) - failed} of {len(JOBS)} bad inputs are refused as they should be')
    sys.exit(1 if failed else 0)
