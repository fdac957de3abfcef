"""Evaluation agrees with PyTorch and ONNX Runtime: outputs of every model within 2e-5 of their largest magnitude.

The exported models against the outputs that were recorded with them, at both recorded shapes; the made models against
ONNX Runtime at two shapes. Attention, norms and activations must have been recognised in the made models."""
import os, sys, tempfile
import numpy as np
from safetensors.numpy import load_file, save_file
from common import *

LIMIT = 2e-5
# What `zo2-plan check` must find in the made models.
FUSED = {
    'lm': ('layer_norm x5', 'gelu x2', 'attention x2', 'causal_lm_loss x1', 'embedding x2'),
    'grouped': ('rms_norm x5', 'silu x2', 'rotary x4', 'attention x2', 'causal_lm_loss x1'), 'classifier':
        ('layer_norm x2', 'gelu x1', 'attention x1', 'classify_loss x1'), 'regressor': ('linear x3', 'mse_loss x1')
}


def evaluate(model, bind, data, wanted, folder):
    """Outputs of `zo2-run eval` on a data file, compared with `wanted`; returns the largest deviation."""
    plan, out = os.path.join(folder, 'a.plan'), os.path.join(folder, 'out.safetensors')
    keep = [flag for name in wanted for flag in ('--keep-output', name)]
    run(PLAN, 'compile', model.path, *bind_flags(bind), '--loss', model.loss, *keep, '-o', plan, '--quiet')
    run(RUN, 'eval', plan, '--data', data, '--outputs', out)
    got = load_file(out)
    assert set(got) == set(wanted), (sorted(got), sorted(wanted))
    return max(deviation(got[name], wanted[name]) for name in wanted)


def report(model, worst):
    assert max(worst) < LIMIT, f'an output deviates by {max(worst)}'
    return f'{model.name:32s} {"  ".join(f"{w:.1e}" for w in worst)}', max(worst)


def check_made(model, folder):
    text = run(PLAN, 'check', model.path, *bind_flags(model.bind), '--loss', model.loss)
    for part in FUSED[model.name]:
        assert part in text, f'{part} is not in the graph of {model.name}:\n{text}'
    examples, worst = load_file(model.data), []
    for batch, cut in ((4, 0), (3, 2)):  # of 16 examples: the second batch size leaves a partial batch
        data = os.path.join(folder, 'data.safetensors')
        cut_to = lambda v: np.ascontiguousarray(v[:, :v.shape[1] - cut]) if v.ndim == 2 and 'seq' in model.bind else v
        inputs = {k: cut_to(v) for k, v in examples.items()}
        save_file(inputs, data)
        bind = {k: batch if k == 'batch' else v - cut for k, v in model.bind.items()}
        worst.append(evaluate(model, bind, data, run_onnx(model.path, inputs, [model.output]), folder))
    return report(model, worst)


def check_shared(model, folder):
    worst = []
    for suffix in ('', '2'):
        if not os.path.exists(model.file(f'inputs{suffix}.safetensors')):
            continue
        wanted = load_file(model.file(f'outputs{suffix}.safetensors'))
        wanted = {model.output: wanted.pop('logits')}  # the one output of each
        bind = {**model.bind, 'batch': 3, 'seq': 9} if suffix else model.bind
        data = os.path.join(folder, 'data.safetensors')
        inputs = load_file(model.file(f'inputs{suffix}.safetensors'))
        if model.loss == 'classify':  # a classifier's evaluation wants labels; outputs do not depend on them
            inputs['labels'] = np.zeros(bind['batch'], np.int64)
        save_file(inputs, data)
        worst.append(evaluate(model, bind, data, wanted, folder))
    assert len(worst) == (1 if 'static' in model.name else 2)
    return report(model, worst)


with tempfile.TemporaryDirectory() as models_folder:
    made, shared = named(made_models(models_folder)), named(shared_models())
    results, failed = each(lambda model, folder: (check_made
                                                  if model.made else check_shared)(model, folder), made + shared)
    print(
        f'{len(results)} of {len(made)} made and {len(shared)} exported models agree; largest deviation '
        f'{max(results, default=0):.1e} '
        'of the largest magnitude' + ('' if models() else '; ../shared/models is not there'))
    sys.exit(1 if failed else 0)
