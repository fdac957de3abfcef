"""The independent judge (judge.py) follows runs of the made models in fp32: samples, micro-batches, decay, schedules."""
import sys, tempfile
from common import *
from judge import Case, follow
import zo_noise


def falling(step):
    return 1e-2 * (1 - step / 10)


CASES = [
    Case('lm', 'plain'),
    Case('lm',
         'two directions, two micro-batches, decay, streamed, written back every 3 steps',
         batch=6,
         samples=2,
         decay=0.3,
         plan=('--q', 2, '--micro', 2, '--tile', '2KiB', '--resident', 'none', '--slots', 3, '--writeback-every', 3)),
    Case('grouped',
         'decay, falling learning rate, 64-bit seed',
         decay=0.1,
         train=('--lr-schedule', 'linear'),
         lr=falling,
         seed=0xFEDCBA9876543210),
    Case('grouped',
         'three directions, signs instead of normals',
         samples=3,
         kind='rademacher',
         plan=('--q', 3, '--rademacher')),
    Case('classifier', 'plain, batches that wrap', batch=5),
    Case('classifier', 'only the attention is trained', trained='attn', decay=0.5, plan=('--train', 'attn')),
    Case('regressor', 'plain', steps=20),
    Case('regressor',
         'three micro-batches, two directions',
         batch=6,
         samples=2,
         plan=('--q', 2, '--micro', 3, '--tile', '512')),
]

zo_noise.self_check()
with tempfile.TemporaryDirectory() as models_folder:
    made = {m.name: m for m in made_models(models_folder)}
    cases = named(CASES)
    worst, failed = each(lambda case, folder: follow(case, made[case.model], folder), cases)
    print(
        f'{len(worst)} of {len(cases)} runs agree with the judge; largest deviation of l {max(worst, default=0):.1e}, '
        'final weights to the bit')
    sys.exit(1 if failed else 0)
