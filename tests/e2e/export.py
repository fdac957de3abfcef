"""Tuned weights come out right, as safetensors and as ONNX.

For every model (also where weights are in an external file) some steps of training, then:
  * zo2-run's safetensors has the framework's names, dtypes and shapes;
  * zo2-plan export writes the original's graph; of its initializers just those that hold weights differ, and each holds
    the tuned values: as they are, transposed, in every tied copy;
  * ONNX Runtime on that file agrees with zo2-run on the tuned weights within 2e-5 of the largest magnitude, and no
    longer with the original;
  * a plan compiled from it evaluates to the same loss as the tuned weights, to the bit."""
import dataclasses, os, sys, tempfile
import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file
from common import *

LIMIT = 2e-5


def check_names(model, tuned):
    if model.made:
        expected = {n: v.shape for n, v in load_file(model.file('weights.safetensors')).items()}
        got = {n: v.shape for n, v in tuned.items()}
        assert got == expected, set(got.items()) ^ set(expected.items())
    covered = {model.parameter(n) for n in tuned}
    assert len(covered) == len(tuned), 'two weights are one parameter'
    held = {p for p, places in model.places.items() if places['as_is'] or places['transposed']}
    assert covered == held, f'{model.name}: {covered ^ held}'
    assert all(v.dtype == np.float32 for v in tuned.values())


def arrays(proto, path):
    return {t.name: numpy_helper.to_array(t, os.path.dirname(path)) for t in proto.graph.initializer}


def check_graph(model, path, out, tuned):
    before, after = onnx.load(path, load_external_data=False), onnx.load(out, load_external_data=False)
    old, new = arrays(before, path), arrays(after, out)
    for proto in (before, after):
        del proto.graph.initializer[:]
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(
        deterministic=True), 'the graph changed'
    assert list(old) == list(new), set(old) ^ set(new)
    holds = {}
    for name in tuned:
        for transposed, places in ((False, 'as_is'), (True, 'transposed')):
            for initializer in model.places[model.parameter(name)][places]:
                holds[initializer] = tuned[name].T if transposed else tuned[name]
    for name, value in new.items():
        want = holds.get(name, old[name])
        assert value.dtype == old[name].dtype and value.shape == old[name].shape, name
        assert np.array_equal(value, want), f'{name} does not hold what it should'
    return len(holds)


@dataclasses.dataclass
class Export:
    model: Model
    external: bool

    def __str__(self):
        return self.model.name + (' (external data)' if self.external else '')

    @property
    def path(self):
        return self.model.file('ext/model.onnx' if self.external else 'model.onnx')


def check(job, folder):
    model, path = job.model, job.path
    plan, tuned_path, out, data = (
        os.path.join(folder, n) for n in ('a.plan', 'tuned.safetensors', 'tuned.onnx', 'data.safetensors'))
    bind = model.bind
    run(PLAN, 'compile', path, *bind_flags(bind), '--loss', model.loss, '--keep-output', model.output, '-o', plan,
        '--quiet')
    inputs = load_file(model.data if os.path.exists(model.data) else model.file('inputs.safetensors'))
    if model.loss == 'classify' and 'labels' not in inputs:
        inputs['labels'] = np.zeros(bind['batch'], np.int64)
    save_file(inputs, data)
    run(RUN, 'train', plan, '--data', data, '--order', 'sequential', '--steps', 6, '--lr', 5e-4, '--seed', 3, '--quiet',
        '-o', tuned_path)
    tuned = load_file(tuned_path)
    merged = 'freshinit' in model.name  # several parameters in one initializer: export gives each its own
    if not merged:
        check_names(model, tuned)
    original = digest(path)
    run(PLAN, 'export', path, '--weights', tuned_path, '-o', out)
    assert digest(path) == original
    replaced = 0 if merged else check_graph(model, path, out, tuned)
    external = any(t.data_location == onnx.TensorProto.EXTERNAL
                   for t in onnx.load(out, load_external_data=False).graph.initializer)
    assert external == job.external, 'external data should stay external, inline data inline'

    result = os.path.join(folder, 'out.safetensors')
    metric = os.path.join(folder, 'eval.jsonl')
    with_weights = evaluation(plan, data, metric, '--weights', tuned_path, '--outputs', result)
    ours = load_file(result)[model.output]
    theirs = run_onnx(out, inputs, [model.output])[model.output]
    worst = deviation(ours, theirs)
    assert worst < LIMIT, f'outputs of ONNX Runtime deviate by {worst}'
    assert deviation(run_onnx(path, inputs, [model.output])[model.output], theirs) > 1e-3, 'training changed nothing'
    again = os.path.join(folder, 'again.plan')
    run(PLAN, 'compile', out, *bind_flags(bind), '--loss', model.loss, '--keep-output', model.output, '-o', again,
        '--quiet')
    from_file = evaluation(again, data, metric)
    assert from_file == with_weights, (from_file, with_weights)
    return f'{str(job):42s} {worst:.1e}  ' + ('merged parameters' if merged else f'{replaced} initializers'), worst


with tempfile.TemporaryDirectory() as models_folder:
    jobs = [Export(m, external) for m in made_models(models_folder) + shared_models() for external in (False, True)]
    jobs = [j for j in named(jobs) if os.path.exists(j.path)]
    results, failed = each(check, jobs)
    print(
        f'{len(results)} of {len(jobs)} files exported and read back; largest deviation {max(results, default=0):.1e}' +
        ('' if models() else '; ../shared/models is not there'))
    sys.exit(1 if failed else 0)
