"""The HTML pages in a real browser (skipped where there is none): no script fails, nothing is loaded from outside, what a
hand does - hover, wheel, keys, clicks - shows what it should, in light and in dark."""
import json, os, re, shutil, subprocess, sys
from common import *

BROWSER = next((b for b in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if b), None)

# Runs in the page after its own script; `out` is what the test sees.
HARNESS = """<script>
(async () => {
  const out = {errors: window.failures};
  const wait = () => new Promise(done => setTimeout(done, 20));
  const at = (id, type, x, y, more) => $(id).dispatchEvent(new (type === 'wheel' ? WheelEvent : PointerEvent)(type, {
      bubbles: true, cancelable: true, clientX: $(id).getBoundingClientRect().left + x,
      clientY: $(id).getBoundingClientRect().top + y, pointerId: 1, ...more}));
  const key = name => dispatchEvent(new KeyboardEvent('keydown', {key: name, cancelable: true}));
  const tip = () => $('tip').style.display === 'block' ? $('tip').textContent : '';
  try { await (async () => { SCRIPT })(); } catch (e) { out.errors.push(String(e)); }
  const pre = document.createElement('pre');
  pre.id = 'harness', pre.textContent = JSON.stringify(out);
  document.body.append(pre);
})();
</script>"""
# Before the page's script. A browser that draws nothing may call for no frames.
LISTEN = """<script>window.failures = []; addEventListener('error', e => failures.push(e.message));
window.requestAnimationFrame = f => setTimeout(f, 0);</script>"""


def browse(page, script, folder, dark=False):
    text = open(page).read()
    for outside in ('http:', 'https:', 'src=', 'href=', '@import', 'url('):
        assert outside not in text, f'{page} refers to {outside}'
    path = os.path.join(folder, 'harness.html')
    open(path, 'w').write(text.replace('<head>', '<head>' + LISTEN, 1).replace('</body>', HARNESS.replace('SCRIPT', script) + '</body>'))
    command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--window-size=1300,1000', '--virtual-time-budget=4000',
               f'--user-data-dir={folder}/profile', '--dump-dom', 'file://' + path]
    if dark:
        command.insert(1, '--blink-settings=preferredColorScheme=0')
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'<pre id="harness">(.*?)</pre>', dom, re.S)
    assert found, f'the page did not answer: {dom[-300:]}'
    out = json.loads(found[1].replace('&lt;', '<').replace('&gt;', '>').replace('&amp;', '&'))
    assert not out['errors'], out['errors']
    return out


TIMELINE = """
  show(0, D.total), await wait();
  out.lanes = [];
  for (let l = 0; l < D.lanes.length; ++l) {
    const s = D.lanes[l].spans.reduce((a, b) => b[4] > a[4] && b[3] > 0 ? b : a), w = $('detail').clientWidth - GUTTER;
    at('detail', 'pointermove', GUTTER + (s[3] + s[4] / 2) / D.total * w, laneTop(l) + ROW / 2);
    out.lanes.push(tip());
  }
  const waiting = [].concat(...D.lanes.map((lane, l) => lane.spans.filter(s => s[6] >= 0).map(s => [l, s])))[0];
  if (waiting) {
    const [l, s] = waiting;
    show(s[3] - s[4], s[3] + 2 * s[4]), await wait();
    at('detail', 'pointermove', GUTTER + (s[3] + s[4] / 2 - from) / (to - from) * ($('detail').clientWidth - GUTTER), laneTop(l) + 9);
    out.waiting = tip();
  }
  show(0, D.total), await wait();
  at('detail', 'pointermove', 600, memoryTop() + MEM / 2), out.memory = tip();
  at('detail', 'pointerleave', 0, 0), out.left = tip();
  at('detail', 'wheel', 600, 80, {deltaY: -1}), out.zoomed = to - from < D.total;
  const before = from;
  key('ArrowRight'), out.moved = from > before;
  key('-'), key('-'), out.whole = from === 0 && to === D.total;
  $('step').click(), out.step = to === D.steps[1][1];
  $('find').value = 'prepare', $('find').oninput({target: $('find')}), await wait();
  out.found = D.lanes[0].spans.filter(matches).length;
  out.dark = getComputedStyle(document.body).backgroundColor;
  out.ink = C.ink, out.clipped = document.documentElement.scrollWidth > innerWidth;
"""

SWEEP = """
  await wait();
  const spot = spots.find(s => s.row !== null);
  at('plot', 'pointermove', spot.x + 1, spot.y + 1), out.hover = tip();
  out.near = document.querySelectorAll('tr.near').length;
  const trivial = spots.find(s => s.row === null);
  at('plot', 'pointermove', 3, 3), out.nowhere = tip();
  out.trivial = spots.filter(s => s.row === null).length;
  at('plot', 'click', spot.x, spot.y), out.clicked = marked === spot.row;
  out.figure = $('figures').querySelector('b').textContent;
  key('ArrowRight'), out.next = marked === feasible[1];
  for (let i = 0; i < 50; ++i) key('ArrowLeft');
  out.first = marked === feasible[0];
  const line = $('table').tBodies[0].rows[feasible[2]];
  line.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true})), out.entered = marked === feasible[2];
  $('zero').click(), await wait();
  out.zero = [...$('plot').querySelectorAll('text')].some(t => /^0(.0+)? /.test(t.textContent));
  $('trivial').click(), out.hidden = spots.every(s => s.row !== null);
  out.rows = $('table').tBodies[0].rows.length;
  out.marks = document.querySelectorAll('tr.marked').length;
  out.outside = [...$('plot').querySelectorAll('text')].filter(t => t.textContent && (t.getBBox().x < 0 ||
      t.getBBox().x + t.getBBox().width > $('plot').clientWidth)).map(t => t.textContent);
  out.clipped = document.documentElement.scrollWidth > innerWidth;
"""


def check_timeline(model, folder):
    plan, page = os.path.join(folder, 't.plan'), os.path.join(folder, 't.html')
    for every in (1, 3):
        model.compile(plan, '--budget', '140KiB', '--tile', '4KiB', '--writeback-every', every, '--link-up', '100MB/s',
                      '--link-down', '100MB/s', '--strategy', 'greedy', '--quiet')
        run(PLAN, 'inspect', plan, '--format', 'html', '-o', page)
        for dark in (False, True):
            out = browse(page, TIMELINE, folder, dark)
            assert all('takes' in text and 'step' in text for text in out['lanes']), out['lanes']
            assert 'waiting for: ' in out['waiting'], out['waiting']
            assert 'device memory in use' in out['memory'] and 'activations' in out['memory'], out['memory']
            assert out['left'] == '' and out['found'] > 0 and not out['clipped'], out
            assert out['zoomed'] and out['moved'] and out['whole'] and out['step'], out
            assert (out['ink'] == '#222') == (not dark) and (out['dark'] == 'rgb(255, 255, 255)') == (not dark), out
    return 'timeline: ' + out['waiting'].replace('\n', '; ')


def check_sweep(model, folder):
    page = os.path.join(folder, 's.html')
    run(PLAN, 'sweep', model.path, *bind_flags(model.bind), '--loss', model.loss, '--budget', '60KiB..1MiB', '--points', 8, '--tile',
        '4KiB', '--link-up', '100MB/s', '--link-down', '100MB/s', '--strategy', 'greedy', '--format', 'html', '-o', page)
    for dark in (False, True):
        out = browse(page, SWEEP, folder, dark)
        assert 'a step, bound' in out['hover'] and out['near'] == 1 and out['nowhere'] == '', out
        assert all(out[k] for k in ('clicked', 'next', 'first', 'entered', 'zero', 'hidden')), out
        assert out['trivial'] >= 2 and out['rows'] == 8 and out['marks'] == 1 and not out['outside'] and not out['clipped'], out
    run(PLAN, 'sweep', model.path, *bind_flags(model.bind), '--loss', model.loss, '--budget', '1KiB..2KiB', '--points', 3, '--strategy', 'greedy',
        '--format', 'html', '-o', page)
    out = browse(page, "out.text = $('figures').textContent, out.rows = $('table').tBodies[0].rows.length;", folder)
    assert 'no budget' in out['text'] and out['rows'] == 3, out
    return 'sweep: hover, keys, clicks and marks'


def main():
    if BROWSER is None:
        skip('no chromium or chrome is installed')
    with tempfile.TemporaryDirectory() as folder:
        model = made_models(os.path.join(folder, 'models'), 'lm')[0]
        for check in (check_timeline, check_sweep):
            print(check(model, folder), flush=True)


main()
