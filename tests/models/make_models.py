"""Small ONNX models of odd sizes with fixed random weights, as different exporters would write them.

    make_models.py FOLDER

writes FOLDER/NAME/ for each NAME below:
  model.onnx           the model, weights inline
  ext/model.onnx       the same with external data
  weights.safetensors  its parameters under the framework's names and in the framework's layout
  train.safetensors    16 examples: the model's inputs by name, and labels
  meta.json            bind, loss, output, parameter_map (parameter -> initializers that hold it, as is or transposed)

  lm          causal LM, tied embedding, biases, GELU, eager attention with a float mask; Linear weights are anonymous
              transposed initializers, the tied head is a transposed copy (as the TorchScript exporter writes it)
  grouped     causal LM, untied, RMS norm, rotary, SiLU, 6 query heads on 2 key heads in ONNX's own Attention; Linear
              weights keep their names behind Transpose nodes
  classifier  encoder with a boolean padding mask, mean pooling and 5 classes; matrices stored [in, out] under their
              names
  regressor   three Gemm layers, mean squared error
"""
import json, math, os, sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

EXAMPLES = 16


class Builder:
    """A graph under construction; weights are kept once, and noted wherever the file holds them."""

    def __init__(self, name, opset, seed):
        self.name, self.opset, self.rng = name, opset, np.random.default_rng(seed)
        self.nodes, self.initializers, self.inputs, self.outputs = [], {}, [], []
        self.weights, self.places, self.serial = {}, {}, 400

    def weight(self, name, shape, std=0.25, mean=0.0):
        """A parameter in the framework's layout; it gets into the file by as_is() or transposed()."""
        self.weights[name] = (mean + std * self.rng.standard_normal(shape)).astype(np.float32)
        self.places[name] = {'as_is': [], 'transposed': []}
        return name

    def as_is(self, name):
        self.initializers[name] = self.weights[name]
        if name not in self.places[name]['as_is']:
            self.places[name]['as_is'].append(name)
        return name

    def transposed(self, name):
        self.serial += 1
        anonymous = f'onnx::MatMul_{self.serial}'
        self.initializers[anonymous] = np.ascontiguousarray(self.weights[name].T)
        self.places[name]['transposed'].append(anonymous)
        return anonymous

    def const(self, value, dtype=np.int64):
        self.serial += 1
        self.initializers[f'onnx::Constant_{self.serial}'] = np.asarray(value, dtype)
        return f'onnx::Constant_{self.serial}'

    def op(self, kind, *inputs, scope='', out=None, **attrs):
        name = f'{scope}/{kind}' if scope else f'/{kind}_{len(self.nodes)}'
        out = out or f'{name}_output_{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name, **attrs))
        return out

    def input(self, name, dtype, shape):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def model(self, output, shape):
        graph = helper.make_graph(self.nodes, self.name, self.inputs,
                                  [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
                                  [numpy_helper.from_array(v, k) for k, v in self.initializers.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', self.opset)], producer_name='pytorch')
        model.ir_version = 10
        onnx.checker.check_model(model, full_check=True)
        return model

    # ---- pieces of a network ----
    def linear(self, x, module, inside, outside, style):
        """style: 'folded' (anonymous transpose), 'named' (Transpose node), 'conv1d' (stored [in, out])."""
        scope = '/' + module.replace('.', '/')
        shape = (inside, outside) if style == 'conv1d' else (outside, inside)
        w = self.weight(module + '.weight', shape, 1 / math.sqrt(inside))
        if style == 'folded':
            operand = self.transposed(w)
        elif style == 'named':
            operand = self.op('Transpose', self.as_is(w), scope=scope, perm=[1, 0])
        else:
            operand = self.as_is(w)
        y = self.op('MatMul', x, operand, scope=scope)
        if style == 'named':
            return y
        return self.op('Add', self.as_is(self.weight(module + '.bias', (outside,), 0.1)), y, scope=scope)

    def layer_norm(self, x, module, size):
        scale = self.as_is(self.weight(module + '.weight', (size,), 0.1, 1.0))
        bias = self.as_is(self.weight(module + '.bias', (size,), 0.1))
        return self.op('LayerNormalization', x, scale, bias, scope='/' + module, axis=-1, epsilon=1e-5)

    def heads(self, x, count, size):
        split = self.op('Reshape', x, self.const([0, 0, count, size]))
        return self.op('Transpose', split, perm=[0, 2, 1, 3])

    def merge(self, x, size):
        return self.op('Reshape', self.op('Transpose', x, perm=[0, 2, 1, 3]), self.const([0, 0, size]))

    def eager_attention(self, x, module, heads, size, mask, style, boolean):
        q, k, v = (self.heads(self.linear(x, f'{module}.{n}_proj', heads * size, heads * size, style), heads, size)
                   for n in 'qkv')
        scores = self.op('MatMul', q, self.op('Transpose', k, perm=[0, 1, 3, 2]))
        scores = self.op('Mul', scores, self.const(1 / math.sqrt(size), np.float32))
        scores = (self.op('Where', mask, scores, self.const(-np.inf, np.float32)) if boolean else self.op(
            'Add', scores, mask))
        mixed = self.op('MatMul', self.op('Softmax', scores, axis=-1), v)
        return self.linear(self.merge(mixed, heads * size), module + '.out_proj', heads * size, heads * size, style)

    def sequence_length(self, ids):
        return self.op('Gather', self.op('Shape', ids), self.const(1), axis=0)

    def causal(self, length):
        """bool [seq, seq], true on and below the diagonal."""
        row = self.op('Unsqueeze', length, self.const([0]))
        ones = self.op('ConstantOfShape',
                       self.op('Concat', row, row, axis=0),
                       value=numpy_helper.from_array(np.array([1], np.int64)))
        return self.op('Cast', self.op('Trilu', ones, upper=0), to=TensorProto.BOOL)


def lm():
    vocab, heads, size, inner, positions = 61, 5, 8, 72, 32
    hidden = heads * size
    b = Builder('lm', 20, 11)
    ids, mask = (b.input(n, TensorProto.INT64, ['batch', 'seq']) for n in ('input_ids', 'attention_mask'))
    embedding = b.weight('model.embed_tokens.weight', (vocab, hidden), 0.4)
    x = b.op('Gather', b.as_is(embedding), ids, scope='/model/embed_tokens')
    length = b.sequence_length(ids)
    where = b.op('Range', b.const(0), length, b.const(1))
    table = b.as_is(b.weight('model.embed_positions.weight', (positions, hidden), 0.2))
    x = b.op('Add', x, b.op('Gather', table, where, scope='/model/embed_positions'))
    real = b.op('Cast', b.op('Unsqueeze', mask, b.const([1, 2])), to=TensorProto.BOOL)
    keep = b.op('And', real, b.causal(length))
    floats = b.op('Where', keep, b.const(0, np.float32), b.const(np.finfo(np.float32).min, np.float32))
    for i in range(2):
        layer = f'model.layers.{i}'
        h = b.layer_norm(x, layer + '.attn_norm', hidden)
        x = b.op('Add', x, b.eager_attention(h, layer + '.attn', heads, size, floats, 'folded', False))
        h = b.linear(b.layer_norm(x, layer + '.mlp_norm', hidden), layer + '.fc1', hidden, inner, 'folded')
        x = b.op('Add', x, b.linear(b.op('Gelu', h), layer + '.fc2', inner, hidden, 'folded'))
    x = b.layer_norm(x, 'model.final_norm', hidden)
    b.op('MatMul', x, b.transposed(embedding), scope='/lm_head', out='logits')
    return b, b.model('logits',
                      ['batch', 'seq', vocab]), {'loss': 'causal-lm', 'vocab': vocab, 'seq': 11, 'masked': True}


def grouped():
    vocab, heads, groups, size, inner = 59, 6, 2, 6, 50
    hidden = heads * size
    b = Builder('grouped', 23, 12)
    ids = b.input('input_ids', TensorProto.INT64, ['batch', 'seq'])
    x = b.op('Gather', b.as_is(b.weight('model.embed_tokens.weight', (vocab, hidden), 0.5)), ids)
    where = b.op('Cast', b.op('Range', b.const(0), b.sequence_length(ids), b.const(1)), to=TensorProto.FLOAT)
    frequencies = b.const(1 / 10000**(np.arange(0, size, 2) / size), np.float32)
    angles = b.op('Mul', b.op('Unsqueeze', where, b.const([1])), frequencies)
    angles = b.op('Concat', angles, angles, axis=-1)
    cos, sin = b.op('Cos', angles), b.op('Sin', angles)

    def rotary(y):
        low = b.op('Slice', y, b.const([0]), b.const([size // 2]), b.const([3]))
        high = b.op('Slice', y, b.const([size // 2]), b.const([size]), b.const([3]))
        rotated = b.op('Concat', b.op('Neg', high), low, axis=-1)
        return b.op('Add', b.op('Mul', y, cos), b.op('Mul', rotated, sin))

    def rms_norm(y, module):
        scale = b.as_is(b.weight(module + '.weight', (hidden,), 0.1, 1.0))
        return b.op('RMSNormalization', y, scale, scope='/' + module, axis=-1, epsilon=1e-6)

    for i in range(2):
        layer = f'model.layers.{i}'
        h = rms_norm(x, layer + '.attn_norm')
        q = b.heads(b.linear(h, layer + '.q_proj', hidden, hidden, 'named'), heads, size)
        k = b.heads(b.linear(h, layer + '.k_proj', hidden, groups * size, 'named'), groups, size)
        v = b.heads(b.linear(h, layer + '.v_proj', hidden, groups * size, 'named'), groups, size)
        mixed = b.op('Attention', rotary(q), rotary(k), v, is_causal=1)
        x = b.op('Add', x, b.linear(b.merge(mixed, hidden), layer + '.o_proj', hidden, hidden, 'named'))
        h = rms_norm(x, layer + '.mlp_norm')
        gate = b.linear(h, layer + '.gate_proj', hidden, inner, 'named')
        gate = b.op('Mul', gate, b.op('Sigmoid', gate))
        h = b.op('Mul', gate, b.linear(h, layer + '.up_proj', hidden, inner, 'named'))
        x = b.op('Add', x, b.linear(h, layer + '.down_proj', inner, hidden, 'named'))
    x = rms_norm(x, 'model.norm')
    head = b.op('Transpose', b.as_is(b.weight('lm_head.weight', (vocab, hidden), 0.2)), scope='/lm_head', perm=[1, 0])
    b.op('MatMul', x, head, scope='/lm_head', out='logits')
    return b, b.model('logits',
                      ['batch', 'seq', vocab]), {'loss': 'causal-lm', 'vocab': vocab, 'seq': 9, 'masked': False}


def classifier():
    vocab, heads, size, inner, classes = 53, 4, 7, 45, 5
    hidden = heads * size
    b = Builder('classifier', 18, 13)
    ids, mask = (b.input(n, TensorProto.INT64, ['batch', 'seq']) for n in ('input_ids', 'attention_mask'))
    x = b.op('Gather', b.as_is(b.weight('encoder.embed.weight', (vocab, hidden), 0.5)), ids)
    keep = b.op('Cast', b.op('Unsqueeze', mask, b.const([1, 2])), to=TensorProto.BOOL)
    x = b.layer_norm(x, 'encoder.embed_norm', hidden)
    attended = b.eager_attention(x, 'encoder.layer.0.attn', heads, size, keep, 'conv1d', True)
    x = b.layer_norm(b.op('Add', x, attended), 'encoder.layer.0.attn_norm', hidden)
    h = b.linear(x, 'encoder.layer.0.up', hidden, inner, 'conv1d')
    erf = b.op('Erf', b.op('Div', h, b.const(math.sqrt(2), np.float32)))
    h = b.op('Mul', b.op('Mul', h, b.op('Add', erf, b.const(1, np.float32))), b.const(0.5, np.float32))
    x = b.op('Add', x, b.linear(h, 'encoder.layer.0.down', inner, hidden, 'conv1d'))
    weights = b.op('Unsqueeze', b.op('Cast', mask, to=TensorProto.FLOAT), b.const([2]))
    total = b.op('ReduceSum', b.op('Mul', x, weights), b.const([1]), keepdims=0)
    pooled = b.op('Tanh', b.op('Div', total, b.op('ReduceSum', weights, b.const([1]), keepdims=0)))
    w = b.as_is(b.weight('head.weight', (classes, hidden), 0.5))
    b.op('Gemm', pooled, w, b.as_is(b.weight('head.bias', (classes,), 0.1)), scope='/head', out='logits', transB=1)
    return b, b.model('logits', ['batch', classes]), {
        'loss': 'classify', 'vocab': vocab, 'seq': 13, 'masked': True, 'classes': classes
    }


def regressor():
    sizes = [13, 37, 23, 3]
    b = Builder('regressor', 17, 14)
    x = b.input('features', TensorProto.FLOAT, ['batch', sizes[0]])
    for i, (inside, outside) in enumerate(zip(sizes, sizes[1:])):
        w = b.as_is(b.weight(f'net.{i}.weight', (outside, inside), 1.2 / math.sqrt(inside)))
        bias = b.as_is(b.weight(f'net.{i}.bias', (outside,), 0.1))
        x = b.op('Gemm', x, w, bias, scope=f'/net/{i}', transB=1, **({'out': 'prediction'} if i == 2 else {}))
        if i < 2:
            x = b.op('Tanh' if i == 0 else 'Relu', x)
    return b, b.model('prediction', ['batch', sizes[-1]]), {'loss': 'mse', 'seq': 0, 'columns': sizes}


def examples(spec, seed):
    """EXAMPLES rows of inputs and labels; rows of masked models have different lengths."""
    rng = np.random.default_rng(seed)
    if spec['loss'] == 'mse':
        x = rng.standard_normal((EXAMPLES, spec['columns'][0])).astype(np.float32)
        return {'features': x, 'labels': np.sin(x[:, :spec['columns'][-1]] * 2).astype(np.float32)}
    seq = spec['seq']
    ids = rng.integers(1, spec['vocab'], (EXAMPLES, seq))
    mask = np.ones_like(ids)
    if spec['masked']:
        mask = (np.arange(seq) < rng.integers(seq // 2, seq + 1, EXAMPLES)[:, None]).astype(np.int64)
        ids *= mask
    data = {'input_ids': ids, **({'attention_mask': mask} if spec['masked'] else {})}
    if spec['loss'] == 'classify':
        return {**data, 'labels': rng.integers(0, spec['classes'], EXAMPLES)}
    return {**data, 'labels': np.where(mask > 0, ids, -100)}


MODELS = {'lm': lm, 'grouped': grouped, 'classifier': classifier, 'regressor': regressor}


def make(folder, names=MODELS):
    """Writes the models; returns {name: its folder}."""
    folders = {}
    for seed, name in enumerate(MODELS):
        if name not in names:
            continue
        builder, model, spec = MODELS[name]()
        here = folders[name] = os.path.join(folder, name)
        os.makedirs(os.path.join(here, 'ext'), exist_ok=True)
        onnx.save(model, os.path.join(here, 'model.onnx'))
        save_file(builder.weights, os.path.join(here, 'weights.safetensors'))
        save_file(examples(spec, 100 + seed), os.path.join(here, 'train.safetensors'))
        bind = {'batch': 4, **({'seq': spec['seq']} if spec['seq'] else {})}
        json.dump(
            {'bind': bind, 'loss': spec['loss'], 'output': model.graph.output[0].name, 'parameter_map': builder.places},
            open(os.path.join(here, 'meta.json'), 'w'),
            indent=1)
        onnx.save(model,
                  os.path.join(here, 'ext', 'model.onnx'),
                  save_as_external_data=True,
                  location='model.onnx.data',
                  size_threshold=100)  # shapes and small biases stay inline
    return folders


def narrow(source, target, to):
    """The model of folder `source` as an exporter writes it whose parameters and arithmetic are 16-bit floats: `to` is
    'bf16' or 'fp16'. `wide.onnx` beside it computes in fp32 with the same, rounded numbers, and so do weights.safetensors
    hold them."""
    import ml_dtypes, shutil
    from safetensors.numpy import load_file
    kind, dtype = {
        'bf16': (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
        'fp16': (TensorProto.FLOAT16, np.float16)
    }[to]
    os.makedirs(target)
    with np.errstate(over='ignore'):
        rounded = lambda x: x.astype(dtype)
        for name in ('model.onnx', 'wide.onnx'):
            model = onnx.load(os.path.join(source, 'model.onnx'))
            for tensor in model.graph.initializer:
                if tensor.data_type != TensorProto.FLOAT:
                    continue
                half = rounded(numpy_helper.to_array(tensor))
                if name == 'wide.onnx':
                    tensor.CopyFrom(numpy_helper.from_array(half.astype(np.float32), tensor.name))
                else:
                    tensor.CopyFrom(helper.make_tensor(tensor.name, kind, half.shape, half.tobytes(), raw=True))
            if name == 'model.onnx':
                for value in (*model.graph.input, *model.graph.output):
                    if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                        value.type.tensor_type.elem_type = kind
                for attribute in (a for n in model.graph.node if n.op_type == 'Cast' for a in n.attribute):
                    if attribute.name == 'to' and attribute.i == TensorProto.FLOAT:
                        attribute.i = kind
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, os.path.join(target, name))
        weights = load_file(os.path.join(source, 'weights.safetensors'))
        save_file({n: rounded(w).astype(np.float32) for n, w in weights.items()},
                  os.path.join(target, 'weights.safetensors'))
    shutil.copy(os.path.join(source, 'train.safetensors'), target)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print('\n'.join(make(sys.argv[1]).values()))
