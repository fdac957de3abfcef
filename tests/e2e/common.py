"""What the end-to-end tests share: where the programs are, how to run one, and the models they run on.

A model is either one of ../shared/models (absent on other machines) or made by tests/models/make_models.py (always
there).
"""
import concurrent.futures, dataclasses, hashlib, json, os, subprocess, sys, tempfile
import numpy as np

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('ZO2_BUILD', os.path.join(SOURCE, 'build'))
SHARED = os.path.join(SOURCE, '..', 'shared')
PLAN, RUN = os.path.join(BUILD, 'zo2-plan'), os.path.join(BUILD, 'zo2-run')
sys.path += [os.path.join(SOURCE, 'tests', 'models'), os.path.join(SOURCE, 'tests', 'tools')]

# Tests run side by side: threads that wait leave the core to others. Bits do not depend on it.
ENVIRONMENT = {**os.environ, 'OMP_WAIT_POLICY': 'passive'}


def run(*command, status=0, env=None, timeout=300):
    """Runs a program; its exit status must be `status`. Returns standard output and error together."""
    p = subprocess.run([str(c) for c in command],
                       stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT,
                       text=True,
                       env={**ENVIRONMENT, **(env or {})},
                       timeout=timeout)
    if p.returncode != status:
        raise AssertionError(
            f'{" ".join(map(str, command))}\nexit status {p.returncode}, expected {status}:\n{p.stdout}')
    return p.stdout


def records(path):
    """Every line of a metrics file."""
    return [json.loads(line) for line in open(path)]


def metrics(path):
    """The lines that are steps."""
    return [r for r in records(path) if 'loss_plus' in r]


def evaluation(plan, data, metrics_path, *flags):
    """zo2-run eval: {"loss": ..., ...}."""
    run(RUN, 'eval', plan, '--data', data, '--metrics', metrics_path, '--quiet', *flags)
    return records(metrics_path)[-1]


def digest(path):
    return hashlib.sha256(open(path, 'rb').read()).hexdigest()


def skip(why):
    print('SKIPPED:', why)
    sys.exit(77)


def bind_flags(bind):
    return ['--bind', ','.join(f'{k}={v}' for k, v in bind.items())] if bind else []


@dataclasses.dataclass
class Model:
    name: str
    folder: str
    bind: dict  # sizes for the examples in train.safetensors
    loss: str  # causal-lm, classify, mse
    output: str  # the main output
    places: dict  # parameter -> {'as_is': initializers, 'transposed': initializers}
    made: bool

    def __str__(self):
        return self.name

    @property
    def path(self):
        return self.file('model.onnx')

    @property
    def data(self):
        return self.file('train.safetensors')

    def file(self, name):
        return os.path.join(self.folder, name)

    def compile(self, out, *flags, **bind):
        """Compiles for the recorded sizes, changed by `bind`; returns what was printed."""
        return run(PLAN, 'compile', self.path, *bind_flags({**self.bind, **bind}), '--loss', self.loss, '-o', out,
                   *flags)

    def parameter(self, weight):
        """The parameter that a weight of the product is: its own name, or the one stored under it."""
        return weight if weight in self.places else next(
            p for p, held in self.places.items() if weight in held['as_is'])


def made_models(folder, *names):
    """The models of tests/models, written to `folder`."""
    import make_models
    models = []
    for name, here in make_models.make(folder, names or make_models.MODELS).items():
        meta = json.load(open(os.path.join(here, 'meta.json')))
        models.append(Model(name, here, meta['bind'], meta['loss'], meta['output'], meta['parameter_map'], True))
    return models


def narrow_model(model, folder, dtype):
    """A made model whose file holds 16-bit floats, as NAME-DTYPE."""
    import make_models
    name = f'{model.name}-{dtype}'
    make_models.narrow(model.folder, os.path.join(folder, name), dtype)
    return dataclasses.replace(model, name=name, folder=os.path.join(folder, name))


def models():
    """Names of the exported models that stand beside the repository, or [] where they are absent."""
    folder = os.path.join(SHARED, 'models')
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def shared_models(*containing):
    """The exported models; `containing`: only those whose name contains one of these."""
    found = []
    for name in models():
        if containing and not any(c in name for c in containing):
            continue
        here = os.path.join(SHARED, 'models', name)
        meta = json.load(open(os.path.join(here, 'meta.json')))
        bind = {} if 'static' in name else {'batch': 2, 'seq': 16}
        if 'logits_to_keep' in meta['graph_inputs']:
            bind['logits_to_keep'] = 0  # the recorded input
        loss = 'classify' if 'cls' in name or 'direct' in name else 'causal-lm'
        places = {}  # of tied parameters only the first is kept
        for parameter, held in meta['parameter_map'].items():
            if held not in places.values():
                places[parameter] = held
        found.append(Model(name, here, bind, loss, list(meta['graph_outputs'])[0], places, False))
    return found


def each(check, jobs):
    """check(job, a folder of its own) for every job, two at a time. It returns a line to print and a figure, or raises
    AssertionError. Returns (figures of those that passed, names of those that failed)."""

    def attempt(job):
        with tempfile.TemporaryDirectory() as folder:
            try:
                return check(job, folder)
            except AssertionError as e:
                return f'{job}: {e}', None

    figures, failed = [], []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for job, (line, figure) in zip(jobs, pool.map(attempt, jobs)):
            print(line, flush=True)
            failed.append(str(job)) if figure is None else figures.append(figure)
    if failed:
        print('failed:', ', '.join(failed))
    return figures, failed


def named(jobs):
    """Those whose name contains an argument of the command line; all without arguments."""
    chosen = [j for j in jobs if not sys.argv[1:] or any(a in str(j) for a in sys.argv[1:])]
    if sys.argv[1:] and not chosen:
        sys.exit('nothing here is called ' + ' '.join(sys.argv[1:]))
    return chosen


def execute(command, env=ENVIRONMENT, prepare=None, timeout=900):
    """(exit status, what it said); prepare: called in the new process first."""
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env, timeout=timeout, preexec_fn=prepare)
    return p.returncode, p.stderr


def differences(got, want):
    """What differs between two {name: array}, to the bit; [] when nothing does."""
    wrong = [f'only in one: {name}' for name in sorted(set(got) ^ set(want))]
    for name in sorted(set(got) & set(want)):
        a, b = got[name], want[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            wrong.append(f'{name}: {a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}')
        elif a.tobytes() != b.tobytes():
            wrong.append(f'{name}: {np.count_nonzero(a != b)} of {a.size} elements, by up to {np.abs(a - b).max()}')
    return wrong


def deviation(got, want):
    """Largest difference in units of the largest magnitude of `want`; shapes must agree."""
    assert got.shape == want.shape, (got.shape, want.shape)
    return float(np.abs(got.astype(np.float64) - want).max() / np.abs(want).max())


class Forward:
    """A model in ONNX Runtime whose weights are inputs: evaluates at any weights, shares no code with the product."""

    def __init__(self, model, path=None, compute='fp32'):
        import onnx, onnxruntime
        wide = model.file('wide.onnx')
        proto = onnx.load(path or (wide if os.path.exists(wide) else model.path))
        self.model = model
        self.fed = {}  # initializer -> (parameter, transposed)
        for parameter, held in model.places.items():
            for transposed, names in ((False, held['as_is']), (True, held['transposed'])):
                for name in names:
                    assert name not in self.fed, f'{name} is several parameters of {model.name}'
                    self.fed[name] = (parameter, transposed)
        self.compute = compute
        self.narrow = self._round_products(proto) if compute == 'bf16' else set()
        keep = []
        for tensor in proto.graph.initializer:
            if tensor.name in self.fed:
                proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            else:
                keep.append(tensor)
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(keep)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ['CPUExecutionProvider'])
        self.inputs = {i.name for i in self.session.get_inputs()} - set(self.fed)

    def _round_products(self, proto):
        """What --compute bf16 does: the operands of products with a matrix are rounded to bf16, everything else is fp32.
        Rounds activations in the graph; returns the parameters that are to be rounded."""
        import onnx
        matrices, rounded, nodes = set(), {}, []
        through = {}  # a value that is a weight under Transpose or Identity
        dims = {t.name: len(t.dims) for t in proto.graph.initializer if t.name in self.fed}
        for node in proto.graph.node:
            if node.op_type in ('Transpose', 'Identity') and node.input[0] in {**dims, **through}:
                through[node.output[0]] = through.get(node.input[0], node.input[0])
            weight = through.get(node.input[1], node.input[1]) if len(node.input) > 1 else None
            if node.op_type in ('MatMul', 'Gemm') and dims.get(weight) == 2:
                matrices.add(self.fed[weight][0])
                x = node.input[0]
                if x not in rounded:
                    rounded[x] = f'{x}_rounded'
                    nodes += [
                        onnx.helper.make_node('Cast', [x], [f'{x}_bf16'], to=onnx.TensorProto.BFLOAT16),
                        onnx.helper.make_node('Cast', [f'{x}_bf16'], [rounded[x]], to=onnx.TensorProto.FLOAT)
                    ]
                node.input[0] = rounded[x]
            nodes.append(node)
        nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        return matrices

    def __call__(self, weights, inputs):
        """The main output; weights by parameter, in the framework's layout."""
        import zo_noise
        value = lambda p: zo_noise.widen(zo_noise.nearest(weights[p], 'bf16', False), 'bf16'
                                        ) if p in self.narrow else weights[p]
        stored = lambda p, flip: np.ascontiguousarray(value(p).T) if flip else value(p)
        feed = {name: stored(*place) for name, place in self.fed.items()}
        feed |= {name: inputs[name] for name in self.inputs}
        return self.session.run([self.model.output], feed)[0]

    def loss(self, weights, batch):
        return loss_of(self.model.loss, self(weights, batch), batch['labels'])


def run_onnx(path, inputs, outputs):
    """What ONNX Runtime makes of a file."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider'])
    feed = {i.name: inputs[i.name] for i in session.get_inputs()}
    try:
        results = session.run(list(outputs), feed)
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as e:
        if 'RotaryEmbedding' not in str(e):
            raise
        # Its RotaryEmbedding takes no caches of batch 1, which the exporter writes: ONNX's own evaluator does.
        from onnx.reference import ReferenceEvaluator
        results = ReferenceEvaluator(path).run(list(outputs), feed)
    return dict(zip(outputs, results))


def loss_of(kind, output, labels):
    """Mean loss in binary64: sums over examples divided by counts."""
    output = output.astype(np.float64)
    if kind == 'mse':
        return float(((output - labels)**2).mean())
    if kind == 'causal-lm':
        output, labels = output[:, :-1], labels[:, 1:]
    output, labels = output.reshape(-1, output.shape[-1]), labels.reshape(-1)
    output, labels = output[labels != -100], labels[labels != -100]
    top = output.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(output - top).sum(axis=1)) + top[:, 0]
    return float((log_sum - output[np.arange(len(labels)), labels]).mean())
