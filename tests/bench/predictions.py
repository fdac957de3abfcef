"""Predicted beside measured periods over a grid of models, storage dtypes, links and budgets.

    predictions.py MODEL.onnx [MODEL.onnx ...] [--links 1GB/s 2GB/s 8GB/s] [--storage f32 bf16] [--budgets 1 0.5 0.25 0.1]
                   [--rounds 5] [--steps 5] [--results FILE] [--plot FILE.svg] [--lock FILE] [--report]

Models: what `vs_pytorch.py --work FOLDER` leaves (FOLDER/model.onnx), with shapes bound. For every model, storage dtype and
link, in this order and in processes of their own: `zo2-run profile` measures a machine file over the emulated link, with the
resident plan at hand; plans are compiled for it - ours and the trivial ones (resident, stream, zo2), for that share of the
weights' bytes plus what a step needs beside them -; and bench_overlap runs them all, interleaved, with medians over rounds.
A row is appended to --results (JSON lines) for each plan, so a grid can be measured in pieces; --report only prints what is
there already.

Printed: the table, the distribution of |measured / predicted - 1|, and of each budget whether the plan that is predicted to
be the fastest is the fastest when measured (one that is slower by less than the repeats of the two spread, p10 .. p90,
counts as a tie). --lock is held while something is measured. Needs `make bench`; for figures without disturbance, a machine
with nothing else to do.
"""
import argparse, contextlib, fcntl, json, os, statistics, subprocess, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('ZO2_BUILD', os.path.join(ROOT, 'build'))
PLAN, RUN = os.path.join(BUILD, 'zo2-plan'), os.path.join(BUILD, 'zo2-run')
BENCH = os.environ.get('ZO2_BENCH', os.path.join(BUILD, 'tests/bench/bench_overlap'))


@contextlib.contextmanager
def held(path):
    if not path:
        yield
        return
    with open(path, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile_plan(model, output, extra):
    """The report of a plan, or None where it is infeasible."""
    report = output + '.json'
    command = [PLAN, 'compile', model, '--host-budget', '64GiB', '--quiet', '-o', output, '--report', report] + extra
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        raise SystemExit(f'{" ".join(command)}\n{done.stderr}')
    return json.load(open(report))


def bench(link, plans, rounds, steps):
    """path -> (median, p10, p90) of the plans; the first is the resident one."""
    command = [BENCH, '--link', link, '--rounds', str(rounds), '--steps', str(steps), plans[0]] + plans
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = {}
    for line in out.splitlines()[1:]:
        parts = line.rsplit(None, 5)
        with contextlib.suppress(ValueError):
            rows[parts[0].strip()] = tuple(float(x) for x in parts[1:4])
    # "both" is the second argument: the first plan once more, this time with the link.
    return {p: rows['both' if i == 0 else p] for i, p in enumerate(plans)}


def measure(o, model, storage, rate, folder):
    name = os.path.basename(os.path.dirname(os.path.abspath(model)))
    link = f'up={rate},down={rate}'
    numerics = [] if storage == 'f32' else ['--storage', storage, '--compute', storage]
    resident = os.path.join(folder, 'resident.plan')
    machine = os.path.join(folder, 'machine.json')
    first = compile_plan(model, resident, numerics + ['--strategy', 'resident', '--budget', '1TiB'])
    with held(o.lock):
        subprocess.run([RUN, 'profile', '--plan', resident, '--emulate-link', link, '-o', machine, '--quiet'], check=True)
    weights = int(first['model']['weight_bytes'])
    rest = int(first['memory']['device']['bytes']) - weights
    rows = []
    for budget in o.budgets:
        for strategy in ['auto', 'resident', 'stream', 'zo2']:
            path = os.path.join(folder, f'{strategy}-{budget}.plan')
            report = compile_plan(model, path, numerics + ['--machine', machine, '--strategy', strategy,
                                                           '--budget', str(int(weights * budget) + rest)])
            if report is None:
                continue
            rows.append({'model': name, 'storage': storage, 'link': rate, 'budget': budget, 'strategy': strategy,
                         'plan': path, 'predicted': report['time']['period'], 'bound': report['bound']['seconds']})
    rows.sort(key=lambda r: r['strategy'] != 'resident')  # bench_overlap's first plan is the resident one
    with held(o.lock):
        measured = bench(link, [r['plan'] for r in rows], o.rounds, o.steps)
    with open(o.results, 'a') as out:
        for r in rows:
            r['measured'], r['p10'], r['p90'] = measured[r.pop('plan')]
            out.write(json.dumps(r) + '\n')
    print(f'{name} {storage} {rate}: {len(rows)} plans', flush=True)


def winners(rows):
    """[(key, predicted winner, measured winner, 'same' | 'tie' | 'WRONG')] of every budget."""
    groups = {}
    for r in rows:
        groups.setdefault((r['model'], r['storage'], r['link'], r['budget']), []).append(r)
    result = []
    for key, group in groups.items():
        best = min(r['predicted'] for r in group)
        # Equal predictions (the same plan under two names) are one plan.
        ours = min((r for r in group if r['predicted'] <= best * (1 + 1e-6)), key=lambda r: r['measured'])
        fastest = min(group, key=lambda r: r['measured'])
        spread = max(ours['p90'] - ours['p10'], fastest['p90'] - fastest['p10'])
        verdict = ('same' if ours is fastest or fastest['predicted'] <= best * (1 + 1e-6)
                   else 'tie' if ours['measured'] - fastest['measured'] <= spread else 'WRONG')
        result.append((key, ours['strategy'], fastest['strategy'], verdict))
    return result


def plot(rows, path):
    """Measured / predicted of each plan over its predicted period."""
    size, left = 640, 60
    xs = [r['predicted'] for r in rows]
    low, high = min(xs) * 0.9, max(xs) * 1.1
    import math
    x = lambda v: left + (size - left - 20) * math.log(v / low) / math.log(high / low)
    y = lambda ratio: 200 - (ratio - 1) * 600
    colours = {'auto': '#1764ab', 'resident': '#2a8a4a', 'stream': '#c77c11', 'zo2': '#b3282d'}
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} 400" font-family="sans-serif" font-size="12">',
           f'<rect width="{size}" height="400" fill="white"/>']
    for ratio, dash in ((0.88, '4 3'), (0.96, '2 3'), (1, ''), (1.04, '2 3'), (1.12, '4 3')):
        out.append(f'<line x1="{left}" x2="{size - 20}" y1="{y(ratio):.1f}" y2="{y(ratio):.1f}" stroke="#999" '
                   f'stroke-dasharray="{dash}"/><text x="{left - 8}" y="{y(ratio) + 4:.1f}" text-anchor="end">{ratio:.2f}</text>')
    for v in (0.05, 0.1, 0.2, 0.5, 1, 2, 5):
        if low <= v <= high:
            out.append(f'<text x="{x(v):.1f}" y="372" text-anchor="middle">{v} s</text>'
                       f'<line x1="{x(v):.1f}" x2="{x(v):.1f}" y1="40" y2="358" stroke="#eee"/>')
    for r in rows:
        ratio = min(1.26, max(0.74, r['measured'] / r['predicted']))
        label = f'{r["model"]} {r["storage"]} {r["link"]} budget {r["budget"]:g} {r["strategy"]}: ' \
                f'predicted {r["predicted"]:.4f}, measured {r["measured"]:.4f} s'
        out.append(f'<circle cx="{x(r["predicted"]):.1f}" cy="{y(ratio):.1f}" r="4" fill="{colours[r["strategy"]]}" '
                   f'fill-opacity="0.7"><title>{label}</title></circle>')
    for i, (name, colour) in enumerate(colours.items()):
        out.append(f'<circle cx="{left + 20 + 90 * i}" cy="22" r="4" fill="{colour}"/>'
                   f'<text x="{left + 28 + 90 * i}" y="26">{name}</text>')
    out.append(f'<text x="{size / 2}" y="392" text-anchor="middle">predicted period (measured / predicted upwards)</text></svg>')
    open(path, 'w').write('\n'.join(out) + '\n')


def report(o):
    rows = [json.loads(line) for line in open(o.results)]
    rows.sort(key=lambda r: (r['model'], r['storage'], float(r['link'].rstrip('GB/s')), -r['budget'], r['strategy']))
    print('| model | storage | link | budget | plan | predicted | measured | p10 .. p90 | measured / predicted |')
    print('|---|---|---|---|---|---|---|---|---|')
    for r in rows:
        print(f'| {r["model"]} | {r["storage"]} | {r["link"]} | {r["budget"]:g} | {r["strategy"]} | {r["predicted"]:.4f} | '
              f'{r["measured"]:.4f} | {r["p10"]:.4f} .. {r["p90"]:.4f} | {r["measured"] / r["predicted"]:.3f} |')
    for name, some in (('our plans', [r for r in rows if r['strategy'] == 'auto']), ('all plans', rows)):
        errors = sorted(abs(r['measured'] / r['predicted'] - 1) for r in some)
        if errors:
            print(f'{name}: {len(errors)} rows, |measured / predicted - 1| median {100 * statistics.median(errors):.1f} %, '
                  f'90th percentile {100 * errors[int(0.9 * (len(errors) - 1) + 0.5)]:.1f} %, worst {100 * errors[-1]:.1f} %')
    verdicts = winners(rows)
    print(f'winner by prediction: {sum(v[3] == "same" for v in verdicts)} of {len(verdicts)} also by measurement, '
          f'{sum(v[3] == "tie" for v in verdicts)} ties, {sum(v[3] == "WRONG" for v in verdicts)} wrong')
    for key, ours, fastest, verdict in verdicts:
        if verdict == 'WRONG':
            print(f'  {key}: predicted {ours}, measured {fastest}')
    if o.plot:
        plot(rows, o.plot)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('models', nargs='*')
    a.add_argument('--links', nargs='+', default=['1GB/s', '2GB/s', '8GB/s'])
    a.add_argument('--storage', nargs='+', default=['f32', 'bf16'])
    a.add_argument('--budgets', nargs='+', type=float, default=[1, 0.5, 0.25, 0.1])
    a.add_argument('--rounds', type=int, default=5)
    a.add_argument('--steps', type=int, default=5)
    a.add_argument('--results', default='predictions.jsonl')
    a.add_argument('--plot')
    a.add_argument('--lock')
    a.add_argument('--report', action='store_true')
    o = a.parse_args()
    if not o.report:
        for model in o.models:
            for storage in o.storage:
                for rate in o.links:
                    with tempfile.TemporaryDirectory() as folder:
                        measure(o, model, storage, rate, folder)
    report(o)


if __name__ == '__main__':
    main()
