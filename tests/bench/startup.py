"""From launch to the first step, by phase.

    startup.py PLAN DATA [--run build/zo2-run ...] [--journal] [--rounds 7]

Phases begin and end where the program opens a file, as strace sees it: libraries (until the plan is opened), plan (read and
verified, until memory is asked for), arena and data (until the weight file is mapped), weights (until the first step begins:
with --journal digested and loaded, otherwise loaded). A step of its own follows, whose seconds are the metrics file's, and
the end of the process. Several programs given with --run take turns. Medians; peak is of resident memory. The weight file
is in the page cache.
"""
import argparse, json, os, re, shutil, statistics, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PHASES = ('libraries', 'plan', 'arena, data', 'weights', 'first step', 'end')


def once(program, plan, data, journal, folder):
    log, metrics = os.path.join(folder, 'strace'), os.path.join(folder, 'm.jsonl')
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    command = [program, 'train', plan, '--data', data, '--steps', '1', '--quiet', '--metrics', metrics]
    if journal:
        command += ['--journal', os.path.join(folder, 'j')]
    peak = int(subprocess.run(['/usr/bin/time', '-f', '%M', 'strace', '-f', '--seccomp-bpf', '-ttt', '-e', 'trace=execve,openat,exit_group',
                               '-o', log] + command, check=True, stderr=subprocess.PIPE, text=True).stderr.split()[-1]) * 1024
    seconds = json.loads(open(metrics).readline())['seconds']
    at = {}
    mapped = re.compile(r'\.(onnx|data|safetensors|bin)"')
    for line in open(log):
        _, when, call = line.split(None, 2)
        key = ('begin' if call.startswith('execve(') else 'plan' if os.path.abspath(plan) in call else
               'memory' if '"/proc/meminfo"' in call else 'data' if data in call else
               'weights' if mapped.search(call) and 'data' in at and 'O_RDONLY' in call else
               'metrics' if metrics in call else 'exit' if call.startswith('exit_group') else None)
        if key:
            at.setdefault(key, float(when))
    first = at['metrics']
    marks = [at['begin'], at['plan'], at['memory'], at['weights'], first, first + seconds, at['exit']]
    return [b - a for a, b in zip(marks, marks[1:])], peak


def main():
    a = argparse.ArgumentParser()
    a.add_argument('plan')
    a.add_argument('data')
    a.add_argument('--run', nargs='+', default=[os.path.join(ROOT, 'build', 'zo2-run')])
    a.add_argument('--journal', action='store_true')
    a.add_argument('--rounds', type=int, default=7)
    o = a.parse_args()
    if not shutil.which('strace'):
        sys.exit('startup.py needs strace')
    folder = tempfile.mkdtemp(prefix='zo2-startup-')
    times, peaks = {p: [] for p in o.run}, {p: 0 for p in o.run}
    try:
        for _ in range(o.rounds):
            for program in o.run:
                phases, peak = once(program, os.path.abspath(o.plan), os.path.abspath(o.data), o.journal, folder)
                times[program].append(phases)
                peaks[program] = max(peaks[program], peak)
    finally:
        shutil.rmtree(folder)
    for program in o.run:
        median = [statistics.median(t) for t in zip(*times[program])]
        start = statistics.median(sum(t[:4]) for t in times[program])
        print(f'{program}: to the first step {start:.3f} s   peak {peaks[program] / 2**20:.0f} MiB')
        print('   ' + '   '.join(f'{name} {t:.3f}' for name, t in zip(PHASES, median)))


if __name__ == '__main__':
    main()
