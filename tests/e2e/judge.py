"""An independent judge of training: noise, rounding and update in numpy (tests/tools/zo_noise.py), losses from ONNX
Runtime.

follow() lets the product train some steps; then, step by step from the base weights, the judge
  * rounds the base weights to their storage dtype (to nearest),
  * makes codes of the tiles that the plan codes, and applies to decoded values what is pending (tests/tools/zo_wire.py),
  * evaluates the model at theta +- eps z in ONNX Runtime: each loss within a tolerance of the product's,
  * checks g = (l+ - l-) / 2 eps and the learning rate to the bit,
  * applies the product's own g in numpy, rounding as the plan says; in the end every weight must have the product's bits,
and, of made models, the evaluation of the tuned weights must agree with ONNX Runtime's."""
import dataclasses, json, os, struct
import numpy as np
from safetensors.numpy import load_file
from common import *
import zo_noise, zo_wire

# Relative, of a loss: of any, and of half of them. Products of bf16 operands add the same numbers in another order; now
# and then the last bit of a sum moves an activation across a rounding boundary of bf16, and so by 2^-8 of itself. Most
# steps have no such activation, and show that the formula is the same.
LOSS = {'fp32': (1e-5, 1e-6), 'bf16': (2e-3, 1e-6)}
EPS = 1e-3


@dataclasses.dataclass
class Case:
    model: str
    title: str
    steps: int = 10
    plan: tuple = ()  # flags of zo2-plan compile
    batch: int = 4  # 0: as many as the file has
    train: tuple = ()  # flags of zo2-run train
    samples: int = 1
    decay: float = 0.0
    kind: str = 'gaussian'
    trained: str = ''  # weights whose name contains this
    seed: int = 7
    lr: object = lambda step: 1e-2
    storage: str = 'fp32'  # of weights with two and more axes
    as_is: bool = False  # their file has that type already, and says so
    compute: str = 'fp32'
    rounding: str = 'stochastic'
    wire: tuple = ()  # formats that the plan must have coded tiles of

    def __str__(self):
        return f'{self.model}: {self.title}'


def decays(name):
    return not (name.endswith('bias') or 'norm' in name)


def read_weights(path):
    """A safetensors file as {name: (dtype, float32 values)}; dtype 'fp32', 'bf16' or 'fp16'."""
    raw = open(path, 'rb').read()
    size = struct.unpack('<Q', raw[:8])[0]
    weights = {}
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name == '__metadata__':
            continue
        begin, end = (8 + size + at for at in entry['data_offsets'])
        dtype = {'F32': 'fp32', 'BF16': 'bf16', 'F16': 'fp16'}[entry['dtype']]
        bits = np.frombuffer(raw[begin:end], np.float32 if dtype == 'fp32' else np.uint16).reshape(entry['shape'])
        weights[name] = dtype, bits if dtype == 'fp32' else zo_noise.widen(bits, dtype)
    return weights


def base_weights(model):
    """The parameters of the model's own file, in the framework's layout."""
    if model.made:
        return load_file(model.file('weights.safetensors'))
    import onnx
    held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(model.path).graph.initializer}
    return {
        parameter: held[places['as_is'][0]] if places['as_is'] else np.ascontiguousarray(held[places['transposed'][0]].T)
        for parameter, places in model.places.items()
    }


def rounded(x, dtype, saturate=False):
    return x if dtype == 'fp32' else zo_noise.widen(zo_noise.nearest(x, dtype, saturate), dtype)


def follow(case, model, folder):
    plan, metric, tuned, journal, again = (
        os.path.join(folder, n) for n in ('a.plan', 'a.jsonl', 'a.safetensors', 'a.zoj', 'b.safetensors'))
    data, base = load_file(model.data), base_weights(model)
    examples = len(data['labels'])
    batch = case.batch or examples
    bind = {'batch': batch} if 'batch' in model.bind else {}
    model.compile(plan, *case.plan, '--storage', 'as-is' if case.as_is else case.storage, '--compute', case.compute, '--rounding', case.rounding,
                  '--quiet', **bind)
    run(RUN, 'train', plan, '--data', model.data, '--order', 'sequential', '--steps', case.steps, '--lr', case.lr(0),
        '--eps', EPS, '--seed', case.seed, '--weight-decay', case.decay, '--metrics', metric, '-o', tuned, '--journal',
        journal, *case.train)
    run(RUN, 'export', plan, '--journal', journal, '-o', again)
    wrong = [n for n, (_, v) in read_weights(again).items() if v.tobytes() != read_weights(tuned)[n][1].tobytes()]
    assert not wrong, f'base weights and journal do not give the weights of the run: {wrong}'
    steps, final = metrics(metric), read_weights(tuned)
    assert [s['step'] for s in steps] == list(range(case.steps))

    parameter = {name: model.parameter(name) for name in final}
    storage = {name: case.storage if base[p].ndim >= 2 else 'fp32' for name, p in parameter.items()}
    wrong = {name: dtype for name, (dtype, _) in final.items() if dtype != storage[name]}
    assert not wrong, f'weights are stored in another dtype than asked for: {wrong}'
    theta = {name: rounded(base[p], storage[name]) for name, p in parameter.items()}
    start = dict(theta)
    run(PLAN, 'inspect', plan, '--format', 'json', '-o', plan + '.json')
    wires, history = zo_wire.Wires(json.load(open(plan + '.json'))), []
    assert set(case.wire) <= wires.formats, f'the plan codes tiles as {sorted(wires.formats)}'
    wires.encode(theta)
    ids = zo_noise.tensor_ids(theta)
    trained = [n for n in theta if case.trained in n]
    forward = Forward(model, compute=case.compute)
    (tolerance, typical), deviations = LOSS[case.compute], []
    lists = lambda v: v if isinstance(v, list) else [v]
    for t, step in enumerate(steps):
        rows = [(t * batch + i) % examples for i in range(batch)]
        inputs = {k: v[rows] for k, v in data.items()}
        plus, minus, slope = (lists(step[k]) for k in ('loss_plus', 'loss_minus', 'g'))
        assert len(plus) == len(minus) == len(slope) == case.samples
        assert step['lr'] == case.lr(t), (t, step['lr'], case.lr(t))
        z = [{n: zo_noise.noise(case.kind, case.seed, ids[n], t * case.samples + i, theta[n].shape)
              for n in trained}
             for i in range(case.samples)]
        seen = wires.values(theta, t, history)
        for i in range(case.samples):
            for sign, got in ((1, plus[i]), (-1, minus[i])):
                at = {
                    parameter[n]: zo_noise.perturbed(v, z[i][n], sign * EPS) if n in z[i] else v
                    for n, v in seen.items()
                }
                want = forward.loss(at, inputs)
                deviations.append(abs(got - want) / abs(want))
                assert deviations[-1] < tolerance, f'step {t} sample {i}: loss {got}, the judge says {want}'
            assert slope[i] == (plus[i] - minus[i]) / (2 * EPS), (t, i, slope[i])
        wires.encode(theta, t)
        history.append((z, slope, step['lr'], {n: case.decay if decays(n) else 0.0 for n in trained}))
        for n in trained:
            new = zo_noise.updated(theta[n], [zi[n] for zi in z], slope, step['lr'], case.decay if decays(n) else 0.0)
            theta[n] = zo_noise.store(new, storage[n], case.rounding, case.seed, ids[n], step['step'])
    middle, worst = float(np.median(deviations)), max(deviations)
    assert middle < typical, f'half of the losses deviate by more than {middle}'
    wrong = differences({n: v for n, (_, v) in final.items()}, theta)
    assert not wrong, 'final weights differ from the update in numpy:\n' + '\n'.join(wrong)
    changed = [n for n in theta if not np.array_equal(theta[n], start[n])]
    assert sorted(changed) == sorted(trained), set(changed) ^ set(trained)
    if model.made:
        said = evaluation(plan, model.data, metric, '--weights', tuned)
        wires.encode(theta)
        want = forward.loss({parameter[n]: v for n, v in wires.values(theta, 0, [], evaluation=True).items()}, data)
        assert abs(said['loss'] - want) < tolerance * abs(want), (said, want)
    return f'{str(case):95s} l {worst:.1e}, median {middle:.1e}  {len(trained)} weights to the bit', worst
