"""What `make gpu-check` runs once it has built: see check.sh, which calls this, and docs/GPU.md.

Every stage has a time limit and a line of result; a stage that fails does not keep the next from running. results.json and
results.md are written anew after each, so that what was found out is kept however this ends. Uses Python's own library only.
"""
import concurrent.futures, gzip, hashlib, json, os, shutil, signal, subprocess, sys, tempfile, time
import results

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
env = os.environ.get
REHEARSAL = bool(env('ZO2_GPU_REHEARSAL'))
BUILD, PACK, OUT = (os.path.abspath(env(name)) for name in ('ZO2_GPU_BUILD', 'ZO2_GPU_PACK', 'ZO2_GPU_OUT'))
END = float(env('ZO2_GPU_START')) + float(env('ZO2_GPU_SECONDS'))
PLAYED = '_rehearsal' if REHEARSAL else ''
RUN = os.path.join(BUILD, 'tests', 'zo2-run-fake-cuda') if REHEARSAL else os.path.join(BUILD, 'zo2-run')
HOST_RUN = os.path.join(BUILD, 'zo2-run')
TEST, BENCH = os.path.join(BUILD, 'test_gpu' + PLAYED), os.path.join(BUILD, 'bench_gpu' + PLAYED)
MANIFEST = json.load(open(os.path.join(PACK, 'manifest.json')))
# Kept for what comes after the plans.
SANITIZER_SECONDS, REFERENCE_SECONDS = 45, 60 if env('ZO2_REFERENCE') else 0
# The order in which plans are run, as far as time allows: (size, dtype, memory).
ORDER = [(s, 'fp16', m) for s in ('1.3b', '6.7b', '13b') for m in ('all', '2GiB', 'zo2')] + [
    (s, 'bf16', m) for s in ('1.3b', '6.7b') for m in ('all', '2GiB')] + [
    (s, 'fp16', m) for s in ('1.3b', '6.7b', '13b') for m in ('1GiB', '4GiB', '8GiB')] + [
    (s, 'bf16', m) for s in ('13b', '1.3b', '6.7b') for m in ('all', '2GiB', 'zo2', '1GiB', '4GiB', '8GiB')]


class Failed(Exception):

    def __init__(self, why, said=''):
        super().__init__(why)
        self.said = said  # by the program that failed


def left():
    return END - time.time()


def log(text):
    with open(os.path.join(OUT, 'log.txt'), 'a', errors='replace') as file:
        file.write(text + '\n')


def run(*command, limit, status=0, extra=None):
    """Standard output of a program that must end with `status` within `limit` seconds and what is left of all."""
    limit = min(limit, left())
    if limit < 2:
        raise Failed('no time was left')
    text = ' '.join(map(str, command))
    if not os.path.exists(command[0]):
        raise Failed(f'there is no {os.path.relpath(command[0], ROOT)}: it was not built')
    begin = time.time()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        p = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, start_new_session=True,
                             env={**os.environ, **(extra or {})})
        try:
            code = p.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            code = None
        out.seek(0), err.seek(0)
        said, errors = out.read().decode(errors='replace'), err.read().decode(errors='replace')
    log(f'$ {text}\n{said}{errors}-- status {code}, {time.time() - begin:.1f} s')
    if code is None:
        raise Failed(f'{os.path.basename(str(command[0]))} was not done after {limit:.0f} s: {text}')
    if code != status:
        last = (errors.strip() or said.strip() or 'nothing said').splitlines()
        raise Failed(f'{text}: status {code}, not {status}: ' + ' | '.join(last[-3:]), said + errors)
    return said


def digest(path):
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


class Suite:

    def __init__(self):
        self.data = {'rehearsal': REHEARSAL, 'made_for': MANIFEST['machine'], 'stages': []}
        self.folder = tempfile.mkdtemp()

    def stage(self, name, check):
        """check() returns (line of result, figures or None) or raises Failed."""
        begin = time.time()
        try:
            line, figures = check()
            ok = True
        except Failed as e:
            line, figures, ok = str(e), None, False
        except Exception as e:  # a bug of this suite must not cost the other stages
            line, figures, ok = f'{type(e).__name__}: {e}', None, False
        seconds = time.time() - begin
        self.data['stages'].append({'stage': name, 'ok': ok, 'seconds': round(seconds, 1), 'result': line})
        if figures is not None:
            self.data[name] = figures
        print(f'gpu-check: {"ok    " if ok else "FAILED"} {name} ({seconds:.0f} s): {line}', flush=True)
        log(f'== {name}: {"ok" if ok else "FAILED"}: {line}')
        self.write()

    def write(self):
        results.write(self.data, OUT)

    def unpack(self, plan, model=None):
        """The plan's JSON as a file; of a small model, with the folder that its files are in now."""
        path = os.path.join(self.folder, os.path.basename(plan)[:-3])
        if os.path.exists(path):
            return path
        with gzip.open(os.path.join(PACK, plan), 'rb') as source, open(path + '.part', 'wb') as target:
            if model is None:
                shutil.copyfileobj(source, target)
            else:
                schedule = json.load(source)
                schedule['model_dir'] = os.path.join(PACK, 'models', model)
                target.write(json.dumps(schedule).encode())
        os.replace(path + '.part', path)
        return path

    # ---- stages ----

    def built(self):
        if env('ZO2_GPU_BUILT') != '0':
            raise Failed(f'the build ended with status {env("ZO2_GPU_BUILT")}; log.txt has its output')
        return f'{(time.time() - float(env("ZO2_GPU_START"))):.0f} s since the start', None

    def facts(self):
        facts = json.loads(run(BENCH, 'facts', limit=60))
        facts['cores'] = os.cpu_count()
        facts['host_bytes'] = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
        return f'{facts["facts"].get("name")}; {facts["kernels"]}', facts

    def tests(self):
        said = run(TEST, '--gtest_brief=0', limit=90)
        line = [l for l in said.splitlines() if '[  PASSED  ]' in l]
        return line[-1].replace('[  PASSED  ]', '').strip(' .') + ' passed', None

    def train(self, case, plan, tag, *flags, steps=None, seed=0, weights=True):
        """(losses, digest of the metrics without times, digest of the weights)"""
        base = os.path.join(self.folder, f'{case["name"]}-{tag}')
        run(RUN, 'train', self.unpack(case['plans'][plan], case['model']), '--device', 'cuda', '--data',
            os.path.join(PACK, 'models', case['model'], 'train.safetensors'), '--order', 'sequential', '--steps', steps or case['steps'],
            '--lr', case['lr'], '--eps', case['eps'], '--seed', case['seed'], '--metrics', base + '.jsonl', '--quiet',
            *(['-o', base + '.safetensors'] if weights else []), *flags, limit=60, extra={'ZO2_FAKE_SEED': str(seed)})
        rows = [json.loads(l) for l in open(base + '.jsonl')]
        rows = [{k: v for k, v in r.items() if k != 'seconds'} for r in rows if 'loss_plus' in r]
        return rows, digest(base + '.safetensors') if weights else None

    def small_case(self, case):
        plan = 'whole' if 'whole' in case['plans'] else 'small'
        rows, weights = self.train(case, plan, 'first', weights=case['same_bits'])
        if len(rows) != len(case['expected']):
            raise Failed(f'{case["name"]}: {len(rows)} steps instead of {len(case["expected"])}')
        # With several samples per step a loss is a list.
        flat = lambda losses: [x for l in losses for x in (l if isinstance(l, list) else [l])]
        far = max(abs(got - want) / abs(want) for r, pair in zip(rows, case['expected'])
                  for got, want in zip(flat((r['loss_plus'], r['loss_minus'])), flat(pair)))
        if not far <= case['tolerance']:
            raise Failed(f'{case["name"]}: a loss is {far:.1e} from {case["from"]}, more than {case["tolerance"]:.0e}')
        if case['same_bits']:
            for tag, seed, flags in (('small', 1, ()), ('launches', 2, ('--no-graphs',)), ('delays', 3, ('--chaos-seed', 3)),
                                     ('turns', 4, ('--chaos-seed', 5, '--chaos-mode', 'priority'))):
                if self.train(case, 'small', tag, *flags, seed=seed) != (rows, weights):
                    raise Failed(f'{case["name"]}: the run "{tag}" has other bits')
        return far

    def small(self):
        worst, failed = {}, []
        with concurrent.futures.ThreadPoolExecutor(2 if REHEARSAL else 6) as pool:
            jobs = {pool.submit(self.small_case, case): case for case in MANIFEST['small']}
            for job, case in jobs.items():
                try:
                    worst[case['name']] = {'deviation': job.result(), 'tolerance': case['tolerance'], 'from': case['from']}
                except Exception as e:
                    failed.append(str(e) if isinstance(e, Failed) else f'{case["name"]}: {type(e).__name__}: {e}')
        figures = {'passed': len(worst), 'failed': failed, 'deviation': worst}
        if failed:
            self.data['small models'] = figures
            raise Failed(f'{len(failed)} of {len(MANIFEST["small"])}: ' + '; '.join(failed[:4]))
        exact = max(w['deviation'] for w in worst.values() if w['tolerance'] <= 1e-4)
        return (f'{len(worst)} models: fp32 losses within {exact:.1e} of what is expected; the same bits for every plan of a fingerprint, '
                'with and without graphs, in adversarial orders'), figures

    def killed(self):
        """A run that is killed goes on to the same weights, and the host's replay of its journal agrees."""
        case, steps = MANIFEST['small'][0], 60 if REHEARSAL else 3000
        _, whole = self.train(case, 'small', 'undisturbed', steps=steps)
        base = os.path.join(self.folder, 'killed')
        journal = base + '.zoj'
        plan = self.unpack(case['plans']['small'], case['model'])
        data = os.path.join(PACK, 'models', case['model'], 'train.safetensors')
        command = (RUN, 'train', plan, '--device', 'cuda', '--data', data, '--order', 'sequential', '--steps', steps, '--lr', case['lr'],
                   '--eps', case['eps'], '--seed', case['seed'], '--journal', journal, '--metrics', base + '.jsonl', '--quiet')
        p = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done, end = 0, time.time() + min(60, left())
        while p.poll() is None and done < steps // 4 and time.time() < end:
            time.sleep(0.002)
            done = open(base + '.jsonl').read().count('\n') if os.path.exists(base + '.jsonl') else 0
        if p.poll() is not None:
            raise Failed(f'the run ended with status {p.returncode} after {done} steps, before it could be killed')
        p.kill()
        p.wait()
        if done < steps // 4:
            raise Failed(f'only {done} steps were done within the time limit')
        _, resumed = self.train(case, 'whole', 'resumed', '--journal', journal, '--resume', steps=steps, seed=5)
        if resumed != whole:
            raise Failed('the resumed run has other weights')
        run(HOST_RUN, 'export', plan, '--journal', journal, '-o', base + '.safetensors', limit=60)
        if digest(base + '.safetensors') != whole:
            raise Failed("the host's replay of the journal has other weights")
        return (f'killed after {done} of {steps} steps and resumed with another plan: the same weights, and so has the replay on the '
                'CPU'), None

    def profile(self):
        opt = next((p for p in MANIFEST['opt'] if (p['size'], p['dtype'], p['memory']) == ('1.3b', 'fp16', '2GiB')), None)
        small = MANIFEST['small'][0]
        plan = self.unpack(small['plans']['small'], small['model']) if REHEARSAL or opt is None else self.unpack(opt['plan'])
        path = os.path.join(OUT, 'machine.json')
        run(RUN, 'profile', '--device', 'cuda', '--plan', plan, '--name', 'gpu-check', '--seconds', 0.02 if REHEARSAL else 0.05, '-o', path,
            '--disk-folder', self.folder, limit=200 if REHEARSAL else 75)
        machine = json.load(open(path))
        names = ('link_up_bytes_per_s', 'link_down_bytes_per_s', 'link_duplex', 'memory_bytes_per_s', 'gemm_flops', 'attention_flops',
                 'noise_normals_per_s', 'prepare_params_per_s', 'call_overhead_s', 'copy_latency_s', 'compute_share_while_uploading',
                 'compute_share_while_downloading')
        return f'machine.json has {len(machine.get("calls", {}))} calls; copy it to gpu-pack/ and pack again', {
            n: machine[n] for n in names if n in machine}

    def rates(self):
        rates = json.loads(run(BENCH, 'rates', *(['--small'] if REHEARSAL else []), limit=60))
        fp32 = rates['prepare'][0]
        return (f'up {rates["link_up_bytes_per_s"] / 1e9:.1f}, down {rates["link_down_bytes_per_s"] / 1e9:.1f}, both '
                f'{rates["both_up_bytes_per_s"] / 1e9:.1f} and {rates["both_down_bytes_per_s"] / 1e9:.1f}, memory '
                f'{rates["memory_bytes_per_s"] / 1e9:.0f} GB/s; prepare in fp32 {100 * fp32["share_of_memory_rate"]:.0f} % of it'), rates

    def plans(self):
        if REHEARSAL:
            case = MANIFEST['small'][0]
            row = json.loads(run(BENCH, 'plan', self.unpack(case['plans']['small'], case['model']), '--steps', 3, limit=60))
            return f'{row["model"]}: {row["period_s"]:.3f} s/step', [{'name': case['name'], 'size': case['name'], 'dtype': 'fp32',
                                                                      'memory': 'small', **row}]
        by_key = {(p['size'], p['dtype'], p['memory']): p for p in MANIFEST['opt']}
        queue = list(dict.fromkeys([k for k in ORDER if k in by_key] + list(by_key)))
        reserve, rows, not_run = SANITIZER_SECONDS + REFERENCE_SECONDS, [], []
        for key in queue:
            entry = by_key[key]
            if left() - reserve < 20:
                not_run.append(entry['name'])
                continue
            try:
                path = self.unpack(entry['plan'])
                row = json.loads(run(BENCH, 'plan', path, '--steps', 12, limit=min(60, left() - reserve)))
                rows.append({**entry, **row})
                if key == ('1.3b', 'fp16', '2GiB'):
                    row = json.loads(run(BENCH, 'plan', path, '--steps', 12, '--no-graphs', limit=45))
                    rows.append({**entry, **row, 'memory': entry['memory'] + ', no graphs'})
                os.remove(path)
            except Failed as e:
                rows.append({**entry, 'error': str(e)})
            self.data['plans'] = rows
            self.write()
        good = [r for r in rows if 'period_s' in r]
        line = f'{len(good)} of {len(rows)} plans ran'
        if good:
            line += ', {:.2f} to {:.2f} of the prediction'.format(*(f(r['period_s'] / r['predicted_s'] for r in good) for f in (min, max)))
        if not_run:
            line += f'; no time for {len(not_run)}: {", ".join(not_run)}'
        if len(good) < len(rows) or not good:
            raise Failed(line + '; ' + '; '.join(r['error'] for r in rows if 'error' in r)[:600])
        return line, rows

    def sanitizer(self):
        tool = shutil.which('compute-sanitizer') or '/usr/local/cuda/bin/compute-sanitizer'
        if REHEARSAL or not os.path.exists(tool):
            return 'not run: there is no compute-sanitizer' + (' in a rehearsal' if REHEARSAL else ' here'), None
        tests = 'GpuDriver.GraphsReadWhatChangesWhenTheirTurnComes:GpuGradient.RingsGoByTheStep:PrepareGolden.Updates'
        done = []
        for check in ('memcheck', 'racecheck'):
            try:
                run(tool, '--tool', check, '--error-exitcode', 9, TEST, f'--gtest_filter={tests}', limit=SANITIZER_SECONDS)
            except Failed as e:
                if 'Device not supported' in e.said:
                    return 'not run: compute-sanitizer does not support this device here', None
                raise Failed(f'{check}: {e}')
            done.append(check)
        return f'{" and ".join(done)} found nothing in {tests.count(":") + 1} tests', None

    def reference(self):
        if not env('ZO2_REFERENCE'):
            return 'not run: $ZO2_REFERENCE names no checkout of the ZO2 package', None
        script = os.path.join(HERE, 'zo2_reference.py')
        if REHEARSAL:
            run(sys.executable, script, '--help', limit=60)
            return 'not run in a rehearsal', None
        rows = []
        for size in ('1.3b', '6.7b', '13b'):
            if rows and left() < 25:
                break
            try:
                rows.append(json.loads(run(sys.executable, script, '--size', size, limit=60).strip().splitlines()[-1]))
            except Failed as e:
                if not rows:
                    raise
                log(f'the ZO2 package ends with OPT-{size}: {e}')
                break
        return '; '.join(f'{r["size"]}: {r["tokens_per_s"]:.0f} tokens/s, {r["peak_bytes"] / 2**30:.2f} GiB' for r in rows), rows

    def all(self):
        for name, check in (('build', self.built), ('facts', self.facts), ('tests', self.tests), ('small models', self.small),
                            ('killed and resumed', self.killed), ('profile', self.profile), ('rates', self.rates), ('plans', self.plans),
                            ('compute-sanitizer', self.sanitizer), ('ZO2 package', self.reference)):
            self.stage(name, check)
        shutil.rmtree(self.folder, ignore_errors=True)
        failed = [s['stage'] for s in self.data['stages'] if not s['ok']]
        print(f'gpu-check: {os.path.relpath(OUT, ROOT)}/results.json and results.md; ' +
              (f'failed: {", ".join(failed)}' if failed else 'all went well') + f'; {left():.0f} s of {env("ZO2_GPU_SECONDS")} were left')
        return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(Suite().all())
