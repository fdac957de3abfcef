"""Files of about a MiB that are as bad for each reader as a person could think of: make_large.py FOLDER

Fuzzing makes small files; what grows faster than the file shows only in large ones. `fuzz_readers READER FILE...` then
says whether they keep to 5 seconds and to the reader's allowance of memory.
"""
import json, os, struct, sys, zlib
from onnx import TensorProto, helper

N = 1 << 20


def repeat(unit, head='', tail='', separator=''):
    count = (N - len(head) - len(tail)) // (len(unit) + len(separator))
    return (head + separator.join([unit] * count) + tail).encode()


def keyed(unit, head, tail, n=N):
    """unit % i for i = 0, 1, ..., separated by commas."""
    parts, size, i = [], len(head) + len(tail), 0
    while size < n:
        parts.append(unit % i)
        size += len(parts[-1]) + 1
        i += 1
    return (head + ','.join(parts) + tail).encode()


def varint(n):
    out = b''
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


JSON = {
    'lists_open': repeat('['), 'objects_open': repeat('{"":'), 'lists': repeat('[]', '[', ']', ','),
    'lists_in_object': repeat('[]', '{"x":[', ']}', ','), 'objects': repeat('{}', '{"x":[', ']}', ','),
    'numbers': repeat('0', '{"x":[', ']}', ','), 'keys': keyed('"%d":0', '{', '}'),
    'keys_of_objects': keyed('"%d":{}', '{', '}'), 'string': repeat('a', '{"', '":0}'),
    'nested': b'{"x":' + b'[' * (N // 2) + b']' * (N // 2) + b'}',
}


def safetensors(header):
    return struct.pack('<Q', len(header)) + header


def journal(header, bodies=()):
    out = b'zo2jrnl\n' + struct.pack('<II', 1, len(header)) + header
    crc = zlib.crc32(out)
    out += struct.pack('<I', crc)
    for body in bodies:
        record = struct.pack('<I', len(body)) + body
        crc = zlib.crc32(record, crc)
        out += record + struct.pack('<I', crc)
    return out


def journal_header(q, more=''):
    return ('{"eps":1,"weight_decay":0,"clip_g":0,"seed":7,"q":%d,"base":{"sha256":""}%s}' % (q, more)).encode()


def plan(body, version):
    return b'zo2plan\n' + struct.pack('<IIQ', version, zlib.crc32(body), len(body)) + body


def model(nodes, initializers=(), functions=(), opset=18):
    x = helper.make_tensor_value_info('x', TensorProto.FLOAT, [2, 4])
    y = helper.make_tensor_value_info('y', TensorProto.FLOAT, [2, 4])
    opsets = [helper.make_opsetid('', opset)] + ([helper.make_opsetid('local', 1)] if functions else [])
    graph = helper.make_graph(list(nodes), 'large', [x], [y], list(initializers))
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10).SerializeToString()


def laughs(depth):
    """Functions that call the next one twice: 2^depth nodes."""
    opsets = [helper.make_opsetid('', 18), helper.make_opsetid('local', 1)]
    for i in range(depth):
        op, domain = (f'f{i + 1}', 'local') if i + 1 < depth else ('Relu', '')
        nodes = [helper.make_node(op, ['a'], ['t'], domain=domain), helper.make_node(op, ['t'], ['b'], domain=domain)]
        yield helper.make_function('local', f'f{i}', ['a'], ['b'], nodes, opsets)


def endless():
    opsets = [helper.make_opsetid('', 18), helper.make_opsetid('local', 1)]
    node = helper.make_node('f0', ['a'], ['b'], domain='local')
    return [helper.make_function('local', 'f0', ['a'], ['b'], [node], opsets)]


def chain(op, n, first='x', **attributes):
    names = [first] + [f'n{i}' for i in range(n - 1)] + ['y']
    return [helper.make_node(op, [a], [b], **attributes) for a, b in zip(names, names[1:])]


def onnx_models():
    values = lambda name, *dims: helper.make_tensor(name, TensorProto.FLOAT, dims, bytes(4 * 16), raw=True)
    yield 'relus', model(chain('Relu', 40000))
    yield 'views', model(chain('Identity', 30000, 'w') , [values('w', 4, 4)])
    yield 'unsupported', model(chain('Nonsense', 40000))
    many = 6000
    yield 'products', model(
        [helper.make_node('MatMul', ['x' if i == 0 else f'h{i}', f'w{i}'], ['y' if i + 1 == many else f'h{i + 1}'])
         for i in range(many)], [values(f'w{i}', 4, 4) for i in range(many)])
    yield 'ties', model(
        [helper.make_node('Gather', [f'w{i}', 'i'], [f'g{i}']) for i in range(many // 2)] +
        [helper.make_node('MatMul', ['x', f'onnx::MatMul_{i}'], ['y' if i == 0 else f'h{i}']) for i in range(many // 2)],
        [values(f'{name}{i}', 4, 4) for name in ('w', 'onnx::MatMul_') for i in range(many // 2)] +
        [helper.make_tensor('i', TensorProto.INT64, [1], [0])])
    yield 'attributes', model([helper.make_node('Relu', ['x'], ['y'], **{f'a{i}': i for i in range(50000)})])
    yield 'inputs', model([helper.make_node('Sum', ['x'] * 100000, ['y'])])
    yield 'laughs', model([helper.make_node('f0', ['x'], ['y'], domain='local')], functions=laughs(40))
    yield 'endless', model([helper.make_node('f0', ['x'], ['y'], domain='local')], functions=endless())
    shapes = [helper.make_tensor(f's{i}', TensorProto.INT64, [2], [i + 1, 60]) for i in range(200)]
    yield 'folds', model([helper.make_node('ConstantOfShape', [f's{i}'], [f'c{i}']) for i in range(200)] +
                         [helper.make_node('Relu', ['x'], ['y'])], shapes)
    nearly = helper.make_tensor('value', TensorProto.FLOAT, [1], [0.999 / 128])  # no two powers are equal
    square = helper.make_tensor('square', TensorProto.INT64, [2], [128, 128])
    yield 'fold_products', model(
        [helper.make_node('ConstantOfShape', ['square'], ['c0'], value=nearly)] +
        [helper.make_node('MatMul', [f'c{i}', 'c0'], [f'c{i + 1}']) for i in range(5000)] +
        [helper.make_node('Relu', ['x'], ['y'])], [square])
    bounds = [helper.make_tensor(name, TensorProto.INT64, [], [value])
              for name, value in (('a', 0), ('b', 1 << 62), ('c', 1 << 30))]
    yield 'range', model(
        [helper.make_node('Range', ['a', 'b', 'c'], ['r']), helper.make_node('Relu', ['x'], ['y'])], bounds)


def files():
    for name, text in JSON.items():
        yield 'safetensors', name, safetensors(text)
        yield 'machine', name, text
        yield 'journal', name, journal(text)
        yield 'plan', name, text
        yield 'dataset', 'line_' + name, b'j0' + text
        yield 'snapshot', name, safetensors(text)
    tensor = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    yield 'safetensors', 'tensors', safetensors(keyed(tensor, '{', '}'))
    yield 'snapshot', 'tensors', safetensors(keyed(tensor, '{', '}'))
    yield 'dataset', 'tensors', b's0' + safetensors(keyed(tensor, '{', '}'))
    yield 'safetensors', 'index', keyed('"%d":"shard.safetensors"', '{"weight_map":{', '}}')
    yield 'machine', 'calls', keyed('"%d":1', '{"calls":{', '}}')
    yield 'machine', 'table', repeat('{"m":1,"n":1,"k":1,"flops":1}', '{"gemm_table":[', ']}', ',')
    step = lambda i: struct.pack('<BBHQQIIdddd', 1, 1, 0, i, 7, 1, 0, 0, 0, 0, 0) + bytes(4)
    yield 'journal', 'steps', journal(journal_header(1), [step(i) for i in range(N // 80)])
    snapshot = struct.pack('<BBHQI', 2, 1, 0, 0, 0) + b'd' * 64
    yield 'journal', 'snapshots', journal(journal_header(1), [snapshot] * (N // 88))
    yield 'journal', 'samples', journal(journal_header(1 << 20), [b'\1\1\0\0' + bytes(8)])
    yield 'journal', 'keys_more', journal(keyed('"%d":0', journal_header(1)[:-1].decode() + ',', '}'))
    version = 2
    for place in ('programs', 'values', 'nodes', 'buffers', 'tiles', 'weights'):
        yield 'plan', place, ('{"version":%d,"%s":[' % (version, place)).encode() + b'{},' * (N // 3) + b'{}]}'
    for number in range(1, 24):  # whatever the fields of a schedule are: empty messages, two bytes each
        yield 'plan', f'empty_{number}', plan(b'\x08\4' + field(number, b'') * (N // 3), version)
    lane = '{"version":2,"programs":[{"lanes":[{"instructions":['
    yield 'plan', 'instructions', keyed('{"seq":%d}', lane, ']}]}]}')
    yield 'plan', 'operands', repeat('{}', lane + '{"operands":[', ']}]}]}]}', ',')
    for tokens, name in (('0', 'ids'), ('[]', 'lists'), ('[0]', 'examples')):
        yield 'dataset', 'lines_' + name, b'j0' + (tokens + '\n').encode() * (N // (len(tokens) + 1))
    yield 'dataset', 'lines_objects', b'j0' + b'{"input_ids":[1]}\n' * (N // 18)
    yield 'dataset', 'line_ids', b'j1[' + b'0,' * (N // 2) + b'0]\n'
    yield 'dataset', 'u16', b'10' + bytes(N)
    for name, bytes_of in onnx_models():
        yield 'onnx', name, bytes_of


def main(folder):
    for reader, name, content in files():
        os.makedirs(os.path.join(folder, reader), exist_ok=True)
        with open(os.path.join(folder, reader, name), 'wb') as out:
            out.write(content)


main(sys.argv[1])
