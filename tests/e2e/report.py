"""Reports of many plans, and of budgets in which nothing fits, against docs/report.schema.json; and every report made
worse in one place must fail it."""
import copy, json, os, re, sys
import jsonschema
from common import *

INFEASIBLE, TIME_LIMIT = 3, 4
ENDED = (0, TIME_LIMIT)  # with a plan either way
SCHEMA = json.load(open(os.path.join(SOURCE, 'docs', 'report.schema.json')))
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# Objects whose keys are data: one fewer is no fault there. (What --what-if says is compare's, and has its own tests.)
OPEN = ('/machine/source', '/machine/measured_on', '/planner_seconds')
OPTIONAL = ('/what_if', )
NULLABLE = ('smallest_budget', 'smallest_budget_of_all', 'lp', 'z3')
FOREIGN = ('/what_if/0/comparison', )

LM = ('--bind', 'batch=4,seq=11')
# title, model, flags, exit status
JOBS = [
    *((f'strategy {name}', 'lm', (*LM, '--strategy', name, '--tile', '4KiB'), 0)
      for name in ('auto', 'greedy', 'stream', 'resident', 'zo2')),
    *((f'budget {budget}', 'lm', (*LM, '--budget', budget, '--tile', '4KiB'), 0) for budget in ('100KiB', '140KiB', '1MiB')),
    ('slots and write-backs by hand', 'lm', (*LM, '--resident', 'none', '--slots', '3', '--writeback-every', '5'), 0),
    ('two directions, two micro-batches', 'lm', (*LM, '--q', '2', '--micro', '2', '--resident', 'none'), 0),
    ('16-bit storage', 'lm', (*LM, '--storage', 'bf16', '--compute', 'bf16'), 0),
    ('a GPU', 'lm', (*LM, '--machine', 'h100-pcie5', '--budget', '200KiB'), 0),
    ('evaluate only', 'lm', (*LM, '--loss', 'none'), 0),
    ('evaluate only, streamed', 'classifier', ('--bind', 'batch=4,seq=13', '--loss', 'none', '--resident', 'none'), 0),
    ('one weight trained', 'classifier', ('--bind', 'batch=4,seq=13', '--train', 'score|classifier|bias'), 0),
    ('a slow link', 'regressor', ('--bind', 'batch=4', '--loss', 'mse', '--link-up', '1MB/s', '--link-down', '1MB/s'), 0),
    ('what if', 'lm', (*LM, '--budget', '140KiB', '--tile', '4KiB', '--what-if', 'link=2x,budget=+64KiB', '--what-if', 'budget=-90%'), 0),
    ('Z3 for a second', 'lm', (*LM, '--budget', '140KiB', '--tile', '4KiB', '--link-up', '100MB/s', '--link-down', '100MB/s',
                               '--strategy', 'auto', '--time-limit', '1'), ENDED),
    ('too small a budget', 'lm', (*LM, '--budget', '20KiB'), INFEASIBLE),
    ('too small a budget for a strategy', 'lm', (*LM, '--budget', '150KiB', '--strategy', 'resident'), INFEASIBLE),
    ('too small a budget for slots', 'lm', (*LM, '--budget', '150KiB', '--slots', '64'), INFEASIBLE),
    ('too little host memory', 'lm', (*LM, '--host-budget', '1KiB', '--resident', 'none'), INFEASIBLE),
    ('both too small', 'lm', (*LM, '--budget', '20KiB', '--host-budget', '1KiB'), INFEASIBLE),
    ('too many instructions', 'lm', (*LM[:1], 'batch=1024,seq=11', '--tile', '256', '--micro', '1024', '--q', '64'), INFEASIBLE),
]


def faults(report):
    return [e.json_path + ': ' + e.message[:200] for e in VALIDATOR.iter_errors(report)]


def walk(value, path=''):
    """(path, container, key) of everything inside; of lists the first two entries."""
    if path in FOREIGN:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in items:
        yield f'{path}/{key}', value, key
        yield from walk(inner, f'{path}/{key}')


def wrong_types(value):
    if isinstance(value, bool) or value is None:
        return ['yes', 7.5]
    if isinstance(value, (int, float)):
        return ['7', None, []]
    return [7] if isinstance(value, str) else [7, 'x', [] if isinstance(value, dict) else {}]


def mutants(report):
    """(what was done, a copy made worse)"""

    def changed(path, change):
        worse = copy.deepcopy(report)
        at = worse
        *way, last = path.strip('/').split('/')
        for key in way:
            at = at[int(key) if isinstance(at, list) else key]
        change(at, int(last) if isinstance(at, list) else last)
        return worse

    yield 'a field nobody knows', {**report, 'surprise': []}
    for path, container, key in walk(report):
        value = container[key]
        if isinstance(container, dict) and path not in OPTIONAL and not path.startswith(tuple(p + '/' for p in OPEN)):
            yield f'{path} deleted', changed(path, lambda at, last: at.pop(last))
        for wrong in wrong_types(value):
            if wrong is None and key in NULLABLE:
                continue
            yield f'{path} = {wrong!r}', changed(path, lambda at, last: at.__setitem__(last, wrong))
        if isinstance(value, dict) and path not in FOREIGN:
            yield f'{path} with a field nobody knows', changed(path, lambda at, last: at[last].update(surprise=[]))
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key != 'gap':
            yield f'{path} below 0', changed(path, lambda at, last: at.__setitem__(last, -1))
        if key == 'feasible':
            yield f'{path} turned', changed(path, lambda at, last: at.__setitem__(last, not at[last]))


def shape(report):
    """Fields and their types: mutants of one report of each shape are enough."""
    return {(re.sub(r'/\d+', '/*', path), type(container[key])) for path, container, key in walk(report)
            if not path.startswith(OPEN)}


def check(job, folder, models):
    title, model, flags, status = job
    if '--strategy' not in flags:
        flags = (*flags, '--strategy', 'greedy')  # reports look the same, and it takes no time
    report, plan = os.path.join(folder, 'r.json'), os.path.join(folder, 'p.json')
    got, said = execute((PLAN, 'compile', models[model].path, *flags, '--quiet', '--report', report, '-o', plan))
    assert got == status or got in (status if status == ENDED else ()), (title, got, said)
    status = 0 if got == TIME_LIMIT else got
    found = json.load(open(report))
    assert not faults(found), (title, faults(found))
    assert found['feasible'] == (status == 0), title
    assert os.path.exists(plan) == (status == 0), title
    if status == 0:  # the plan carries it too
        carried = json.loads(json.load(open(plan))['report'])
        assert not faults(carried), (title, faults(carried))
        assert {k: v for k, v in found.items() if k != 'what_if'} == carried, title
    else:
        why = found['infeasible']
        if why['limit'] != 'instructions':
            assert why['short_by'] == why['needs'] - why['budget'], title
            assert why['dominates'] == max(why['parts'], key=lambda p: p['bytes'])['name'], title
            assert why['limit'] == 'host memory' or why['dominates'] in why['why'], title
        if why.get('smallest_budget') and why['limit'] == 'device memory':  # it works, and a byte less does not
            at = lambda bytes: [*(f for i, f in enumerate(flags) if f != '--budget' and (i == 0 or flags[i - 1] != '--budget')),
                                '--budget', bytes, '--quiet']
            run(PLAN, 'compile', models[model].path, *at(why['smallest_budget']))
            run(PLAN, 'compile', models[model].path, *at(why['smallest_budget'] - 1), status=INFEASIBLE)
    return found


def main():
    shapes, tried, failed = [], 0, []
    with tempfile.TemporaryDirectory() as folder:
        models = {m.name: m for m in made_models(os.path.join(folder, 'models'), 'lm', 'classifier', 'regressor')}
        for number, job in enumerate(JOBS):
            here = os.path.join(folder, str(number))
            os.makedirs(here)
            report = check(job, here, models)
            fresh = shape(report) not in shapes
            print(f'{job[0]}: {"feasible" if report["feasible"] else "infeasible, " + report["infeasible"]["limit"]}'
                  f'{", its mutants tried" if fresh else ""}', flush=True)
            if not fresh:
                continue
            shapes.append(shape(report))
            for what, worse in mutants(report):
                tried += 1
                if VALIDATOR.is_valid(worse):
                    failed.append(f'{job[0]}: {what} passes')
    print('\n'.join(failed[:20]) or f'{len(JOBS)} reports pass the schema; {tried} reports made worse fail it')
    assert tried > 1000
    sys.exit(1 if failed else 0)


main()
