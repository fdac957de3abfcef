"""Plans of the published OPT sizes on the built-in GPUs, beside ZO2's published memory.

    scale.py [--folder DIR] [--budget SIZE] [--rounds 3] [--machines NAME,...]

Models: opt-*/model.onnx of ../shared/scale and of DIR (tests/bench/opt_graph.py makes them). Per model and machine: the
least device memory that the planner says a plan can have, or what it plans for --budget (default: the whole device), the
predicted step, its gap to the bound, the whole command's time: processor seconds and wall seconds, each the least of N
runs. Rows that do not fit say why. fp16, batch 1, 2048 tokens.

Then, per model, a row beside ZO2's README (the driver's used memory of the whole GPU, binary units printed as GB): our arena
for --small (default 1.25GiB, or the least that works) in GiB and in GB, alone and with --context (default 500MiB) for the
driver's context and libraries.
"""
import argparse, glob, json, os, re, resource, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PLAN = os.path.join(os.environ.get('ZO2_BUILD', os.path.join(ROOT, 'build')), 'zo2-plan')
ORDER = ['125m', '1.3b', '2.7b', '6.7b', '13b', '30b', '66b', '175b']
ZO2 = {'1.3b': 3.75, '2.7b': 4.14, '6.7b': 4.99, '13b': 6.18, '30b': 8.86, '66b': 12.07, '175b': 18.04}


def plan(model, machine, extra, rounds):
    """(report or None, why not, processor seconds, wall seconds)"""
    cpu, wall = 1e9, 1e9
    with tempfile.NamedTemporaryFile(suffix='.json') as file:
        for _ in range(rounds):
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            run = subprocess.run([PLAN, 'compile', model, '--bind', 'batch=1,seq=2048', '--machine', machine, '--quiet',
                                  '--report', file.name, *extra], capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall = min(wall, time.monotonic() - start)
            cpu = min(cpu, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if run.returncode == 0:
            return json.load(open(file.name)), '', cpu, wall
        if run.returncode != 3:
            sys.exit(f'{model}: {run.stderr}')
        return None, run.stderr.strip(), cpu, wall


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--folder')
    parser.add_argument('--budget')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--machines', default='h100-pcie5,a100-pcie4,rtx4090,laptop-8g')
    parser.add_argument('--small', default='1.25GiB')
    parser.add_argument('--context', type=float, default=500, help='MiB')
    a = parser.parse_args()
    models = {}
    for folder in (a.folder, os.path.join(ROOT, '..', 'shared', 'scale')):
        for path in glob.glob(os.path.join(folder or '', 'opt-*', 'model.onnx')) if folder else []:
            models[os.path.basename(os.path.dirname(path))[4:]] = path
    sizes = [s for s in ORDER if s in models]

    print('| OPT | machine | host memory | device memory planned | step predicted | gap | binding | processor s | wall s |')
    print('|---|---|---|---|---|---|---|---|---|')
    for size in sizes:
        for machine in a.machines.split(','):
            figures = json.loads(subprocess.run([PLAN, 'machines', machine], capture_output=True, text=True, check=True).stdout)
            host = f'{figures["host_bytes"] / 2**30:.0f} GiB'
            r, why, cpu, wall = plan(models[size], machine, ['--budget', a.budget] if a.budget else [], a.rounds)
            if r is None:
                why = re.sub(r'^zo2-plan: (the plan )?', '', why).split(';')[0]
                print(f'| {size} | {machine} | {host} | infeasible: {why} | | | | {cpu:.2f} | {wall:.2f} |', flush=True)
                continue
            print(f'| {size} | {machine} | {host} | {r["memory"]["device"]["bytes"] / 2**30:.2f} GiB | {r["time"]["period"]:.3f} s | '
                  f'{100 * r["bound"]["gap"]:.1f} % | {r["bound"]["binding"]} | {cpu:.2f} | {wall:.2f} |', flush=True)

    context = a.context * 2**20
    print(f'\n| OPT | ZO2, whole GPU, GiB | our arena, GiB (GB) | with a context of {a.context:g} MiB, GiB (GB) | step, gap (h100-pcie5) |')
    print('|---|---|---|---|---|')
    for size in sizes:
        r, why, _, _ = plan(models[size], 'h100-pcie5', ['--budget', a.small, '--host-budget', '1TiB'], 1)
        note = ''
        if r is None:
            least = re.search(r'smallest budget that works is [^(]*\((\d+) bytes\)', why)
            if not least:
                print(f'| {size} | {ZO2.get(size, "")} | {why} | | |')
                continue
            r, why, _, _ = plan(models[size], 'h100-pcie5', ['--budget', least.group(1), '--host-budget', '1TiB'], 1)
            note = ' (the least)'
        n = r['memory']['device']['bytes']
        print(f'| {size} | {ZO2.get(size, "")} | {n / 2**30:.2f} ({n / 1e9:.2f}){note} | {(n + context) / 2**30:.2f} '
              f'({(n + context) / 1e9:.2f}) | {r["time"]["period"]:.3f} s, {100 * r["bound"]["gap"]:.1f} % |', flush=True)


if __name__ == '__main__':
    main()
