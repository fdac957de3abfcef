"""results.json and results.md of `make gpu-check`: figures as they are, and as tables for docs/benchmarks.md.

    results.py results.json     prints the tables of a file
"""
import json, os, re, sys


def rate(value):
    return f'{value / 1e9:.1f} GB/s' if value < 1e12 else f'{value / 1e12:.2f} TB/s'


def size(value):
    return f'{value / 2**30:.2f} GiB' if value >= 2**30 else f'{value / 2**20:.2f} MiB'


def in_use(memory_text):
    """What the driver counts on the whole GPU, of the device's account of its memory."""
    found = re.search(r'= ([\d.]+ \w+)', memory_text)
    return found[1] if found else ''


def plans(rows):
    resident = {(r['size'], r['dtype']): r['period_s'] for r in rows if r.get('memory') == 'all' and 'period_s' in r}
    streamed = {}
    for r in rows:
        if r.get('memory') != 'zo2' and r.get('memory') != 'all' and 'period_s' in r:
            streamed.setdefault((r['size'], r['dtype']), r)
    yield '| OPT | dtype | memory | step | tokens/s | x prediction | x bound | x resident | arena planned, touched | GPU in use | binding |'
    yield '|---|---|---|---|---|---|---|---|---|---|---|'
    for r in rows:
        if 'error' in r:
            yield f'| {r["size"]} | {r["dtype"]} | {r["memory"]} | failed: {r["error"].replace("|", "/")} | | | | | | | |'
            continue
        key = (r['size'], r['dtype'])
        ratio = lambda other: f'{r["period_s"] / other:.2f}' if other else ''
        yield (f'| {r["size"]} | {r["dtype"]} | {r["memory"]} | {1e3 * r["period_s"]:.1f} ms ({1e3 * r["period_p10_s"]:.1f} to '
               f'{1e3 * r["period_p90_s"]:.1f}) | {r["tokens_per_s"]:.0f} | {ratio(r.get("predicted_s"))} | {ratio(r.get("bound_s"))} | '
               f'{ratio(resident.get(key))} | {size(r["device_planned_bytes"])}, {size(r["device_measured_bytes"])} | '
               f'{in_use(r.get("memory_text", ""))} | {r.get("binding", "")} |')
    for r in rows:
        best = streamed.get((r['size'], r['dtype']))
        if r.get('memory') == 'zo2' and 'period_s' in r and best:
            yield ''
            yield (f'OPT-{r["size"]} in {r["dtype"]}: the published schedule takes {r["period_s"] / best["period_s"]:.2f} times the step of '
                   f'our plan for {best["memory"]}, and {r["device_planned_bytes"] / best["device_planned_bytes"]:.2f} times its device memory.')
    text = next((r['memory_text'] for r in rows if 'memory_text' in r), None)
    if text:
        yield ''
        yield f'After the first of these runs: {text}.'


def rates(r):
    yield '| what | rate |'
    yield '|---|---|'
    yield f'| host to device, device to host, one at a time | {rate(r["link_up_bytes_per_s"])}, {rate(r["link_down_bytes_per_s"])} |'
    yield f'| both at once | {rate(r["both_up_bytes_per_s"])}, {rate(r["both_down_bytes_per_s"])} |'
    yield f'| memory: read and written by a copy inside | {rate(r["memory_bytes_per_s"])} |'
    yield ''
    yield '| prepare from | to | weights/s | bytes moved | share of the memory rate |'
    yield '|---|---|---|---|---|'
    for p in r['prepare']:
        yield (f'| {p["source"]} | {p["compute"]} | {p["weights_per_s"] / 1e9:.1f} G | {rate(p["bytes_per_s"])} | '
               f'{100 * p["share_of_memory_rate"]:.0f} % |')


def text(data):
    lines = []
    facts = data.get('facts', {}).get('facts', {})
    if data.get('rehearsal'):
        lines += ['**A rehearsal on a machine without a GPU: times below say nothing.**', '']
    lines += [', '.join(f'{k} {v}' for k, v in facts.items()) + f'; plans made for {data["made_for"]}', '']
    lines += ['| stage | result | seconds |', '|---|---|---|']
    for s in data['stages']:
        lines.append(f'| {s["stage"]} | {"" if s["ok"] else "**failed:** "}{s["result"].replace("|", "/")} | {s["seconds"]} |')
    if 'rates' in data:
        lines += ['', *rates(data['rates'])]
    if data.get('plans'):
        lines += ['', *plans(data['plans'])]
    if data.get('ZO2 package'):
        lines += ['', '| ZO2 package, nanogpt | dtype | tokens/s | peak of PyTorch\'s allocator | whole GPU |', '|---|---|---|---|---|']
        lines += [f'| {r["size"]} | {r["dtype"]} | {r["tokens_per_s"]:.0f} | {size(r["peak_bytes"])} | {size(r["gpu_bytes"])} |'
                  for r in data['ZO2 package']]
    return '\n'.join(lines) + '\n'


def write(data, folder):
    """Both files, each whole or not at all."""
    for name, content in (('results.json', json.dumps(data, indent=1) + '\n'), ('results.md', text(data))):
        path = os.path.join(folder, name)
        with open(path + '.part', 'w') as file:
            file.write(content)
        os.replace(path + '.part', path)


if __name__ == '__main__':
    print(text(json.load(open(sys.argv[1]))), end='')
