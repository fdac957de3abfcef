"""Writes wire.json: rectangles in every wire format, encoded and decoded by numpy from the words of
ir/support/wire_format.h. It shares no code with the kernels; where ml_dtypes is installed, its float8_e4m3fn has to
agree with the table used here.

    python make_wire.py > wire.json
"""
import json
import sys
import zlib

import numpy as np

np.seterr(all='ignore')
GROUP = 128
LARGEST = {'e4m3': 448, 'int8': 127, 'int4': 7}
# Code by code; 0x7f is NaN.
E4M3 = np.array([m * 2.0 ** -9 if m < 8 else (8 + m % 8) * 2.0 ** (m // 8 - 10) for m in range(127)])


def splitmix(seed, count):
    z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values_of(storage, seed, count, low, span):
    """Bits of values whose exponent fields are spread over [low, low + span)."""
    h = splitmix(seed, count)
    exponent = np.uint64(low) + (h & np.uint64(0xFF)) % np.uint64(span)
    if storage == 'f16':
        return ((h >> np.uint64(48)) & np.uint64(0x83FF) | exponent << np.uint64(10)).astype(np.uint16)
    bits = ((h >> np.uint64(32)) & np.uint64(0x807FFFFF) | exponent << np.uint64(23)).astype(np.uint32)
    return bits if storage == 'f32' else (bits >> np.uint32(16)).astype(np.uint16)


def widen(storage, bits):
    if storage == 'f16':
        return bits.view(np.float16).astype(np.float32)
    if storage == 'bf16':
        bits = bits.astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32)


def nearest_e4m3(x):
    """Codes of float32 numbers: the nearest, ties to the even code, at most the largest."""
    a = np.abs(x.astype(np.float64))
    above = np.clip(np.searchsorted(E4M3, a), 1, 126)
    below = above - 1
    down, up = a - E4M3[below], E4M3[above] - a
    code = np.where((down < up) | ((down == up) & (below % 2 == 0)), below, above)
    code = np.where(a >= 448, 126, code)
    return (code | np.where(np.signbit(x), 0x80, 0)).astype(np.uint8)


def encode_group(form, v):
    """Codes as small unsigned numbers, the scale, and how many values are not finite."""
    bad = int(np.sum(~np.isfinite(v)))
    scale = np.float32(0) if bad else np.max(np.abs(v)) / np.float32(LARGEST[form])
    if scale == 0:
        return np.zeros(len(v), np.uint8), np.float32(0), bad
    x = v / scale
    assert x.dtype == np.float32
    if form == 'e4m3':
        return nearest_e4m3(x), scale, bad
    n = np.clip(np.rint(x), -LARGEST[form], LARGEST[form]).astype(np.int8).view(np.uint8)
    return n & np.uint8(0xF if form == 'int4' else 0xFF), scale, bad


def decode_group(form, codes, scale):
    if form == 'e4m3':
        magnitude = np.append(E4M3, np.nan)[codes & 0x7F].astype(np.float32)
        return np.where(codes & 0x80, -magnitude, magnitude) * scale
    n = codes.astype(np.int32)
    half = 8 if form == 'int4' else 128
    return ((n ^ half) - half).astype(np.float32) * scale


def plain(form, v):
    finite = np.isfinite(v)
    v = np.where(finite, v, np.float32(0))
    if form == 'f32':
        coded = v
        decoded = v
    elif form == 'f16':
        coded = np.clip(v, np.float32(-65504), np.float32(65504)).astype(np.float16)
        decoded = coded.astype(np.float32)
    else:
        # Of the two bf16 around a value the nearer, or the even one: in float64, without bit tricks.
        low = (v.view(np.uint32) & np.uint32(0xFFFF0000))
        step = np.minimum(low + np.uint32(0x10000), np.uint32(0x7F7F0000) | (low & np.uint32(0x80000000)))
        a, b = low.view(np.float32).astype(np.float64), step.view(np.float32).astype(np.float64)
        d = v.astype(np.float64)
        odd = (low >> np.uint32(16)) & np.uint32(1)
        up = (np.abs(d - a) > np.abs(b - d)) | ((np.abs(d - a) == np.abs(b - d)) & (odd == 1))
        bits = np.where(up, step, low)
        coded = (bits >> np.uint32(16)).astype(np.uint16)
        decoded = bits.view(np.float32)
    return coded.tobytes(), decoded, int(np.sum(~finite))


def encode(form, values):
    """The coded rectangle's bytes, the decoded values, how many were not finite."""
    rows, cols = values.shape
    if form not in LARGEST:
        return plain(form, values)
    codes, scales, decoded, bad = bytearray(), [], np.zeros(values.shape, np.float32), 0
    for r in range(rows):
        row = np.zeros(0, np.uint8)
        for c in range(0, cols, GROUP):
            group, scale, n = encode_group(form, values[r, c:c + GROUP])
            row = np.append(row, group)
            scales.append(scale)
            decoded[r, c:c + GROUP] = decode_group(form, group, scale)
            bad += n
        if form == 'int4':
            row = np.append(row, np.zeros(cols % 2, np.uint8))
            row = row[0::2] | row[1::2] << np.uint8(4)
        codes += row.tobytes()
    codes += bytes(-len(codes) % 64)
    return bytes(codes) + np.array(scales, np.float32).tobytes(), decoded, bad


def check_with_ml_dtypes():
    try:
        import ml_dtypes
    except ImportError:
        print('ml_dtypes is not installed: e4m3 is not checked against it', file=sys.stderr)
        return
    table = np.arange(127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    assert np.array_equal(table, E4M3)
    bits = np.concatenate([np.arange(0, 0x7F800000, 997, dtype=np.uint32),
                           np.arange(0x7F80, dtype=np.uint32) << np.uint32(16)])
    middle = ((E4M3[1:] + E4M3[:-1]) / 2).astype(np.float32)
    x = np.concatenate([bits.view(np.float32), middle, np.nextafter(middle, np.float32(0)),
                        np.nextafter(middle, np.float32(1e9))])
    x = np.concatenate([x, -x])
    x = x[np.abs(x) <= 448]
    assert np.array_equal(nearest_e4m3(x), x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))


def crc(data):
    return '%08x' % (zlib.crc32(data) & 0xFFFFFFFF)


def main():
    check_with_ml_dtypes()
    out = {'small': [], 'large': []}
    hostile = [  # bits of f32: zeros of both signs, the smallest and largest, not finite, ties, scales that vanish
        ['00000000', '80000000'],
        ['3f800000', '80000000', '00000000', 'bf800000'],
        ['7f7fffff', 'ff7fffff', '00000001', '80000001', '3f800000'],
        ['3f800000', '7f800000', '40000000'],
        ['3f800000', '7fc00001', 'ffc00000'],
        ['00000001', '80000001'],
        ['00000001', '00000258'],
        ['000000e0', '80000004', '00000003', '000000df'],
        ['00000003', '80000004', '00000004'],
        ['007fffff', '80800000', '00400000', '00000123', '80012345'],
        ['43e00000', '41980000', '3a800000', '3b000000', '3b800001', 'c1880000', '43d80000', '43c80000', '3c780000'],
        ['42fe0000', '3f000000', '3fc00000', 'c0200000', 'bf000000', '3effffff', '42fd0000'],
        ['40e00000', '3f000000', '3fc00000', 'c0200000', 'bf000000', 'c0d00000', '40600000', '3f000001'],
    ]
    for words in hostile:
        values = np.array([int(w, 16) for w in words], np.uint32).view(np.float32)[None, :]
        for form in ['f32', 'bf16', 'f16', 'e4m3', 'int8', 'int4']:
            coded, decoded, bad = encode(form, values)
            out['small'].append({'format': form, 'values': words, 'coded': coded.hex(), 'not_finite': bad,
                                 'decoded': ['%08x' % w for w in decoded.view(np.uint32).ravel()]})
    seed = 0
    for storage in ['f32', 'bf16', 'f16']:
        spans = [(0, 31), (0, 32), (5, 8)] if storage == 'f16' else [(110, 14), (0, 256), (0, 3), (248, 7), (1, 254)]
        for low, span in spans:
            for rows, cols in [(1, 1), (3, 128), (5, 127), (2, 129), (4, 385), (1, 4001), (17, 200)]:
                seed += 1
                values = widen(storage, values_of(storage, seed, rows * cols, low, span)).reshape(rows, cols)
                for form in ['f32', 'bf16', 'f16', 'e4m3', 'int8', 'int4']:
                    coded, decoded, bad = encode(form, values)
                    out['large'].append({
                        'storage': storage, 'seed': seed, 'low': low, 'span': span, 'rows': rows, 'cols': cols,
                        'format': form, 'coded': crc(coded), 'decoded': crc(decoded.tobytes()), 'not_finite': bad})
    lines = lambda items: '[\n' + ',\n'.join(json.dumps(item) for item in items) + ']'
    print('{"small": %s,\n"large": %s}' % (lines(out['small']), lines(out['large'])))


if __name__ == '__main__':
    main()
