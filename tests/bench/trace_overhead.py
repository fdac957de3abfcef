"""What --trace costs a step: runs with and without it in turn.

    trace_overhead.py PLAN DATA [--rounds 15] [--steps 12]

In every round one run is traced and one is not, the first one changing from round to round. A run's figure is the median of
its steps' seconds, the first left out; the result is the median over rounds of traced / untraced, with the range that holds
the middle half of the rounds. Writing the file after the last step is apart.
"""
import argparse, json, os, statistics, subprocess, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUN = os.path.join(os.environ.get('ZO2_BUILD', os.path.join(ROOT, 'build')), 'zo2-run')


def step_seconds(plan, data, steps, folder, traced):
    metrics = os.path.join(folder, 'm.jsonl')
    command = [RUN, 'train', plan, '--data', data, '--steps', str(steps), '--lr', '1e-7', '--metrics', metrics, '--quiet']
    if traced:
        command += ['--trace', os.path.join(folder, 'trace.json'), '--trace-steps', str(steps)]
    subprocess.run(command, check=True)
    return statistics.median(json.loads(line)['seconds'] for line in open(metrics).readlines()[1:])


def main():
    a = argparse.ArgumentParser()
    a.add_argument('plan')
    a.add_argument('data')
    a.add_argument('--rounds', type=int, default=15)
    a.add_argument('--steps', type=int, default=12)
    o = a.parse_args()
    ratios, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(o.rounds):
            t = {traced: step_seconds(o.plan, o.data, o.steps, folder, traced) for traced in ((True, False) if i % 2 else (False, True))}
            ratios.append(t[True] / t[False])
            plain.append(t[False])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f'step {statistics.median(plain):.4f} s; traced / untraced {middle:.4f}, middle half {low:.4f} .. {high:.4f}, {o.rounds} rounds')


if __name__ == '__main__':
    main()
