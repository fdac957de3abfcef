"""The table of bad inputs for errors.py: what is made worse, what is run, and what must be said."""
import dataclasses, json, os, shutil
import numpy as np
import onnx
from onnx import helper
from safetensors.numpy import load_file, save_file
from common import *
from run_journal import Journal

INVALID, INFEASIBLE, REJECTED, DEVICE = 2, 3, 5, 6


@dataclasses.dataclass
class Case:
    title: str
    command: tuple
    status: int
    says: tuple
    prepare: object = None  # called in the case's folder
    leaves: tuple = ()  # files that may appear or change
    check: object = None  # called in the case's folder afterwards, with the output
    memory: int = 0  # bytes of address space
    lines: int = 1  # most lines on standard error

    def __str__(self):
        return self.title


def plan(*arguments):
    return (PLAN, *arguments)


def runs(*arguments):
    return (RUN, *arguments)


REGRESSOR = ('compile', 'model.onnx', '--bind', 'batch=4', '--loss', 'mse', '--quiet')
TRAIN = ('train', 'good.plan', '--data', 'train.safetensors', '--steps', '4', '--quiet')
LM_TRAIN = ('train', 'lm.plan', '--data', 'lm.safetensors', '--steps', '4', '--quiet')


# ---- what makes things worse ----
def write(name, data):

    def prepare():
        with open(name, 'wb') as f:
            f.write(data if isinstance(data, bytes) else data.encode())

    return prepare


def cut(name, share):
    return lambda: os.truncate(name, int(os.path.getsize(name) * share))


def edit(name, change):
    """change(bytearray)"""

    def prepare():
        data = bytearray(open(name, 'rb').read())
        change(data)
        write(name, bytes(data))()

    return prepare


def edit_json(name, change):

    def prepare():
        value = json.load(open(name))
        change(value)
        json.dump(value, open(name, 'w'))

    return prepare


def edit_tensors(source, name, change):
    """change({name: array}) -> the same or another"""
    return lambda: save_file({k: np.ascontiguousarray(v) for k, v in change(load_file(source)).items()}, name)


def edit_onnx(name, change):

    def prepare():
        model = onnx.load(name)
        change(model)
        open(name, 'wb').write(model.SerializeToString())

    return prepare


def full_device():
    os.symlink('/dev/full', 'full')  # a link, so that a program that replaces it does no harm


def all_of(*steps):
    return lambda: [step() for step in steps]


def program(schedule, purpose='train'):
    return next(p for p in schedule['programs'] if p.get('purpose', 'train') == purpose)


def unsupported(model):
    node = model.graph.node
    model.opset_import.append(helper.make_opsetid('com.example', 3))
    last = node[-1].output[0]
    node[-1].output[0] = 'h'
    node.append(helper.make_node('Magic', ['h'], ['m'], name='trick', domain='com.example'))
    node.append(helper.make_node('Det', ['m'], [last], name='determinant'))


def without_initializer(model):
    del model.graph.initializer[0]


# ---- the table ----
def onnx_cases():
    yield Case('model absent', plan('compile', 'absent.onnx'), INVALID, ('absent.onnx', 'No such file'))
    yield Case('model is a folder', plan('compile', '.'), INVALID, ('.', 'not a regular file'))
    yield Case('model is empty', plan('compile', 'bad.onnx'), INVALID, ('bad.onnx', 'not an ONNX model'),
               write('bad.onnx', ''))
    yield Case('model is text', plan('check', 'bad.onnx'), INVALID, ('bad.onnx', 'not an ONNX model'),
               write('bad.onnx', 'hello ' * 99))
    for share in (0.1, 0.5, 0.9, 0.999):
        yield Case(f'model cut to {share}', plan(*REGRESSOR, '-o', 'new.plan'), INVALID, ('model.onnx',),
                   cut('model.onnx', share))
    yield Case('ops nobody knows', plan(*REGRESSOR),
               INVALID, ('2 nodes', 'trick (Magic, domain com.example', 'determinant (Det'),
               edit_onnx('model.onnx', unsupported))
    yield Case('operand from nowhere', plan(*REGRESSOR), INVALID, ('net.0.weight',),
               edit_onnx('model.onnx', without_initializer))
    yield Case('external weights cut', plan('compile', 'ext/model.onnx', '--bind', 'batch=4', '--loss', 'mse'), INVALID,
               ('model.onnx.data', 'truncated'), cut('ext/model.onnx.data', 0.5))
    yield Case(
        'external weights outside', plan('compile', 'ext/model.onnx', '--bind', 'batch=4', '--loss', 'mse'), INVALID,
        ('not inside the model\'s folder',),
        edit('ext/model.onnx',
             lambda d: d.__setitem__(slice(0, len(d)), d.replace(b'model.onnx.data', b'../../../secret'))))
    yield Case(
        'override of another shape', plan(*REGRESSOR, '--weights', 'odd.safetensors'), INVALID,
        ('net.1.weight', 'odd.safetensors'),
        edit_tensors('weights.safetensors', 'odd.safetensors', lambda d: {**d, 'net.1.weight': d['net.1.weight'][:5]}))
    yield Case('override cut', plan(*REGRESSOR, '--weights', 'weights.safetensors'), INVALID, ('weights.safetensors',),
               cut('weights.safetensors', 0.7))
    yield Case('override absent', plan(*REGRESSOR, '--weights', 'nowhere'), INVALID, ('nowhere',))
    yield Case(
        'override of nothing', plan(*REGRESSOR, '--weights', 'odd.safetensors'), INVALID, ('odd.safetensors',),
        edit_tensors('weights.safetensors', 'odd.safetensors', lambda d: {'other.' + k: v for k, v in d.items()}))


def usage_cases():
    compile_ = lambda *flags: plan(*REGRESSOR, *flags)
    yield Case('unknown command', plan('guess', 'model.onnx'), INVALID, ('guess',))
    yield Case('unknown flag', compile_('--colour', 'red'), INVALID, ('--colour',))
    yield Case('no model', plan('compile'), INVALID, ('MODEL',))
    yield Case('dimensions unbound', plan('compile', 'lm.onnx'), INVALID, ('lm.onnx', 'batch', 'seq', '--bind'))
    yield Case('dimension unknown', plan('compile', 'model.onnx', '--bind', 'batc=4'), INVALID, ('batc', 'batch'))
    yield Case('one dimension too many', plan('compile', 'model.onnx', '--bind', 'batch=4,seq=3'), INVALID,
               ('seq', 'features'))
    for text in ('batch', 'batch=', 'batch=x', '=4', 'batch=4 seq=2', 'batch=99999999999999999999'):
        yield Case(f'--bind {text}', plan('compile', 'model.onnx', '--bind', text), INVALID, ('--bind', text))
    for size in ('0', '-3', '9000000000000'):
        yield Case(f'batch of {size}', plan('compile', 'model.onnx', '--bind', f'batch={size}'), INVALID,
                   ('batch', size))
    yield Case('more positions than the table has', plan('compile', 'lm.onnx', '--bind', 'batch=2,seq=33'), INVALID,
               ('embed_positions', 'index 32', 'axis of 32'))
    for text in ('12parsecs', '-5MiB', 'MiB', '1e99TiB', '99999999999TiB'):
        yield Case(f'--budget {text}', compile_(f'--budget={text}'), INVALID, (text,))
    for text in ('fast', '0GB/s', '-1GB/s'):
        yield Case(f'--link-up {text}', compile_(f'--link-up={text}'), INVALID, (text,))
    yield Case('budget too small', compile_('--budget', '2KiB', '-o', 'new.plan'), INFEASIBLE,
               ('device memory', 'more than the budget of 2.00 KiB', 'smallest budget that works is', 'most of it'))

    def refused(_):
        report = json.load(open('new.json'))
        assert report['feasible'] is False and report['infeasible']['smallest_budget'] > 2048, report

    yield Case('budget too small, with a report', compile_('--budget', '2KiB', '-o', 'new.plan', '--report', 'new.json'),
               INFEASIBLE, ('smallest budget that works is',), leaves=('new.json',), check=refused)
    yield Case('budget too small, report in no folder', compile_('--budget', '2KiB', '--report', 'nowhere/r.json'), INVALID,
               ('nowhere/r.json',))
    for spec in ('speed=2x', 'link', 'link=fast', 'link=0x', 'budget=-90TiB', 'budget=4GB/s', 'compute=1GB/s', 'link=2x,,noise=2x'):
        yield Case(f'--what-if {spec}', compile_('--what-if', spec, '-o', 'new.plan'), INVALID, ('--what-if',))
    yield Case('budget too small for what fits anyhow', compile_('--budget', '8KiB', '--strategy', 'resident'),
               INFEASIBLE, ('device memory', 'other decisions'))
    yield Case('host budget too small', compile_('--host-budget', '1KiB', '--resident', 'none'), INFEASIBLE,
               ('host memory', 'host budget of 1.00 KiB', '--host-budget'))
    yield Case('unknown machine', compile_('--machine', 'cray'), INVALID, ('cray', 'h100-pcie5'))
    yield Case('machine file broken', compile_('--machine', 'm.json'), INVALID, ('m.json',),
               write('m.json', '{"name": "x", '))
    yield Case('machine file with a rate below 0', compile_('--machine', 'm.json'), INVALID, ('m.json', 'link_up'),
               write('m.json', '{"name": "x", "kind": "cpu", "link_up_bytes_per_s": -1}'))
    yield Case('unknown strategy', compile_('--strategy', 'psychic'), INVALID, ('psychic', 'greedy'))
    yield Case('loss that does not fit', plan('compile', 'model.onnx', '--bind', 'batch=4', '--loss', 'causal-lm'),
               INVALID, ('causal-lm', 'prediction'))
    for flags, says in ((('--storage', 'int8'), 'none of as-is, fp32, bf16 and fp16'), (('--compute', 'fp16'), 'fp32 or bf16'),
                        (('--storage-for', 'net'), 'REGEX=TYPE'), (('--storage-for', '(=bf16'), 'regular expression'),
                        (('--storage-for', 'zzz=bf16'), 'matches none'),
                        (('--compute-for', 'bias=bf16'), 'matches no matrix'),
                        (('--compute', 'bf16', '--machine', 'h100-pcie5'), 'for CPUs')):
        yield Case(' '.join(flags), plan(*REGRESSOR, *flags), INVALID, (says,))
    yield Case('unknown loss', plan('compile', 'model.onnx', '--bind', 'batch=4', '--loss', 'hinge'), INVALID,
               ('hinge', 'classify'))
    yield Case('unknown output', compile_('--keep-output', 'elsewhere'), INVALID, ('elsewhere', 'prediction'))
    yield Case('broken expression', compile_('--train', '(('), INVALID, ('((', 'regular expression'))
    yield Case('expression that matches nothing', compile_('--train', 'decoder'), INVALID,
               ('decoder', 'none of the 6 weights'))
    for flag, value in (('--q', 0), ('--q', 100000), ('--micro', 0), ('--micro', -1), ('--slots', -1),
                        ('--slots', 99999), ('--writeback-every', 65), ('--writeback-every', -1), ('--tile', 10),
                        ('--steps', 0), ('--q', 'two')):
        yield Case(f'{flag} {value}', compile_(f'{flag}={value}'), INVALID, (flag, str(value)))
    yield Case('micro-batches that do not divide', compile_('--micro', 3), INVALID, ('--micro 3', 'batch=4'))
    yield Case('output in no folder', compile_('-o', 'nowhere/new.plan'), INVALID, ('nowhere/new.plan', 'No such file'))
    yield Case('output is a folder', compile_('-o', 'ext'), INVALID, ('ext', 'directory'))
    yield Case('output device is full', compile_('-o', 'full'), INVALID, ('full', 'No space left'), full_device)
    yield Case('report in no folder', compile_('--report', 'nowhere/r.json', '-o', 'new.plan'), INVALID, ('nowhere/r.json',))
    yield Case('plan and report in one file', compile_('--report', 'new.plan', '-o', 'new.plan'), INVALID, ('both name new.plan',))
    for flag in ('--gap', '--time-limit'):
        yield Case(f'{flag} inf', compile_(flag, 'inf', '-o', 'new.plan'), INVALID, (flag,))


def plan_file_cases():
    for command in (plan('verify', 'good.plan'), plan('inspect', 'good.plan'), plan('compare', 'lm.plan',
                                                                                    'good.plan'), runs(*TRAIN)):
        name = f'{os.path.basename(command[0])} {command[1]}'
        yield Case(f'{name}: plan absent', command, INVALID, ('good.plan', 'No such file'),
                   lambda: os.remove('good.plan'))
        yield Case(f'{name}: plan empty', command, INVALID, ('good.plan',), write('good.plan', ''))
        yield Case(f'{name}: plan is something else', command, INVALID, ('good.plan',),
                   lambda: shutil.copy('train.safetensors', 'good.plan'))
        yield Case(f'{name}: plan cut', command, INVALID, ('good.plan',), cut('good.plan', 0.6))
    yield Case('JSON plan cut', plan('verify', 'good.json'), INVALID, ('good.json',), cut('good.json', 0.6))
    yield Case('JSON plan of another version', runs('train', 'good.json', *TRAIN[2:]), INVALID, ('good.json', '99'),
               edit_json('good.json', lambda s: s.update(version=99)))
    yield Case('unknown weight', plan('inspect', 'good.plan', '--weight', 'net.9'), INVALID, ('net.9',))
    yield Case('one weight as a picture', plan('inspect', 'good.plan', '--weight', 'net.1.weight', '--format', 'html'), INVALID,
               ('--weight', 'html'))
    for command in ('inspect', 'compare', 'sweep'):
        yield Case(f'{command}: unknown format', plan(command, 'good.plan', 'good.plan', '--format', 'pdf'), INVALID, ('pdf',))
    for flags, says in ((('--budget', '3GiB'), '1GiB..24GiB'), (('--budget', '3GiB..1GiB'), '3GiB..1GiB'),
                        (('--budget', '1MiB..2MiB', '--points', '1'), '--points'),
                        (('--budget', '1MiB..2MiB', '-o', 'nowhere/s.html'), 'nowhere/s.html')):
        yield Case(f'sweep {" ".join(flags)}', plan('sweep', *REGRESSOR[1:-1], *flags), INVALID, (says,))

    def first_edge_moved(s):
        edges = program(s)['edges']
        edges[:] = [e for e in edges if e.get('from_lane') != edges[0].get('from_lane')]

    def lane_of(s, kind):
        return next(l for l in program(s)['lanes'] if l.get('kind', 'compute') == kind)

    def arena_shrunk(s):
        s['arenas'][0]['bytes'] = int(s['arenas'][0]['bytes']) - 4096

    def buffers_overlap(s):
        slots = [b for b in s['buffers'] if b.get('kind') == 'slot']
        slots[1]['offset'] = slots[0].get('offset', 0)

    def offset_huge(s):
        s['buffers'][3]['offset'] = 2**63 + 64

    def remove(s, kind, choose):
        """Takes an instruction out, and its edges; the others keep theirs."""
        lane, train = lane_of(s, kind), program(s)
        number = train['lanes'].index(lane)
        at = next(i for i, instruction in enumerate(lane['instructions']) if choose(instruction))
        del lane['instructions'][at]
        edges = []
        for e in train['edges']:
            ends = [(e.get('from_lane', 0), e.get('from', 0)), (e.get('to_lane', 0), e.get('to', 0))]
            if (number, at) not in ends:
                for (in_lane, index), key in zip(ends, ('from', 'to')):
                    e[key] = index - (in_lane == number and index > at)
                edges.append(e)
        train['edges'] = edges

    upload_missing = lambda s: remove(s, 'h2d', lambda i: i.get('tile', -1) > 0)
    download_missing = lambda s: remove(s, 'd2h', lambda i: i.get('tile', -1) > 0)

    def unknown_buffer(s):
        lane_of(s, 'compute')['instructions'][2]['operands'][0]['buffer'] = 10**6

    def budget_broken(s):
        s['arenas'][0]['budget'] = 1024

    for title, change in (('edges missing', first_edge_moved), ('arena too small', arena_shrunk),
                          ('two slots at one address', buffers_overlap), ('offset past everything', offset_huge),
                          ('an upload missing', upload_missing), ('a write-back missing', download_missing),
                          ('buffer that does not exist', unknown_buffer), ('budget broken', budget_broken)):
        for command in (plan('verify', 'good.json'),
                        runs('train', 'good.json', *TRAIN[2:], '-o', 'old.txt', '--metrics', 'old.jsonl')):
            yield Case(f'{os.path.basename(command[0])}: tampered plan: {title}', command, REJECTED, (),
                       edit_json('good.json', change))


def data_cases():
    train = lambda name, *flags: runs(*TRAIN[:3], name, *TRAIN[4:], *flags)
    lm = lambda name, *flags: runs(*LM_TRAIN[:3], name, *LM_TRAIN[4:], *flags)
    yield Case('data absent', train('nowhere.npy'), INVALID, ('nowhere.npy', 'No such file'))
    yield Case('data of no known kind', lm('a.csv'), INVALID, ('a.csv', '.npy', '.jsonl', '.safetensors'),
               write('a.csv', '1,2,3'))
    for kind in ('npy', 'jsonl', 'safetensors', 'bin', 'u32'):
        yield Case(f'empty {kind}', lm(f'a.{kind}'), INVALID, (f'a.{kind}',), write(f'a.{kind}', ''))
    yield Case('npy that is none', lm('a.npy'), INVALID, ('a.npy',), write('a.npy', 'not numpy at all'))
    yield Case('npy cut', lm('a.npy'), INVALID, ('a.npy',),
               all_of(lambda: np.save('a.npy', np.ones((9, 11), np.int64)), cut('a.npy', 0.8)))
    yield Case('npy of floats', lm('a.npy'), INVALID, ('a.npy', 'f'), lambda: np.save('a.npy', np.ones((9, 11))))
    yield Case('npy without examples', lm('a.npy'), INVALID, ('a.npy',),
               lambda: np.save('a.npy', np.ones((0, 11), np.int64)))
    yield Case('safetensors cut', lm('lm.safetensors'), INVALID, ('lm.safetensors',), cut('lm.safetensors', 0.8))
    yield Case('raw ids of fewer tokens than a row', lm('a.u16'), INVALID, ('a.u16',), write('a.u16', b'\1\0' * 5))
    yield Case('JSON lines broken', lm('a.jsonl'), INVALID, ('a.jsonl', 'line 2'), write('a.jsonl', '[1, 2]\n[1, 2\n'))
    yield Case('JSON lines of text', lm('a.jsonl'), INVALID, ('a.jsonl', 'line 1'),
               write('a.jsonl', '["once", "upon"]\n'))
    yield Case('rows too long', lm('a.npy'), INVALID, ('a.npy', '9 of 9', 'example 0', '15', '--truncate'),
               lambda: np.save('a.npy', np.ones((9, 15), np.int64)))
    yield Case('one row too long', lm('a.jsonl'), INVALID, ('a.jsonl', '1 of 3', 'line 2', '--truncate'),
               write('a.jsonl', '[1, 2]\n' + str([1] * 12) + '\n[3]\n'))
    yield Case('id outside the vocabulary', lm('a.npy'), INVALID, ('a.npy', '61', 'example 3'),
               lambda: np.save('a.npy', np.array([[1, 2]] * 3 + [[60, 61]])))
    yield Case('negative id', lm('a.npy'), INVALID, ('a.npy', '-1'),
               lambda: np.save('a.npy', np.array([[1, 2], [3, -1]])))
    yield Case(
        'label outside the vocabulary', lm('a.safetensors'), INVALID, ('a.safetensors', 'labels', '77'),
        edit_tensors('lm.safetensors', 'a.safetensors',
                     lambda d: {**d, 'labels': np.where(d['labels'] == d['labels'][2, 3], 77, d['labels'])}))
    yield Case('an input missing', train('a.safetensors'), INVALID, ('a.safetensors', 'features'),
               edit_tensors('train.safetensors', 'a.safetensors', lambda d: {'labels': d['labels']}))
    yield Case('labels missing', train('a.safetensors'), INVALID, ('a.safetensors', 'labels'),
               edit_tensors('train.safetensors', 'a.safetensors', lambda d: {'features': d['features']}))
    yield Case('unequal numbers of examples', train('a.safetensors'), INVALID, ('a.safetensors', '16', '15'),
               edit_tensors('train.safetensors', 'a.safetensors', lambda d: {**d, 'labels': d['labels'][:15]}))
    yield Case(
        'features of another size', train('a.safetensors'), INVALID, ('a.safetensors', 'features', '14'),
        edit_tensors('train.safetensors', 'a.safetensors',
                     lambda d: {**d, 'features': np.pad(d['features'], ((0, 0), (0, 1)))}))
    yield Case(
        'a feature is NaN', train('a.safetensors'), INVALID, ('a.safetensors', 'features', 'nan'),
        edit_tensors(
            'train.safetensors', 'a.safetensors', lambda d:
            {**d, 'features': np.where(d['features'] == d['features'].max(), np.float32('nan'), d['features'])}))
    yield Case('evaluation data bad',
               runs(*TRAIN, '--eval-data', 'nowhere.npy', '-o', 'old.txt', '--metrics', 'old.jsonl'), INVALID,
               ('nowhere.npy',))


def run_cases():
    good = lambda *flags: runs(*TRAIN, *flags)
    yield Case('unknown command of zo2-run', runs('guess', 'good.plan'), INVALID, ('guess',))
    yield Case('unknown flag of zo2-run', good('--colour', 'red'), INVALID, ('--colour',))
    yield Case('no data', runs('train', 'good.plan'), INVALID, ('--data',))
    yield Case('no such device', good('--device', 'tpu'), DEVICE, ('tpu', 'cpu'))
    if not os.path.exists('/dev/nvidia0'):
        yield Case('no GPU', good('--device', 'cuda', '--journal', 'new.zoj', '-o', 'old.txt'), DEVICE,
                   ('--device cpu',))
        yield Case('no GPU to profile', runs('profile', '--device', 'cuda', '-o', 'old.txt'), DEVICE, ('--device cpu',))
    for flag, value in (('--steps', 0), ('--steps', -5), ('--eps', 0), ('--eps', -1), ('--eps', 'nan'), ('--lr', 'nan'),
                        ('--lr', 'inf'), ('--weight-decay', -1), ('--clip-g', -1), ('--max-skips', 0), ('--warmup', -1),
                        ('--eval-every', -1), ('--snapshot-every', -1), ('--seed', -1),
                        ('--seed', '99999999999999999999'), ('--fsync', 'sometimes'), ('--order', 'alphabetical'),
                        ('--lr-schedule', 'zigzag'), ('--trace-steps', 0), ('--trace-steps', 10**15), ('--chaos-mode', 'mild'), ('--emulate-link', 'up=fast'),
                        ('--emulate-link', 'sideways=1GB/s'), ('--lr', 'small')):
        yield Case(f'{flag} {value}',
                   good(f'{flag}={value}') if flag != '--steps' else runs(*TRAIN[:4], f'{flag}={value}', '--quiet'),
                   INVALID, (flag, str(value)))
    yield Case('--eval-every without data', good('--eval-every', '2'), INVALID, ('--eval-every', '--eval-data'))
    yield Case('--resume without journal', good('--resume'), INVALID, ('--resume', '--journal'))
    yield Case('weight file gone', good(), INVALID, ('there is no', 'model.onnx', '6 of 6 weights'),
               lambda: os.remove('model.onnx'))
    yield Case('weight file cut', good('-o', 'old.txt'), INVALID, ('model.onnx', 'truncated'), cut('model.onnx', 0.4))
    yield Case(
        'weights override of another shape', good('--weights', 'odd.safetensors'), INVALID,
        ('net.1.weight', 'odd.safetensors'),
        edit_tensors('weights.safetensors', 'odd.safetensors', lambda d: {**d, 'net.1.weight': d['net.1.weight'][:5]}))
    for flag in ('--metrics', '-o', '--journal', '--trace'):
        yield Case(f'{flag} in no folder', good(flag, 'nowhere/x'), INVALID, ('nowhere/x',))
        yield Case(f'{flag} is a folder', good(flag, 'ext'), INVALID, ('ext',))
    yield Case(
        'more memory than there is', runs('train', 'huge.plan', *TRAIN[2:], '--journal', 'new.zoj', '-o', 'old.txt'),
        DEVICE, ('memory',), lambda: run(*plan(*REGRESSOR[:3], f'batch={1 << 30}', *REGRESSOR[4:], '--budget', '4TiB',
                                               '--host-budget', '4TiB', '-o', 'huge.plan')))
    yield Case('less memory than is left',
               runs('train', 'big.plan', *TRAIN[2:], '--journal', 'new.zoj', '-o', 'old.txt'),
               DEVICE, ('memory',),
               lambda: run(*plan(*REGRESSOR[:3], f'batch={1 << 23}', *REGRESSOR[4:], '-o', 'big.plan')),
               memory=3 << 30)
    yield Case('outputs that the plan does not return',
               runs('eval', 'lm.plan', '--data', 'lm.safetensors', '--outputs', 'old.txt'), INVALID, ('--keep-output',))
    yield Case('profile for no plan', runs('profile', '--plan', 'nowhere.plan', '-o', 'old.txt'), INVALID,
               ('nowhere.plan',))


def journal_cases():
    at = lambda command, *flags: runs(command, 'good.plan', '--journal', 'run.zoj',
                                      *(('-o', 'old.txt') if command == 'export' else ()), *flags)
    resume = runs(*TRAIN, '--journal', 'run.zoj', '--resume', '--metrics', 'old.jsonl', '-o', 'old.txt')
    yield Case('journal exists', runs(*TRAIN, '--journal', 'run.zoj', '--metrics', 'old.jsonl', '-o', 'old.txt'),
               INVALID, ('run.zoj', 'exists', '--resume'))
    for command in ('export', 'replay'):
        yield Case(f'{command}: journal absent', at(command), INVALID, ('run.zoj', 'No such file'),
                   lambda: os.remove('run.zoj'))
        yield Case(f'{command}: journal is something else', at(command), INVALID, ('run.zoj', 'no journal'),
                   lambda: shutil.copy('old.txt', 'run.zoj'))
        yield Case(f'{command}: journal head damaged', at(command), INVALID, ('run.zoj', 'damaged'),
                   edit('run.zoj', lambda d: d.__setitem__(60, d[60] ^ 1)))
        yield Case(f'{command}: step that was not reached', at(command, '--at', '7'), INVALID, ('7', '6'))
        yield Case(
            f'{command}: journal of another model',
            runs(command, 'lm.plan', '--journal', 'run.zoj', *(('-o', 'old.txt') if command == 'export' else ())),
            INVALID, ('run.zoj', 'net.0.weight'))
        yield Case(
            f'{command}: other base weights', at(command, '--weights', 'odd.safetensors'), INVALID, ('base',),
            edit_tensors('weights.safetensors', 'odd.safetensors',
                         lambda d: {k: v + np.float32(1) for k, v in d.items()}))
    yield Case('journal of another format', resume, INVALID, ('run.zoj', 'format 9'),
               edit('run.zoj', lambda d: d.__setitem__(8, 9)))
    yield Case('journal longer than --steps', resume, INVALID, ('run.zoj', '6 steps', '--steps 4'))
    yield Case('export in no folder', runs('export', 'good.plan', '--journal', 'run.zoj', '-o', 'nowhere/x'), INVALID,
               ('nowhere/x',))
    yield Case('export to a full device', runs('export', 'good.plan', '--journal', 'run.zoj', '-o', 'full'), INVALID,
               ('full',), full_device)


def export_cases():
    export = lambda *flags: plan('export', 'model.onnx', '--weights', *flags)
    yield Case('weights to export absent', export('nowhere.safetensors', '-o', 'old.txt'), INVALID,
               ('nowhere.safetensors',))
    yield Case('weights to export cut', export('weights.safetensors', '-o', 'old.txt'), INVALID,
               ('weights.safetensors',), cut('weights.safetensors', 0.7))
    yield Case('weights to export of another model', export('lm-weights.safetensors', '-o', 'old.txt'), INVALID,
               ('lm-weights.safetensors',))
    yield Case(
        'weights to export of another shape', export('odd.safetensors', '-o', 'old.txt'), INVALID, ('net.1.weight',),
        edit_tensors('weights.safetensors', 'odd.safetensors', lambda d: {**d, 'net.1.weight': d['net.1.weight'][:5]}))
    yield Case('ONNX to no folder', export('weights.safetensors', '-o', 'nowhere/x.onnx'), INVALID, ('nowhere/x.onnx',))
    yield Case('ONNX to a full device', export('weights.safetensors', '-o', 'full'), INVALID, ('full', 'No space left'),
               full_device)


def skip_cases():
    infinite = edit_tensors('weights.safetensors', 'inf.safetensors',
                            lambda d: {**d, 'net.2.bias': np.full_like(d['net.2.bias'], np.inf)})

    def skipped(_):
        steps = metrics('new.jsonl')
        assert len(steps) == 3, steps
        assert all(s['skipped'] and s['loss_plus'] is None and s['step'] == i for i, s in enumerate(steps)), steps
        assert [s['skipped'] for s in Journal('new.zoj').steps] == [1] * len(steps)

    yield Case('losses that are not finite',
               runs(*TRAIN[:4], '--steps', '50', '--max-skips', '3', '--weights', 'inf.safetensors', '--journal',
                    'new.zoj', '--metrics', 'new.jsonl', '--quiet'),
               INVALID, ('steps in a row', 'not finite', '--max-skips'),
               infinite,
               leaves=('new.zoj', 'new.zoj.snap-a', 'new.jsonl'),
               check=skipped,
               lines=5)


GROUPS = (onnx_cases, usage_cases, plan_file_cases, data_cases, run_cases, journal_cases, export_cases, skip_cases)
