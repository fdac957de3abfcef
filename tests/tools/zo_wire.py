"""Wire formats in plain numpy, from the words of ir/support/wire_format.h, and what a plan's coded tiles are at each step:
a judge that shares no code with the product."""
import numpy as np
import zo_noise

F32 = np.float32
GROUP = 128


def _e4m3():
    """Values of codes 0 .. 0x7e: 4 bits of exponent with bias 7, 3 of mantissa, subnormal where the exponent is 0."""
    codes = np.arange(0x7F)
    exponent, mantissa = codes >> 3, codes & 7
    return np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0**(exponent - 10.0))


E4M3 = _e4m3()


def _nearest_e4m3(x):
    """The value of the nearest code, ties to the even one."""
    size = np.minimum(np.abs(x).astype(np.float64), E4M3[-1])
    high = np.clip(np.searchsorted(E4M3, size), 1, len(E4M3) - 1)
    low = high - 1
    to_low, to_high = size - E4M3[low], E4M3[high] - size
    code = np.where((to_low < to_high) | ((to_low == to_high) & (low % 2 == 0)), low, high)
    return np.copysign(E4M3[code], x).astype(F32)


LARGEST = {'e4m3': 448, 'int8': 127, 'int4': 7}


def through(values, wire):
    """A rectangle [rows, cols] of float32 encoded and decoded."""
    if wire == 'f32':
        return values.copy()
    if wire in ('bf16', 'f16'):
        dtype = {'bf16': 'bf16', 'f16': 'fp16'}[wire]
        return zo_noise.widen(zo_noise.nearest(values, dtype), dtype)
    out = np.empty_like(values)
    for c in range(0, values.shape[1], GROUP):
        group = values[:, c:c + GROUP]
        scale = np.abs(group).max(axis=1, keepdims=True) / F32(LARGEST[wire])
        quotient = np.divide(group, scale, out=np.zeros_like(group), where=scale != 0)
        if wire == 'e4m3':
            code = _nearest_e4m3(quotient)
        else:
            code = np.clip(np.rint(quotient), -LARGEST[wire], LARGEST[wire]) + F32(0)  # no -0
        out[:, c:c + GROUP] = code.astype(F32) * scale
    return out


class Wires:
    """The coded tiles of a plan (JSON of the whole schedule)."""

    def __init__(self, plan):
        train = next(p for p in plan['programs'] if p.get('purpose', 'train') == 'train')
        self.period = train.get('period', 1)
        self.tiles = []
        makes, exact = {}, {}  # tile -> residues in which its codes are made, in which its master is prepared
        for lane in train['lanes']:
            for i in lane['instructions']:
                kind, residues = i.get('kind', 'call'), int(i.get('residues', 2**64 - 1))
                if kind == 'host update' and i['operands'][2].get('buffer', -1) >= 0:
                    makes[i['tile']] = makes.get(i['tile'], 0) | residues
                if kind == 'prepare' and not i.get('coded', False):
                    exact[i.get('tile', 0)] = exact.get(i.get('tile', 0), 0) | residues
        for t, tile in enumerate(plan['tiles']):
            if tile.get('codes', -1) < 0:
                continue
            segments = []
            for s in tile['segments']:
                weight = plan['weights'][s.get('weight', 0)]
                component = weight['components'][0]
                segments.append((weight['name'], component.get('wire', 'f32'),
                                 np.s_[s.get('row_begin', 0):s['row_end'], s.get('col_begin', 0):s['col_end']]))
            self.tiles.append(dict(segments=segments, trained=tile.get('trainable', True), makes=makes.get(t, 0),
                                   exact=exact.get(t, 0), version=0, values=None))
        self.formats = {wire for tile in self.tiles for _, wire, _ in tile['segments']}
        self.trained = sum(t['trained'] for t in self.tiles)
        self.refreshed = sum(t['trained'] and t['exact'] != 0 for t in self.tiles)

    def _due(self, residues, step):
        return residues >> (step % self.period) & 1

    def encode(self, theta, step=None):
        """The codes that step `step` makes of theta at that step; without a step those of base weights."""
        matrices = {n: v.reshape(len(v) if v.ndim > 1 else 1, -1) for n, v in theta.items()}
        for tile in self.tiles:
            if step is None or self._due(tile['makes'], step):
                tile['values'] = [through(matrices[n][at], wire) for n, wire, at in tile['segments']]
                tile['version'] = step or 0

    def values(self, theta, step, history, evaluation=False):
        """What kernels see at a step, before the perturbation. history[s]: (z by name and sample, g, lr, decay by
        name) of step s."""
        seen = dict(theta)
        for tile in self.tiles:
            if tile['trained'] and not evaluation and self._due(tile['exact'], step):
                continue
            for (name, _, at), values in zip(tile['segments'], tile['values']):
                if seen[name] is theta[name]:
                    seen[name] = theta[name].copy()
                rows = lambda v: v.reshape(len(v) if v.ndim > 1 else 1, -1)
                for z, g, lr, decay in history[tile['version']:step] if tile['trained'] else ():
                    if name in z[0]:
                        values = zo_noise.updated(values, [rows(zi[name])[at] for zi in z], g, lr, decay[name])
                rows(seen[name])[at] = values
        return seen
