"""zo-noise v1 and the ZO-SGD update in plain numpy, to the bit: a judge that shares no code with the product.

self_check() has known answers of Philox, and the golden vectors beside the repository where they are.
"""
import json, os, zlib
import numpy as np

F32, U32, U64 = np.float32, np.uint32, np.uint64
MASK32 = 0xFFFFFFFF


def tensor_ids(names):
    """CRC-32 of each canonical name; taken ids are drawn again, in byte order of the names."""
    ids = {}
    for name in sorted(names, key=str.encode):
        candidate, n = zlib.crc32(name.encode()), 0
        while candidate in ids.values():
            n += 1
            candidate = zlib.crc32(name.encode() + b'\0' + str(n).encode())
        ids[name] = candidate
    return ids


def philox(counter, key):
    """Philox4x32-10: four arrays of 32-bit words in uint64, two ints -> uint32 [n, 4]."""
    x = [np.atleast_1d(np.asarray(c, U64)) for c in counter]
    k0, k1 = key
    for _ in range(10):
        left, right = x[0] * U64(0xD2511F53), x[2] * U64(0xCD9E8D57)
        low, high = U64(MASK32), U64(32)
        x = [(right >> high) ^ x[1] ^ U64(k0), right & low, (left >> high) ^ x[3] ^ U64(k1), left & low]
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return np.stack([v.astype(U32) for v in np.broadcast_arrays(*x)], axis=1)


def words(seed, tensor, direction, blocks):
    key = (seed & MASK32, ((seed >> 32) + (direction >> 32)) & MASK32)
    b = np.asarray(blocks, U64)
    return philox((b & U64(MASK32), b >> U64(32), tensor, direction & MASK32), key)


def fma(a, b, c):
    """fl32(a * b + c) of float32 arrays with one rounding. The product is exact in binary64; the sum is rounded to odd
    there (of the two neighbours of an inexact sum, the one whose last bit is 1), so the second rounding is harmless."""
    product, c = np.asarray(a, np.float64) * np.asarray(b, np.float64), np.asarray(c, np.float64)
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    total, error = np.broadcast_arrays(total, error)
    even = (np.ascontiguousarray(total).view(np.int64).reshape(total.shape) & 1) == 0
    neighbour = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, neighbour, total).astype(F32)


def horner(x, coefficients):
    value = np.full(x.shape, coefficients[-1], F32)
    for c in coefficients[-2::-1]:
        value = fma(value, x, F32(c))
    return value


LOG = [
    float.fromhex(h) for h in '-0x1p-1 0x1.555528p-2 -0x1.000b1cp-2 0x1.99c32ep-3 -0x1.515a6cp-3 0x1.1f9568p-3 '
    '-0x1.35b3cep-3 0x1.1b0c9ep-3'.split()
]
SINE = [float.fromhex(h) for h in '0x1.921fb6p+0 -0x1.4abc24p-1 0x1.4680a4p-4 -0x1.33198ep-8'.split()]
COSINE = [float.fromhex(h) for h in '0x1p+0 -0x1.3bd3ccp+0 0x1.03c1b0p-2 -0x1.55b2b4p-6 0x1.d4f608p-11'.split()]


def uniform(u):
    return fma(u.astype(F32), F32(2.0**-32), F32(2.0**-33))


def radius(u):
    bits = u.view(np.int32)
    exponent = (bits - np.int32(0x3F2AAAAB)) & np.int32(-0x800000)
    f = (bits - exponent).view(F32) - F32(1)
    log = fma(exponent.astype(F32), F32(float.fromhex('0x1.62e430p-24')), fma(f * f, horner(f, LOG), f))
    return np.sqrt(F32(-2) * log)


def cosine_sine(u):
    t = F32(4) * u
    q = t + F32(12582912)
    k, d = q.view(np.int32), t - (q - F32(12582912))
    x = d * d
    s, c = d * horner(x, SINE), horner(x, COSINE)
    odd = (k & 1) == 1
    s, c = np.where(odd, c, s), np.where(odd, s, c)
    return np.where(((k + 1) & 2) != 0, -c, c), np.where((k & 2) != 0, -s, s)


def gaussian(seed, tensor, direction, start, count):
    """z of elements [start, start + count) of the tensor with that id."""
    first, last = start // 4, (start + count + 3) // 4
    u = words(seed, tensor, direction, np.arange(first, last))
    z = np.empty(u.shape, F32)
    for i in (0, 2):
        r, (c, s) = radius(uniform(u[:, i])), cosine_sine(uniform(u[:, i + 1]))
        z[:, i], z[:, i + 1] = r * c, r * s
    return z.ravel()[start - 4 * first:][:count]


def rademacher(seed, tensor, direction, start, count):
    first, last = start // 128, (start + count + 127) // 128
    bits = words(seed, tensor, direction, np.arange(first, last))[:, :, None] >> np.arange(32, dtype=U32) & U32(1)
    return (bits.astype(F32) * F32(2) - F32(1)).ravel()[start - 128 * first:][:count]


def noise(kind, seed, tensor, direction, shape):
    draw = rademacher if kind == 'rademacher' else gaussian
    return draw(seed, tensor, direction, 0, int(np.prod(shape))).reshape(shape)


def perturbed(theta, z, eps):
    return fma(np.full(theta.shape, F32(eps)), z, theta)


def updated(theta, z, g, lr, decay=0.0):
    """theta after one step: z and g are lists, one entry per sample; decay is 0 for biases and norm scales."""
    t = theta
    if decay != 0:
        t = F32(1 - lr * decay) * t
    for direction, slope in zip(z, g):
        t = fma(np.full(t.shape, F32(-((lr * slope) / len(g)))), direction, t)
    return t


# ---- 16-bit storage: bits as uint16, values as float32 ----


def widen(bits, dtype):
    """Exact values of stored bits; dtype 'bf16' or 'fp16'."""
    if dtype == 'bf16':
        return (bits.astype(U32) << U32(16)).view(F32)
    return bits.view(np.float16).astype(F32)


def nearest(t, dtype, saturate=True):
    """Stored bits, ties to even. Past the largest finite value: that where `saturate`, else infinity."""
    t = np.asarray(t, F32)
    if dtype == 'bf16':
        bits = t.view(U32)
        size = bits & U32(0x7FFFFFFF)
        size = (size + U32(0x7FFF) + ((size >> U32(16)) & U32(1))) >> U32(16)
        size = np.minimum(size, U32(0x7F7F if saturate else 0x7F80))
        return ((bits >> U32(16)) & U32(0x8000) | size).astype(np.uint16)
    with np.errstate(over='ignore'):
        half = t.astype(np.float16).view(np.uint16)
    return half & np.uint16(0x8000) | np.minimum(half & np.uint16(0x7FFF), np.uint16(0x7BFF if saturate else 0x7C00))


def rounding_bits(seed, tensor, step, shape):
    """16 bits per element, from the stream of stochastic rounding."""
    count = int(np.prod(shape))
    key = (seed & MASK32, (((seed >> 32) ^ 0x53524E44) + (step >> 32)) & MASK32)
    b = np.arange((count + 7) // 8, dtype=U64)
    w = philox((b & U64(MASK32), b >> U64(32), tensor, step & MASK32), key)
    halves = np.stack([w & U32(0xFFFF), w >> U32(16)], axis=2)  # [blocks, 4 words, low and high]
    return halves.reshape(-1)[:count].reshape(shape)


def stochastic(t, dtype, r):
    """Stored bits of t, rounded by the 16 bits r."""
    bits = np.asarray(t, F32).view(U32)
    sign, size = (bits >> U32(16)) & U32(0x8000), bits & U32(0x7FFFFFFF)
    if dtype == 'bf16':
        return (sign | np.minimum((size + r) >> U32(16), U32(0x7F7F))).astype(np.uint16)
    normal = ((size + (r & U32(0x1FFF))) >> U32(13)).astype(np.int64) - (112 << 10)
    scaled = np.abs(t).astype(np.float64) * 2.0**24
    floor = np.floor(scaled)
    small = floor + (r * 2.0**-16 + 2.0**-17 < scaled - floor)
    magnitude = np.where(size >= 0x38800000, np.minimum(normal, 0x7BFF), small).astype(np.uint16)
    return sign.astype(np.uint16) | magnitude


def store(t, dtype, rounding, seed, tensor, step):
    """What a step leaves of t in a master of `dtype` ('fp32', 'bf16', 'fp16'), as float32."""
    if dtype == 'fp32':
        return t
    if rounding == 'nearest':
        return widen(nearest(t, dtype), dtype)
    return widen(stochastic(t, dtype, rounding_bits(seed, tensor, step, t.shape)), dtype)


def check_golden(folder):
    """The vectors of noise_golden.json and update_golden.json; returns how many numbers were compared."""
    load = lambda name: json.load(open(os.path.join(folder, name)))
    floats = lambda bits: np.array([int(b, 16) for b in bits], U32).view(F32)
    compared = 0
    for g in load('noise_golden.json'):
        where = int(g['seed'], 16), int(g['tensor_id'], 16), g['direction'], g['start']
        for got, want in ((gaussian(*where, len(g['gaussian_bits'])), floats(g['gaussian_bits'])),
                          (rademacher(*where, len(g['rademacher'])), np.array(g['rademacher'], F32))):
            assert np.array_equal(got, want), (g, got)
            compared += len(want)
    for g in load('update_golden.json'):
        theta, z = floats(g['theta_bits']), [floats(b) for b in g['z_bits']]
        for i, zi in enumerate(z):
            where = int(g['seed'], 16), int(g['tensor_id'], 16), g['step'] * g['q'] + i, g['start']
            assert np.array_equal(gaussian(*where, len(zi)), zi), g
        assert np.array_equal(perturbed(theta, z[0], g['eps']), floats(g['theta_plus_sample0_bits'])), g
        assert np.array_equal(updated(theta, z, g['g'], g['lr'], g['wd']), floats(g['updated_fp32_bits'])), g
        compared += (2 + len(z)) * len(theta)
        r = np.array([int(b, 16) for b in g['round_bits']], U32)
        assert np.array_equal(rounding_bits(where[0], where[1], g['step'], g['start'] + len(r))[g['start']:], r), g
        for dtype in ('bf16', 'fp16'):
            t = floats(g['updated_fp32_bits'])
            for got, how in ((nearest(t, dtype), 'nearest'), (stochastic(t, dtype, r), 'stochastic')):
                want = np.array([int(b, 16) for b in g[f'stored_{dtype}_{how}']], np.uint16)
                assert np.array_equal(got, want), (g, dtype, how)
                compared += len(want)
    return compared


def self_check():
    """Known answers and moments; the golden vectors where they are."""
    answer = philox(([0x243f6a88], 0x85a308d3, 0x13198a2e, 0x03707344), (0xa4093822, 0x299f31d0))
    assert [f'{w:08x}' for w in answer[0]] == ['d16cfe09', '94fdcceb', '5001e420', '24126ea1'], answer
    z = gaussian(42, zlib.crc32(b'lm_head.weight'), 0, 5, 4)
    assert [f'{w:08x}' for w in z.view(U32)] == ['3eab83d8', 'be8bdbfb', 'bf1eb89d', '3e2d21a4'], z
    z = gaussian(7, 5, 3, 0, 1 << 16)
    assert np.array_equal(gaussian(7, 5, 3, 1001, 77), z[1001:1078])
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02, (z.mean(), z.std())
    print('known answers; slices of a tensor agree; moments as they should be')
    golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../shared/reference')
    if os.path.isdir(golden):
        print(check_golden(golden), 'golden numbers, all to the bit')


if __name__ == '__main__':
    self_check()
