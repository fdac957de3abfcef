"""Scans every #include: a stage sees only what docs/ARCHITECTURE.md allows, and outside libraries only where they belong."""
import os, re, sys
from common import SOURCE

# folder -> project folders it may include (besides itself)
ALLOWED = {
    'ir/support': set(),
    'ir/graph': {'ir/support'},
    'ir/schedule': {'ir/support', 'ir/graph'},
    'frontend': {'ir/support', 'ir/graph'},
    'planner': {'ir/support', 'ir/graph', 'ir/schedule'},
    'runtime/kernels': {'ir/support', 'ir/graph'},
    'runtime': {'ir/support', 'ir/graph', 'ir/schedule', 'runtime/kernels'},
    'runtime/aten': {'ir/support', 'ir/graph', 'ir/schedule', 'runtime', 'runtime/kernels'},
    'runtime/aten_device': {'ir/support', 'ir/graph', 'runtime', 'runtime/aten'},
}
# files by pattern -> more that they may include
EXCEPTIONS = {r'planner/command(s\.h|_\w+\.cc)': {'frontend'}, r'runtime/zo2_run_main\.cc': {'runtime/aten'},
              r'runtime/cuda/module/\w+\.cc': {'runtime/aten_device'}}
# library -> where its headers may appear
LIBRARIES = {
    r'onnx/': 'frontend/', r'google/protobuf|\.pb\.h': ('frontend/', 'ir/schedule/'), r'z3': 'planner/z3_solver.cc',
    r'ATen/|c10/|torch/': ('runtime/aten/', 'runtime/aten_device/'), r'cuda|nccl|cublas': 'runtime/',
}


def stage(path):
    return max((s for s in ALLOWED if path.startswith(s + '/')), key=len, default=None)


violations, files = [], 0
for folder in ('ir', 'frontend', 'planner', 'runtime'):
    for base, _, names in os.walk(os.path.join(SOURCE, folder)):
        for name in names:
            if not name.endswith(('.h', '.cc', '.cu')):
                continue
            path = os.path.relpath(os.path.join(base, name), SOURCE)
            files += 1
            more = set().union(*(v for k, v in EXCEPTIONS.items() if re.fullmatch(k, path)))
            for line in open(os.path.join(SOURCE, path)):
                m = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
                if not m:
                    continue
                target = stage(m[1])
                if target and target != stage(path) and target not in ALLOWED[stage(path)] | more:
                    violations.append(f'{path} includes {m[1]}: {stage(path)} may not see {target}')
                for library, where in LIBRARIES.items():
                    if not target and re.match(library, m[1]) and not path.startswith(where):
                        violations.append(f'{path} includes {m[1]}: only {where} may')
assert files > 40, files
print('\n'.join(violations) or f'{files} files, no violation')
sys.exit(1 if violations else 0)
