"""ONNX's own node tests through frontend, planner and CPU runtime.

Each test is a small model with inputs and expected outputs. It passes when `zo2-plan compile` takes the model and
`zo2-run eval` gives every output within the tolerances of ONNX's own runner (relative 1e-3, absolute 1e-7 unless the
test says otherwise); it is refused when `zo2-plan` says that it does not support the model; anything else is a failure.
Around the node stands only what the command line needs:

 * Every input gets a leading axis of 1 (the example) that a Reshape takes off, every output one that an Unsqueeze adds.
 * Inputs that a static compiler must know (BOUND: shapes, axes, repeats, pads, ...) become initializers with the test's
   values. An expanded test binds what the test that it expands binds.
 * Data files hold finite numbers: infinities and NaN are put in by a Where with a constant mask.
 * An output that depends on no input is chosen by a Where on an input, so that there is something to evaluate.
 * Models of an opset below 13 run as opset 13 where their operators are the same there.

Narrow floats are computed as f32: such an output is rounded to its type before it is compared.

Without arguments: a fixed sample, whose outcome must be that of docs/OPERATORS.md. --all: every test. --write: every
test, and docs/OPERATORS.md anew. NAME...: the tests whose names contain one of them. --folded: every input becomes an
initializer, so that what folds constants is tested too.
"""
import argparse, collections, concurrent.futures, json, os, re, subprocess, sys, tempfile, textwrap
import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from common import ENVIRONMENT, PLAN, RUN, SOURCE, skip

TESTS = os.path.join(SOURCE, '.deps', 'onnx', 'node-tests')
TABLE = os.path.join(SOURCE, 'docs', 'OPERATORS.md')
OLDEST = 13  # the first opset that the frontend reads

# Operands that a static compiler must know, by operator.
REDUCTIONS = 'L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare'.split()
BOUND = {
    'AffineGrid': [1], 'BlackmanWindow': [0], 'CastLike': [1], 'CenterCropPad': [1], 'Col2Im': [1, 2],
    'Compress': [1], 'ConstantOfShape': [0], 'CumProd': [1], 'CumSum': [1], 'DFT': [1, 2], 'Dropout': [1, 2], 'Expand': [1],
    'HammingWindow': [0], 'HannWindow': [0], 'If': [0], 'Loop': [0, 1], 'MaxUnpool': [2],
    'MelWeightMatrix': [0, 1, 2, 3, 4], 'NonMaxSuppression': [2, 3, 4], 'OneHot': [1], 'Pad': [1, 2, 3],
    'Range': [0, 1, 2], 'Reshape': [1], 'Resize': [1, 2, 3], 'STFT': [1, 3], 'Slice': [1, 2, 3, 4], 'Split': [1],
    'SplitToSequence': [1], 'Squeeze': [1], 'Tile': [1], 'TopK': [1], 'Trilu': [1], 'Unsqueeze': [1],
    'Upsample': [1], **{f'Reduce{r}': [1] for r in REDUCTIONS}
}
FOLDED = False  # --folded
NARROW = {TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}


class Case:
    """One test: its model, its data, and what it says about itself."""

    def __init__(self, name):
        self.name, self.folder = name, os.path.join(TESTS, name)
        self.model = onnx.load(os.path.join(self.folder, 'model.onnx'))
        self.expanded = '_expanded' in name
        self.base = name.split('_expanded')[0]
        node = self.node()
        self.op = (node.domain + '.' if node.domain else '') + node.op_type
        self.opset = next((s.version for s in self.model.opset_import if s.domain in ('', 'ai.onnx')), 0)
        options = os.path.join(self.folder, 'data.json')
        options = json.load(open(options)) if os.path.exists(options) else {}
        self.rtol, self.atol = options.get('rtol', 1e-3), options.get('atol', 1e-7)

    def node(self):
        """The node that is tested."""
        if self.expanded:
            return onnx.load(os.path.join(TESTS, self.base, 'model.onnx')).graph.node[0]
        return self.model.graph.node[0]

    def bound(self):
        """Names of the inputs that become initializers."""
        if FOLDED:
            return {i.name for i in self.model.graph.input}
        node = self.node()
        names = {node.input[i] for i in BOUND.get(node.op_type, []) if i < len(node.input)}
        return names

    def tensors(self, kind, values):
        """The arrays of input_N.pb or output_N.pb, None for what is no tensor."""
        found = {}
        for i, value in enumerate(values):
            path = os.path.join(self.folder, 'test_data_set_0', f'{kind}_{i}.pb')
            if value.type.WhichOneof('value') != 'tensor_type' or not os.path.exists(path):
                found[value.name] = None
                continue
            tensor = TensorProto.FromString(open(path, 'rb').read())
            if kind == 'output':
                tensor.name = value.name
            found[value.name] = numpy_helper.to_array(tensor)
        return found


def raise_opset(model):
    """An old model as opset 13, where its operators have not changed until then; otherwise it stays."""
    for entry in model.opset_import:
        if entry.domain not in ('', 'ai.onnx') or entry.version >= OLDEST:
            continue
        since = lambda node, version: onnx.defs.get_schema(node.op_type, version, node.domain).since_version
        if all(since(n, entry.version) == since(n, OLDEST) for n in model.graph.node):
            entry.version = OLDEST


class Wrapped:
    """The model as it is compiled, and the data file."""

    def __init__(self, case, anchored=()):
        self.case, self.data = case, {}
        self.model = onnx.ModelProto.FromString(case.model.SerializeToString())
        raise_opset(self.model)
        self.graph, self.before, self.after = self.model.graph, [], []
        inputs, bound = case.tensors('input', self.graph.input), case.bound()
        declared = list(self.graph.input)
        del self.graph.input[:]
        for i, value in enumerate(declared):
            array = inputs[value.name]
            if array is None or array.dtype.kind not in 'biuf' and array.dtype != ml_dtypes.bfloat16:
                self.graph.input.append(value)  # zo2-plan says that it takes no such input
            elif value.name in bound:
                self.constant(value.name, array, value.type.tensor_type.elem_type)
            else:
                self.feed(f'in_{i}', value.name, array, value.type.tensor_type.elem_type)
        self.wanted = {}
        results = case.tensors('output', self.graph.output)
        declared = list(self.graph.output)
        del self.graph.output[:]
        for i, value in enumerate(declared):
            self.take(f'out_{i}', value, results[value.name], i in anchored)
        nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in self.graph.node]
        del self.graph.node[:]
        self.graph.node.extend(self.before + nodes + self.after)

    def constant(self, name, array, kind):
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        assert tensor.data_type == kind, (name, tensor.data_type, kind)
        self.graph.initializer.append(tensor)
        return name

    def feed(self, field, name, array, kind):
        """`name` is read from the data file's `field`."""
        self.graph.input.append(helper.make_tensor_value_info(field, kind, [1, *array.shape]))
        wide = array.astype(np.float32) if kind in NARROW else array
        finite = np.isfinite(wide) if wide.dtype.kind == 'f' else np.ones(array.shape, bool)
        self.data[field] = np.where(finite, wide, 0).astype(wide.dtype)[None]
        shape = self.constant(field + '_shape', np.array(array.shape, np.int64), TensorProto.INT64)
        plain = name if finite.all() else field + '_finite'
        self.before.append(helper.make_node('Reshape', [field, shape], [plain]))
        if not finite.all():
            mask = self.constant(field + '_mask', finite, TensorProto.BOOL)
            rest = self.constant(field + '_rest', np.where(finite, 0, wide).astype(array.dtype), kind)
            self.before.append(helper.make_node('Where', [mask, plain, rest], [name]))

    def take(self, field, value, array, anchored):
        if array is None:
            self.graph.output.append(value)
            return
        kind = value.type.tensor_type.elem_type
        axis = self.constant(field + '_axis', np.array([0], np.int64), TensorProto.INT64)
        last = field + '_value' if anchored else field
        self.after.append(helper.make_node('Unsqueeze', [value.name, axis], [last]))
        if anchored:
            self.feed(field + '_anchor', field + '_yes', np.ones([1] * (array.ndim + 1), bool), TensorProto.BOOL)
            # The Reshape of the anchor must precede its reader, not its use as the model's input.
            self.after.append(helper.make_node('Where', [field + '_yes', last, last], [field]))
        self.graph.output.append(helper.make_tensor_value_info(field, kind, None))
        self.wanted[field] = (array, kind)


def reason_of(message):
    """What zo2-plan says, without file, node and numbers of this test."""
    message = message.strip().split('\n')[-1]
    message = re.sub(r'^zo2-plan: (\S*/model\.onnx:? ?)?', '', message)
    missing = re.match(r'has \d+ nodes? that zo2 does not support: (.*)', message)
    if missing:
        kinds = sorted({f'{k}' for k in re.findall(r'\((\w+), domain', missing.group(1))})
        return 'no operator ' + ', '.join(kinds)
    message = re.sub(r'^.*?\(\w+, domain [\w.]+, version \d+\): ', '', message)
    return re.sub(r'input in_\d+(_\w+)?', 'an input', re.sub(r'(input|initializer|output) \w+ ', r'an \1 ', message))


def compare(case, got, wanted, kind):
    """None, or what is wrong with an output."""
    got = got.astype(NARROW[kind]) if kind in NARROW else got
    if got.shape != (1, *wanted.shape):
        return f'has shape {list(got.shape[1:])}, not {list(wanted.shape)}'
    if got.dtype != wanted.dtype:
        return f'is {got.dtype}, not {wanted.dtype}'
    wide = lambda a: a.astype(np.float32) if kind in NARROW else a
    got, wanted = wide(got[0]), wide(wanted)
    if np.allclose(got, wanted, case.rtol, case.atol, equal_nan=True):
        return None
    with np.errstate(all='ignore'):
        return f'deviates by {np.nanmax(np.abs(got.astype(np.float64) - wanted.astype(np.float64))):.3g}'


def call(*command):
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def attempt(name):
    """(outcome, why) of a test: 'passed', 'refused' or 'failed'."""
    case, anchored = Case(name), set()
    with tempfile.TemporaryDirectory() as folder:
        files = ('model.onnx', 'model.plan', 'data.safetensors', 'out.safetensors')
        model, plan, data, out = (os.path.join(folder, f) for f in files)
        while True:
            wrapped = Wrapped(case, anchored)
            onnx.save(wrapped.model, model)
            done = call(PLAN, 'check', model, '--loss', 'none')
            if done.returncode == 2:
                constant = 'no output that depends' in done.stderr
                if not constant or len(anchored) == len(wrapped.wanted):
                    return 'refused', reason_of(done.stderr)
                left_out = {int(k[4:]) for k in wrapped.wanted} - anchored
            elif done.returncode != 0:
                return 'failed', f'zo2-plan check ends with {done.returncode}: {done.stderr.strip()}'
            else:
                shown = set(re.findall(r'^output (\w+) :', done.stdout, re.M))
                left_out = {int(k[4:]) for k in wrapped.wanted if k not in shown} - anchored
            if not left_out:
                break
            anchored |= left_out
        done = call(PLAN, 'compile', model, '--loss', 'none', '-o', plan, '--quiet')
        if done.returncode != 0:
            return 'failed', f'zo2-plan compile ends with {done.returncode}: {done.stderr.strip()}'
        save_file(wrapped.data, data)
        done = call(RUN, 'eval', plan, '--data', data, '--outputs', out, '--quiet')
        if done.returncode != 0:
            return 'failed', f'zo2-run ends with {done.returncode}: {done.stderr.strip()[-300:]}'
        got = load_file(out)
        for field, (wanted, kind) in wrapped.wanted.items():
            wrong = compare(case, got[field], wanted, kind) if field in got else 'is missing'
            if wrong:
                return 'failed', f'{field} {wrong}'
    return 'passed', ''


def guarded(name, folded=False):
    global FOLDED
    FOLDED = folded
    try:
        return name, *attempt(name)
    except Exception as e:  # a test that this program cannot read is shown, not lost
        return name, 'failed', f'{type(e).__name__}: {e}'


def sample(names):
    """A few tests of every operator, and every eighth expanded one."""
    by_op = collections.defaultdict(list)
    for name in names:
        if '_expanded' not in name:
            by_op[Case(name).op].append(name)
    chosen = [n for group in by_op.values() for n in group[::max(1, len(group) // 3)][:3]]
    return sorted(chosen + [n for n in names if '_expanded' in n][::8])


def operators_page(results):
    cases = {name: Case(name) for name, _, _ in results}
    count = lambda rows: [sum(r[1] == o for r in rows) for o in ('passed', 'refused', 'failed')]
    direct = [r for r in results if not cases[r[0]].expanded]
    expanded = [r for r in results if cases[r[0]].expanded]
    lines = ['# Operators', '', textwrap.dedent('''\
        ONNX's own node tests through frontend, planner and CPU runtime, generated by `tests/e2e/node_tests.py --write`;
        how they are run stands at the top of that file. Opsets 13 to 24. A test is *refused* when `zo2-plan` says that
        it does not support its model, with one sentence that names the node; *failed* is a wrong or no answer. Expanded
        tests are the same tests with the operator written as the function that defines it.'''), '',
        '| | passed | refused | failed |', '|---|---:|---:|---:|']
    for title, rows in (('direct', direct), ('expanded', expanded)):
        lines.append(f'| {title} | ' + ' | '.join(map(str, count(rows))) + ' |')
    lines += ['', '## By operator', '', 'Counts are passed / refused / failed.', '',
              '| operator | opsets of the tests | direct | expanded | why refused |', '|---|---|---|---|---|']
    for op in sorted({c.op for c in cases.values()}):
        of = lambda rows: [r for r in rows if cases[r[0]].op == op]
        opsets = sorted({cases[r[0]].opset for r in of(results)} - {0})
        reasons = [k for k, _ in collections.Counter(r[2] for r in of(results) if r[1] == 'refused').most_common()]
        cell = lambda rows: ' / '.join(map(str, count(rows))) if rows else ''
        lines.append(f'| {op} | {", ".join(map(str, opsets))} | {cell(of(direct))} | {cell(of(expanded))} | ' +
                     '; '.join(reasons).replace('|', '\\|') + ' |')
    for outcome in ('refused', 'failed'):
        rows = [r for r in results if r[1] == outcome]
        if not rows:
            continue
        lines += ['', f'## {outcome.capitalize()} tests, by reason', '']
        groups = collections.defaultdict(list)
        for name, _, why in rows:
            groups[why].append(name)
        for why, names in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0])):
            lines += textwrap.wrap(f'* **{why}** ({len(names)}): ' + ', '.join(n.removeprefix('test_') for n in names),
                                   120, subsequent_indent='  ', break_long_words=False, break_on_hyphens=False)
    return '\n'.join(lines) + '\n'


def refused_by_page():
    """Names of the tests that docs/OPERATORS.md lists as refused."""
    text = open(TABLE).read().split('## Refused tests')[-1].replace('\n  ', ' ')
    groups = re.findall(r'^\* \*\*.*\*\* \(\d+\): (.*)$', text, re.M)
    return {'test_' + name for group in groups for name in group.split(', ')}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('names', nargs='*')
    parser.add_argument('--all', action='store_true')
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--folded', action='store_true')
    parser.add_argument('--verbose', action='store_true')
    options = parser.parse_args()
    if not os.path.isdir(TESTS):
        skip('ONNX\'s node tests are not there')
    names = sorted(os.listdir(TESTS))
    is_sample = not (options.names or options.all or options.write or options.folded)
    if options.names:
        names = [n for n in names if any(part in n for part in options.names)]
    elif is_sample:
        names = sample(names)
    results = []
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        for name, outcome, why in pool.map(guarded, names, [options.folded] * len(names)):
            results.append((name, outcome, why))
            if options.verbose or outcome == 'failed':
                print(f'{outcome}: {name}: {why}', flush=True)
    wrong = [name for name, outcome, _ in results if outcome == 'failed']
    if is_sample:
        refused = refused_by_page()
        for name, outcome, why in results:
            if outcome != 'failed' and (outcome == 'refused') != (name in refused):
                print(f'{name} is {outcome} ({why}), which docs/OPERATORS.md does not say')
                wrong.append(name)
    counts = collections.Counter((r[1], '_expanded' in r[0]) for r in results)
    print('; '.join(f'{title}: ' + ', '.join(f'{counts[o, e]} {o}' for o in ('passed', 'refused', 'failed'))
                    for title, e in (('direct', False), ('expanded', True))))
    if options.write:
        with open(TABLE, 'w') as f:
            f.write(operators_page(results))
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
