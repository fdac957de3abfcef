"""Reads a journal of zo2-run as runtime/journal.h describes it, without the product's code."""
import json, struct, zlib


class Journal:
    """header: the parsed JSON; steps: dicts; snapshots: (step, generation, digest); evaluations: (step, metric, value,
    digest of the data); good: bytes that count; ends: where each step record ends in the file;
    boundaries: where each record of any kind begins."""

    def __init__(self, path):
        data = open(path, 'rb').read()
        assert data[:8] == b'zo2jrnl\n', data[:8]
        version, length = struct.unpack_from('<II', data, 8)
        assert version == 1, version
        at = 16 + length
        self.header_end = at + 4
        self.header = json.loads(data[16:at])
        chain = zlib.crc32(data[:at])
        assert struct.unpack_from('<I', data, at) == (chain,), 'head'
        at += 4
        self.steps, self.snapshots, self.evaluations, self.ends, self.boundaries = [], [], [], [], []
        self.size = len(data)
        while at + 4 <= len(data):
            body = data[at + 4:at + 4 + struct.unpack_from('<I', data, at)[0]]
            end = at + 4 + len(body)
            check = zlib.crc32(data[at:end], chain)
            if data[end:end + 4] != struct.pack('<I', check):
                break
            self.boundaries.append(at)
            at, chain = end + 4, check
            if body[0] == 1:
                step, seed, q, skipped, lr = struct.unpack_from('<QQIId', body, 4)
                values = struct.unpack_from(f'<{3 * q}d', body, 36)
                self.steps.append({
                    'step': step, 'seed': seed, 'q': q, 'skipped': skipped, 'lr': lr, 'bits': bytes(body),
                    'loss_plus': values[:q], 'loss_minus': values[q:2 * q], 'g': values[2 * q:]
                })
                self.ends.append(at)
            elif body[0] == 3:
                step, value, metric, digest = struct.unpack_from('<Qd8s64s', body, 4)
                self.evaluations.append((step, metric.rstrip(b'\0').decode(), value, digest.decode()))
            else:
                assert body[0] == 2, body[0]
                step, generation = struct.unpack_from('<QI', body, 4)
                self.snapshots.append((step, generation, body[16:80].decode()))
        self.good = at

    def bits(self):
        """What must be equal in equal runs: every step record."""
        return [s['bits'] for s in self.steps]
