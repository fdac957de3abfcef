"""Writes the models of the fuzzing corpus: make_models.py FOLDER

  lm, grouped, ...  small models of tests/models with external weights
  node_OP           the smallest of ONNX's own node tests with each op that the importer lowers
  fold_OP           the same with constants for inputs: everything is folded
"""
import os, subprocess, sys, tempfile
import onnx
from onnx import TensorProto, helper

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
node_tests = os.path.join(os.path.dirname(onnx.__file__), 'backend', 'test', 'data', 'node')
OPS = """Abs Add And ArgMax Attention Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos CumSum Div Dropout Elu Equal
Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual HardSigmoid HardSwish Identity
IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Mean Min Mod Mul Neg Not Or Pad Pow
RMSNormalization Range Reciprocal ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
Reshape RotaryEmbedding Round Shape Sigmoid Sign Sin Size Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh Tile
Transpose Trilu Unsqueeze Where Xor""".split()


def main(folder):
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        make = os.path.join(root, 'tests', 'models', 'make_models.py')
        subprocess.run([sys.executable, make, work], check=True, stdout=subprocess.DEVNULL)
        for name in sorted(os.listdir(work)):
            model = onnx.load(os.path.join(work, name, 'ext', 'model.onnx'), load_external_data=False)
            for tensor in model.graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == 'location':
                        entry.value = 'data.bin'  # which is short: in part the weights lie outside
            onnx.save(model, os.path.join(folder, name))
        onnx.save(onnx.load(os.path.join(work, 'regressor', 'model.onnx')), os.path.join(folder, 'regressor_inline'))
    best = {}
    for test in sorted(os.listdir(node_tests)):
        path = os.path.join(node_tests, test, 'model.onnx')
        if not os.path.exists(path):
            continue
        model = onnx.load(path)
        if not 13 <= max((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')), default=0) <= 24:
            continue
        for op in {n.op_type for n in model.graph.node}:
            if op in OPS and (op not in best or os.path.getsize(path) < os.path.getsize(best[op])):
                best[op] = path
    for op, path in sorted(best.items()):
        for kind in ('node', 'fold'):
            model = onnx.load(path)
            if fix_inputs(model, os.path.dirname(path), everything=kind == 'fold'):
                onnx.save(model, os.path.join(folder, f'{kind}_{op.lower()}'))
    onnx.save(with_function(), os.path.join(folder, 'function'))
    print(f'{len(best)} ops, no node test for: {" ".join(sorted(set(OPS) - set(best)))}')


def fix_inputs(model, folder, everything):
    """Inputs that say how (shapes, axes, indices; or all of them) become initializers. False: they are too large."""
    values = {}
    for i, value in enumerate(model.graph.input):
        tensor = onnx.TensorProto()
        path = os.path.join(folder, 'test_data_set_0', f'input_{i}.pb')
        if not os.path.exists(path):
            return False
        with open(path, 'rb') as source:
            tensor.ParseFromString(source.read())
        tensor.name = value.name
        if everything or (i > 0 and tensor.data_type == TensorProto.INT64 and len(tensor.dims) <= 1):
            values[value.name] = tensor
    model.graph.initializer.extend(values.values())
    kept = [value for value in model.graph.input if value.name not in values]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model.ByteSize() < 4096


def with_function():
    """A call of a function of the file's own."""
    body = [helper.make_node('Mul', ['a', 'b'], ['t']), helper.make_node('Relu', ['t'], ['y'])]
    opset = [helper.make_opsetid('', 18), helper.make_opsetid('local', 1)]
    function = helper.make_function('local', 'MulRelu', ['a', 'b'], ['y'], body, opset[:1])
    x = helper.make_tensor_value_info('x', TensorProto.FLOAT, ['batch', 4])
    y = helper.make_tensor_value_info('y', TensorProto.FLOAT, ['batch', 4])
    w = helper.make_tensor('w', TensorProto.FLOAT, [4], [1, 2, 3, 4])
    graph = helper.make_graph([helper.make_node('MulRelu', ['x', 'w'], ['y'], domain='local')], 'calls', [x], [y], [w])
    return helper.make_model(graph, opset_imports=opset, functions=[function], ir_version=10)


main(sys.argv[1])
