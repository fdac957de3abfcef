"""What each heuristic of the planner is worth: plans without it beside plans with all.

    ablation.py [--models DIR] [--machines NAME,...] [--shares 0.1,0.5] [--strategy greedy] [MODEL.onnx ...]

For each model (../shared/scale/* unless named), machine and budget (what a step needs beside the weights, and that share of
the weights' bytes), and each NAME of `zo2-plan compile --without NAME`: the predicted period without it / with all. Prints a
table: geometric mean, worst and best ratio, how often the plan is worse (by 0.1 % and more), how often nothing fits, and the
processor time of planning without / with. A link of a tenth of the machine's rate (--slow 10) is where decisions matter.
"""
import argparse, glob, json, math, os, re, resource, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PLAN = os.path.join(os.environ.get('ZO2_BUILD', os.path.join(ROOT, 'build')), 'zo2-plan')


def heuristics():
    text = subprocess.run([PLAN, 'compile', '--help'], capture_output=True, text=True, check=True).stdout
    tail = text[text.index('--without'):]
    names = []
    for line in tail.splitlines()[1:]:
        found = re.match(r'\s+([a-z]+): ', line)
        if found:
            names.append(found.group(1))
        elif names:
            break
    return names


def plan(model, bind, machine, extra):
    """(report or None, processor seconds)"""
    with tempfile.NamedTemporaryFile(suffix='.json') as report:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run([PLAN, 'compile', model, '--bind', bind, '--machine', machine, '--quiet', '--report', report.name,
                              '--host-budget', '4TiB', *extra], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if run.returncode not in (0, 3):
            sys.exit(f'{model}: {run.stderr}')
        return (json.load(open(report.name)) if run.returncode == 0 else None), cpu


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('models', nargs='*')
    parser.add_argument('--bind', default='batch=1,seq=2048')
    parser.add_argument('--machines', default='h100-pcie5,a100-pcie4,rtx4090,laptop-8g')
    parser.add_argument('--shares', default='0.05,0.3,0.7')
    parser.add_argument('--slow', type=float, default=10)
    parser.add_argument('--strategy', default='greedy')
    a = parser.parse_args()
    models = a.models or sorted(glob.glob(os.path.join(ROOT, '..', 'shared', 'scale', '*', 'model.onnx')))
    names = heuristics()
    ratios, worse, lost, cpus, rows = {n: [] for n in names}, dict.fromkeys(names, 0), dict.fromkeys(names, 0), {n: [] for n in names}, 0
    for model in models:
        for machine in a.machines.split(','):
            figures = json.loads(subprocess.run([PLAN, 'machines', machine], capture_output=True, text=True, check=True).stdout)
            link = [f(figures[k] / a.slow) for k, f in (('link_up_bytes_per_s', lambda r: f'{r}B/s'), ('link_down_bytes_per_s', lambda r: f'{r}B/s'))]
            base = ['--link-up', link[0], '--link-down', link[1], '--strategy', a.strategy]
            whole, _ = plan(model, a.bind, machine, ['--budget', '4TiB', '--strategy', 'resident'])
            weights = whole['memory']['device']['resident_weights']
            beside = whole['memory']['device']['bytes'] - weights
            for share in map(float, a.shares.split(',')):
                budget = ['--budget', str(int(beside + share * weights + 4 * 2**20))]
                full, cpu = plan(model, a.bind, machine, base + budget)
                if full is None:
                    continue
                rows += 1
                for n in names:
                    got, seconds = plan(model, a.bind, machine, base + budget + ['--without', n])
                    cpus[n].append(seconds / cpu)
                    if got is None:
                        lost[n] += 1
                        continue
                    r = got['time']['period'] / full['time']['period']
                    ratios[n].append(r)
                    worse[n] += r > 1.001
    print(f'{rows} cases: {len(models)} models x machines x budgets, link / {a.slow:g}, --strategy {a.strategy}\n')
    print('| without | period, geometric mean | worst | best | worse in | nothing fits in | planning time |')
    print('|---|---|---|---|---|---|---|')
    for n in names:
        r = ratios[n] or [float('nan')]
        mean = math.exp(sum(map(math.log, r)) / len(r))
        print(f'| {n} | {mean:.4f} | {max(r):.3f} | {min(r):.3f} | {worse[n]} | {lost[n]} | {sorted(cpus[n])[len(cpus[n]) // 2]:.2f} |')


if __name__ == '__main__':
    main()
