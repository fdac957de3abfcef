"""Writes streams.json: checksums of long streams and of whole prepare passes, computed by the numpy reference of
zo-noise v1 (noise.py), which shares no code with the kernels. The other two files here are that reference's own vectors.

    python make_streams.py FOLDER_OF_NOISE_PY > streams.json
"""
import json
import sys
import zlib

sys.path.insert(0, sys.argv[1])
import numpy as np
import noise


def crc(array):
    return '%08x' % (zlib.crc32(np.ascontiguousarray(array).tobytes()) & 0xFFFFFFFF)


def streams():
    cases = [  # seed, tensor id, direction, start, count
        (0x0123456789ABCDEF, 0xA68EE8D2, 3, 0, 200000),
        (42, 0x9B4E2D52, 0, 5, 100003),
        (7, 0xE8B7BE43, 0xFFFFFFFF, 2**34 - 1000, 5000),  # Gaussian blocks cross 2^32
        (7, 1, 2**32 + 9, 2**35 - 777, 5000),             # those of rounding bits; a direction of 33 bits
        (2**64 - 1, 0xFFFFFFFF, 2**64 - 1, 2**39 - 300, 5000),  # those of signs
        (0, 0, 0, 1, 1),
    ]
    out = []
    for seed, tensor, direction, start, count in cases:
        out.append({
            'seed': str(seed), 'tensor_id': tensor, 'direction': str(direction), 'start': str(start), 'count': count,
            'gaussian': crc(noise.gaussian_exact(seed, tensor, direction, start, count)),
            'rademacher': crc(noise.rademacher(seed, tensor, direction, start, count)),
            'round_bits': crc(noise.round_bits(seed, tensor, direction, start, count).astype(np.uint16)),
        })
    return out


def nearest(t, storage, saturate):
    """float32 -> stored bits, ties to even; past the largest finite value: that, or infinity."""
    if storage == 'bf16':
        x = t.view(np.uint32)
        a = x & np.uint32(0x7FFFFFFF)
        m = (a + np.uint32(0x7FFF) + ((a >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        m = np.minimum(m, np.uint32(0x7F7F if saturate else 0x7F80))
        return ((x >> np.uint32(16)) & np.uint32(0x8000) | m).astype(np.uint16)
    with np.errstate(over='ignore'):
        h = t.astype(np.float16).view(np.uint16)
    return (h & np.uint16(0x8000)) | np.minimum(h & np.uint16(0x7FFF), np.uint16(0x7BFF if saturate else 0x7C00))


def widen(bits, storage):
    if storage == 'bf16':
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view(np.float16).astype(np.float32)


def start_bits(storage, count):
    """Weights to begin with, from bits that every test can make again."""
    r = noise.round_bits(99, 1, 0, 0, count).astype(np.uint32)
    if storage == 'f32':
        r2 = noise.round_bits(99, 2, 0, 0, count).astype(np.uint32)
        return ((r & 0x807F) << np.uint32(16)) | ((np.uint32(0x76) + (r >> np.uint32(7)) % 12) << np.uint32(23)) | r2
    if storage == 'bf16':
        return ((r & 0x807F) | ((np.uint32(0x76) + (r >> np.uint32(7)) % 12) << np.uint32(7))).astype(np.uint16)
    return ((r & 0x83FF) | (((r >> np.uint32(10)) % 31) << np.uint32(10))).astype(np.uint16)


SEED, TENSOR, START, COUNT, Q, WD, H, EPS = 2**40 + 77, 0x9B4E2D52, 1000003, 3001, 2, 0.1, 1.5, 1e-3
STEPS = [  # step, lr, skipped, g
    (5, 1e-3, False, [1.7320508075688772, -0.3]),
    (6, 1e-3, True, [0.0, 0.0]),
    (7, 5e-2, False, [-20.25, 3.5]),
    (8, 1e-1, False, [60000.0, -1e-3]),
]


def passes():
    out = []
    for storage in ('f32', 'bf16', 'f16'):
        for rounding in ('nearest', 'stochastic') if storage != 'f32' else ('nearest',):
            for signs in (False, True):
                draw = noise.rademacher if signs else noise.gaussian_exact
                bits = start_bits(storage, COUNT)
                t = bits.view(np.float32) if storage == 'f32' else widen(bits, storage)
                saturated = 0
                for step, lr, skipped, g in STEPS:
                    if skipped:
                        continue
                    z = [draw(SEED, TENSOR, step * Q + i, START, COUNT) for i in range(Q)]
                    t = noise.updated(t, z, g, lr, WD, H)
                    if storage == 'f32':
                        bits = t.view(np.uint32)
                        continue
                    r = noise.round_bits(SEED, TENSOR, step, START, COUNT)
                    if rounding == 'nearest':
                        wide, bits = nearest(t, storage, False), nearest(t, storage, True)
                        saturated += int((wide != bits).sum())
                    else:
                        bits = (noise.store_bf16_sr if storage == 'bf16' else noise.store_fp16_sr)(t, r)
                    t = widen(bits, storage)
                case = {'storage': storage, 'rounding': rounding, 'rademacher': signs, 'master': crc(bits)}
                if rounding == 'nearest':
                    case['saturated'] = saturated
                z = draw(SEED, TENSOR, 9 * Q, START, COUNT)
                for sign, name in ((1, 'plus'), (-1, 'minus')):
                    c = np.full(t.shape, np.float32(sign * EPS), np.float32)
                    x = noise.fma32(c, z, t).astype(np.float32)
                    case[name] = {'f32': crc(x), 'bf16': crc(nearest(x, 'bf16', False)), 'f16': crc(nearest(x, 'f16', False))}
                out.append(case)
    return out


print(json.dumps({
    'streams': streams(),
    'pass': {'seed': str(SEED), 'tensor_id': TENSOR, 'start': START, 'count': COUNT, 'q': Q, 'weight_decay': WD,
             'lr_mul': H, 'eps': EPS, 'step': STEPS[-1][0] + 1,
             'pending': [{'step': s, 'lr': lr, 'skipped': k, 'g': g} for s, lr, k, g in STEPS]},
    'passes': passes(),
}, indent=1))
