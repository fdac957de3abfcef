"""Limits of memory are read before anything is allocated and reported in words; and within a container, a run survives.

    limits.py [--steps N] [--measure]

  process    ulimit -v and -d, from too little to enough: a plan that does not fit is refused with status 6 and one sentence
             that names the limit, before files are written; what remains in between ends with status 6 and one sentence too
  group      a control group (version 1 or 2, made below the one of this process, where that is allowed; said and left out
             otherwise): the same; reclaimable page cache does not count; and with a limit of the plan's device and host
             bytes + OVERHEAD a run of N steps with evaluation, snapshots and metrics survives
--measure finds the least overhead that works, for docs/RELIABILITY.md."""
import argparse, atexit, json, os, re, resource, signal, subprocess, sys, tempfile, time
import numpy as np
from safetensors.numpy import save_file
from common import *

MIB = 1 << 20
OVERHEAD = 96 * MIB  # docs/RELIABILITY.md states it
DEVICE = 6
ONE_LINE = re.compile(r'zo2-run: [^\n]+\n')


class Group:
    """A control group for memory below this process's own."""

    def __init__(self):
        rows = [line.strip().split(':', 2) for line in open('/proc/self/cgroup')]
        first = [path for _, controllers, path in rows if 'memory' in controllers.split(',')]
        self.version = 1 if first else 2
        root = '/sys/fs/cgroup/memory' if first else '/sys/fs/cgroup'
        own = root + (first or [path for _, controllers, path in rows if not controllers])[0].rstrip('/')
        if self.version == 2:  # children of a group with processes get no controllers, but for those of the root
            try:
                open(own + '/cgroup.subtree_control', 'w').write('+memory')
            except OSError:
                own = root
        self.folder = f'{own}/zo2-limits-{os.getpid()}'
        os.mkdir(self.folder)
        atexit.register(self.remove)
        self.limit(1 << 40)

    def limit(self, bytes_):
        self.write('memory.limit_in_bytes' if self.version == 1 else 'memory.max', bytes_)

    def write(self, name, value):
        with open(f'{self.folder}/{name}', 'w') as f:
            f.write(str(value))

    def enter(self):
        self.write('cgroup.procs', os.getpid())

    def run(self, bytes_, command):
        self.limit(bytes_)
        return execute(command, prepare=self.enter)

    def remove(self):
        for _ in range(100):
            try:
                return os.rmdir(self.folder)
            except OSError:
                time.sleep(0.05)


def regressor(folder, widths):
    """A model of Gemm layers of these widths, its plan's memory mostly weights; and data for it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    rng, x, nodes, weights = np.random.default_rng(7), 'x', [], []
    for i, (inside, outside) in enumerate(zip(widths, widths[1:])):
        w = rng.standard_normal((outside, inside)).astype(np.float32) / np.float32(inside**0.5)
        weights += [numpy_helper.from_array(w, f'fc{i}.weight'),
                    numpy_helper.from_array(np.zeros(outside, np.float32), f'fc{i}.bias')]
        nodes.append(helper.make_node('Gemm', [x, f'fc{i}.weight', f'fc{i}.bias'], [f'h{i}'], transB=1))
        x = f'h{i}'
        if i + 2 < len(widths):
            nodes.append(helper.make_node('Relu', [x], [f'r{i}']))
            x = f'r{i}'
    value = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, ['batch', width])
    graph = helper.make_graph(nodes, 'limits', [value('x', widths[0])], [value(x, widths[-1])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])
    model.ir_version = 9
    onnx.save(model, os.path.join(folder, 'limits.onnx'))
    data = os.path.join(folder, 'limits.safetensors')
    numbers = lambda width: rng.standard_normal((32, width)).astype(np.float32)
    save_file({'x': numbers(widths[0]), 'labels': numbers(widths[-1])}, data)
    return os.path.join(folder, 'limits.onnx'), data


class Limits:

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.lm = made_models(os.path.join(folder, 'models'), 'lm')[0]
        self.onnx, self.data = regressor(folder, (512, 1536, 1536, 256))

    def file(self, name):
        return os.path.join(self.folder, name)

    def plan(self, name, *flags, batch=4):
        """Of the regressor: (plan, bytes of its arenas)."""
        plan, report = self.file(name + '.plan'), self.file(name + '.json')
        run(PLAN, 'compile', self.onnx, '--bind', f'batch={batch}', '--loss', 'mse', '--quiet', '-o', plan, '--report',
            report, *flags)
        memory = json.load(open(report))['memory']
        return plan, sum(memory[tier]['bytes'] for tier in ('device', 'host'))

    def command(self, plan, data, steps):
        out = lambda name: self.file('out/' + name)
        return [RUN, 'train', plan, '--data', data, '--steps', steps, '--lr', 1e-5, '--journal', out('run.zoj'),
                '--metrics', out('run.jsonl'), '--eval-data', data, '--eval-every', max(2, steps // 4),
                '--snapshot-every', max(2, steps // 5), '-o', out('tuned.safetensors'), '--quiet']

    def attempt(self, run_, plan, data, steps=4):
        """(status, said) of a run from nothing; a refusal leaves no file behind."""
        os.makedirs(self.file('out'))
        status, said = run_(self.command(plan, data, steps))
        left = os.listdir(self.file('out'))
        for name in left:
            os.remove(self.file('out/' + name))
        os.rmdir(self.file('out'))
        if 'are left' in said:
            assert left == [], f'refused, and wrote {left}'
        return status, said

    def refused(self, result, *says):
        status, said = result
        assert status == DEVICE and ONE_LINE.fullmatch(said) and all(s in said for s in says), f'status {status}: {said}'
        return said.strip()

    def check_process(self):
        """Far too large is refused in words; and whatever the limit, there is a sentence, not a crash."""
        large, bytes_ = self.plan('large', batch=1 << 15)
        for kind, name in ((resource.RLIMIT_AS, 'ulimit -v'), (resource.RLIMIT_DATA, 'ulimit -d')):
            under = lambda limit: lambda command: execute(command, prepare=lambda: resource.setrlimit(kind, (limit, limit)))
            limit = bytes_ - MIB  # more than the program itself takes
            assert limit > 1 << 30, limit
            print(' ', self.refused(self.attempt(under(limit), large, self.data), 'are left', name))
            seen, limit, small = set(), 16 * MIB, (self.file('small.plan'), self.lm.data)
            self.lm.compile(small[0], '--quiet')
            while 0 not in seen:
                status, said = self.attempt(under(limit), *small)
                limit += 12 * MIB
                assert limit < 4 << 30, 'the program never has enough'
                # Too little for the program's libraries, or for what they do before it begins.
                if status == 127 or 'zo2-run: ' not in said and status == -signal.SIGABRT:
                    assert not seen, f'status {status} above a limit that worked better: {said}'
                    continue
                assert status == 0 or self.refused((status, said)), f'status {status}: {said}'
                seen.add(status)
            assert seen == {0, DEVICE}, seen
            print(f'  {name}: a small run works from {limit // MIB - 12} MiB on; below there is a sentence')

    def check_group(self, group):
        plan, bytes_ = self.plan('resident')
        limited = lambda limit: lambda command: group.run(limit, command)
        large, large_bytes = self.plan('large', batch=1 << 15)
        says = ("container's limit", 'are left')
        print(' ', self.refused(self.attempt(limited(large_bytes - MIB), large, self.data), *says))
        # Room for the plan, but not for all that the program takes beside it.
        self.refused(self.attempt(limited(large_bytes + 48 * MIB), large, self.data), *says)
        # A file that was read twice is page cache that counts as active.
        cached = self.file('cached')
        with open(cached, 'wb') as f:
            f.write(bytes(128 * MIB))
            f.flush()
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # to be charged to the group that reads it
        reader = 'import sys\nfor i in range(3):\n  with open(sys.argv[1], "rb") as f:\n    while f.read(1 << 20): pass'
        group.run(bytes_ + OVERHEAD + 64 * MIB, [sys.executable, '-c', reader, cached])
        status, said = self.attempt(limited(bytes_ + OVERHEAD), plan, self.data)
        assert status == 0, f'page cache is in the way: status {status}: {said}'
        os.remove(cached)
        for title, (plan, bytes_), data, steps in self.cases():
            begin = time.time()
            status, said = self.attempt(limited(bytes_ + OVERHEAD), plan, data, steps)
            assert status == 0, f'{title}: killed or refused within the stated overhead: status {status}: {said}'
            print(f'  {title}: {steps} steps in {bytes_ / MIB:.1f} MiB of plan + {OVERHEAD // MIB} MiB, in '
                  f'{time.time() - begin:.0f} s')
            if self.options.measure:
                self.measure(group, title, plan, bytes_, data)

    def cases(self):
        small, report = self.file('lm.plan'), self.file('lm.json')
        self.lm.compile(small, '--tile', '2KiB', '--resident', 'none', '--quiet', '--report', report)
        memory = json.load(open(report))['memory']
        yield ('a small model, offloaded', (small, sum(memory[t]['bytes'] for t in ('device', 'host'))), self.lm.data,
               self.options.steps)
        yield 'a model of 15 MiB, resident', self.plan('resident'), self.data, self.options.steps // 10
        yield ('the same, offloaded', self.plan('offloaded', '--resident', 'none', '--tile', '1MiB'), self.data,
               self.options.steps // 10)

    def measure(self, group, title, plan, bytes_, data):
        for overhead in range(40, OVERHEAD // MIB + 1, 4):
            status, said = self.attempt(lambda c: group.run(bytes_ + overhead * MIB, c), plan, data, 20)
            if status != 0:
                worst = (overhead, 'killed' if status < 0 else 'refused')
            else:
                print(f'  {title}: works from {overhead} MiB beside the plan on; at {worst[0]} MiB it is {worst[1]}')
                return


parser = argparse.ArgumentParser()
parser.add_argument('--steps', type=int, default=1000)
parser.add_argument('--measure', action='store_true')
options = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    limits = Limits(folder, options)
    limits.check_process()
    print('process: refused in words')
    try:
        group = Group()
    except OSError as e:
        skip(f'no control group can be made here ({e}): container limits are not tested')
    limits.check_group(group)
    print(f'group: version {group.version}; refused in words, and survived')
