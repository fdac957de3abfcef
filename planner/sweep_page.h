// The page of `zo2-plan sweep --format html`, without its data (sweep.h says what they are): one file, no network, no
// libraries.
//
// What a person sees: the budget that is enough; memory against period with every plan, the Pareto curve, the bound and
// the trivial plans; the table. Plot and table point at each other.
#ifndef ZO2_PLANNER_SWEEP_PAGE_H_
#define ZO2_PLANNER_SWEEP_PAGE_H_

namespace zo2::internal {

inline constexpr char kSweepPage[] = R"page(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>zo2 sweep</title>
<style>
@STYLE@
svg { display: block; width: 100%; height: 420px; border: 1px solid var(--line); font-size: 12px; outline-offset: 2px }
svg text { fill: var(--soft) }
svg text.name { fill: var(--ink); paint-order: stroke; stroke: var(--page); stroke-width: 3px }
.grid { stroke: var(--grid) }
.none { fill: var(--panel) }
.curve { fill: none; stroke: var(--good); stroke-width: 2 }
.bound { fill: none; stroke: var(--alarm); stroke-width: 1.5; stroke-dasharray: 5 3 }
.plan { fill: var(--good); stroke: var(--page); stroke-width: 1.5 }
.plan.beaten { fill: var(--page); stroke: var(--good) }
.trivial { fill: var(--other); stroke: var(--page) }
.mark { stroke: var(--ink); stroke-dasharray: 2 3 }
.ring { fill: none; stroke: var(--ink); stroke-width: 2 }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; margin-top: 14px }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--frame); padding: 4px 10px }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 3px 10px; white-space: nowrap }
th:last-child, td:last-child, td.why { text-align: left }
td.why { color: var(--soft); white-space: normal }
tr[tabindex] { cursor: pointer }
tr.marked td { background: var(--panel); font-weight: 600 }
tr:hover td, tr.near td { background: var(--grid) }
.key i { display: inline-block; border: 1px solid var(--line); width: 18px; height: 10px; margin-right: 5px; vertical-align: -1px }
.scroll { overflow-x: auto }
</style></head><body>
<h1 id="title"></h1><p class="sub" id="sub"></p><div id="figures"></div>
<div class="bar key" id="key"></div>
<svg id="plot" role="img" aria-label="device memory against seconds per step"></svg>
<div class="bar"><label><input type="checkbox" id="zero"> seconds from 0</label>
<label><input type="checkbox" id="trivial" checked> plans without a planner</label>
<span class="hint">Hover says what a point is; click, or the arrow keys, mark a budget.</span></div>
<noscript><p>The plot and the table are drawn by a script in this page.</p></noscript>
<div class="scroll"><table id="table"><thead></thead><tbody></tbody></table></div>
<div id="tip"></div>
<script>
'use strict';
const D = @DATA@;
const $ = id => document.getElementById(id);
const feasible = D.rows.map((row, i) => i).filter(i => D.rows[i].feasible);
let marked = D.chosen, near = null;

function time(s) {
  for (const [f, unit, digits] of [[1, 's', 3], [1e-3, 'ms', 2], [1e-6, 'us', 1]])
    if (s >= f || unit === 'us') return (s / f).toFixed(digits) + ' ' + unit;
}
// Ticks of an axis: with the digits that tell them apart.
function tick(s, step, most) {
  const [f, unit] = [[1, 's'], [1e-3, 'ms'], [1e-6, 'us']].find(([f]) => most >= f) || [1e-6, 'us'];
  return (s / f).toFixed(Math.max(0, Math.ceil(-Math.log10(step / f) - 1e-9))) + ' ' + unit;
}
function size(bytes, digits = 2) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (bytes >= 1024 && i < 4) { bytes /= 1024; ++i; }
  return (i === 0 ? bytes : bytes.toFixed(digits)) + ' ' + units[i];
}
const percent = x => (100 * x).toFixed(1) + ' %';

// ---- words ----
document.title = D.model + ': memory against time';
$('title').textContent = D.model + ': device memory against seconds per step';
$('sub').textContent = 'Machine ' + D.machine + '; ' + size(D.weight_bytes) + ' of weights; each point is a plan, as the ' +
    'planner predicts it.';
function figures() {
  $('figures').textContent = '';
  const add = (value, name, mark) => {
    const div = document.createElement('div');
    if (mark) div.className = 'binding';
    div.append(Object.assign(document.createElement('b'), {textContent: value}),
               Object.assign(document.createElement('span'), {textContent: name}));
    $('figures').append(div);
  };
  if (marked === null) return add('none', D.chosen_cause, true);
  const row = D.rows[marked];
  add(size(row.budget), marked === D.chosen ? D.chosen_cause : 'the budget you marked');
  add(time(row.period), 'a step, predicted');
  add(percent(row.gap), 'above the bound');
  add(row.binding, 'binding resource', true);
  add(percent(row.resident_share), 'of the weights resident');
  add(row.slots ? row.slots + ' slots' : 'no slots', row.slots ? 'write-back every ' + (row.writeback_every === 1 ? 'step' :
      row.writeback_every + ' steps') : 'nothing is streamed');
}
function key() {
  const rows = [['var(--good)', 'best period within a budget (filled: no other plan is as small and as fast)'],
                ['repeating-linear-gradient(90deg, var(--alarm) 0 5px, transparent 5px 8px)', 'bound: no schedule is faster'],
                ['var(--other)', 'plans without a planner'], ['var(--panel)', 'nothing fits']];
  for (const [color, name] of rows) {
    const span = document.createElement('span'), box = document.createElement('i');
    box.style.background = color;
    span.append(box, name);
    $('key').append(span);
  }
}

// ---- the plot ----
const LEFT = 78, RIGHT = 20, TOP = 14, BOTTOM = 42;
function node(name, attributes, text) {
  const e = document.createElementNS($('plot').namespaceURI, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  $('plot').append(e);
  return e;
}
let spots = [];  // what can be hovered: x, y, text, row
function draw() {
  const plot = $('plot'), W = plot.clientWidth, H = plot.clientHeight;
  plot.textContent = '', plot.setAttribute('viewBox', `0 0 ${W} ${H}`), spots = [];
  const trivial = $('trivial').checked ? D.trivial : [];
  const bytes = [...D.rows.map(r => r.budget), ...feasible.map(i => D.rows[i].device_bytes), ...trivial.map(t => t.device_bytes)];
  const seconds = [...feasible.flatMap(i => [D.rows[i].period, D.rows[i].bound]), ...trivial.map(t => t.period)];
  if (!seconds.length) return node('text', {x: W / 2, y: H / 2, 'text-anchor': 'middle'}, 'no budget of these is enough');
  const b0 = Math.log(Math.min(...bytes)), b1 = Math.log(Math.max(...bytes)), room = (b1 - b0 || 1) * .03;
  let s0 = Math.min(...seconds), s1 = Math.max(...seconds);
  const pad = (s1 - s0 || s1 || 1) * .08;
  s0 = $('zero').checked ? 0 : Math.max(0, s0 - pad), s1 += pad;
  const x = b => LEFT + (Math.log(b) - b0 + room) / (b1 - b0 + 2 * room) * (W - LEFT - RIGHT);
  const y = s => TOP + (s1 - s) / (s1 - s0) * (H - TOP - BOTTOM);
  // where nothing fits
  const fits = feasible.length ? D.rows[feasible[0]] : null;
  if (fits && feasible[0] > 0) {
    const least = D.rows[feasible[0] - 1].smallest_budget || fits.device_bytes;
    node('rect', {class: 'none', x: LEFT, y: TOP, width: Math.max(0, x(least) - LEFT), height: H - TOP - BOTTOM});
    if (x(least) - LEFT > 110) {
      node('text', {x: LEFT + 8, y: H - BOTTOM - 26}, 'nothing fits');
      node('text', {x: LEFT + 8, y: H - BOTTOM - 10}, 'below ' + size(least));
    }
  }
  // axes
  const rough = (s1 - s0) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(f => f * power).find(f => f >= rough);
  for (let s = Math.ceil(s0 / step) * step; s <= s1; s += step) {
    node('line', {class: 'grid', x1: LEFT, x2: W - RIGHT, y1: y(s), y2: y(s)});
    node('text', {x: LEFT - 8, y: y(s) + 4, 'text-anchor': 'end'}, tick(s, step, s1));
  }
  let last = -99;
  const doubling = Math.max(1, Math.ceil((b1 - b0) / Math.LN2 / (W / 90)));
  const fine = (b1 - b0) / Math.LN2 < 3 ? 4 : 1;  // marks per doubling
  for (let e = Math.floor(b0 / Math.LN2) - 1; e <= b1 / Math.LN2 + 1; e += doubling) {
    for (let f = 0; f < fine; ++f) {
      const b = 2 ** e * (1 + f / fine);
      if (x(b) < LEFT || x(b) > W - RIGHT) continue;
      node('line', {class: 'grid', x1: x(b), x2: x(b), y1: TOP, y2: H - BOTTOM});
      const text = size(b, Number.isInteger(b / 1024 ** Math.floor(Math.log2(b) / 10)) ? 0 : 1);
      if (x(b) - last > 70 && x(b) < W - RIGHT - 20)
        node('text', {x: x(b), y: H - BOTTOM + 16, 'text-anchor': 'middle'}, text), last = x(b);
    }
  }
  node('text', {x: (LEFT + W - RIGHT) / 2, y: H - 6, 'text-anchor': 'middle'}, 'device memory, doubling');
  // the bound, per budget; the curve, a stair: memory between two plans is spent on the smaller one
  let path = '';
  for (const i of feasible) path += (path ? 'L' : 'M') + x(D.rows[i].budget) + ' ' + y(D.rows[i].bound);
  node('path', {class: 'bound', d: path});
  const best = feasible.map(i => D.rows[i]).filter(r => r.pareto).sort((a, b) => a.device_bytes - b.device_bytes);
  path = '';
  best.forEach(r => path += (path ? 'H' + x(r.device_bytes) + 'V' + y(r.period) : 'M' + x(r.device_bytes) + ' ' + y(r.period)));
  if (best.length) path += 'H' + (W - RIGHT);
  node('path', {class: 'curve', d: path});
  if (marked !== null) {
    const r = D.rows[marked];
    node('line', {class: 'mark', x1: x(r.budget), x2: x(r.budget), y1: TOP, y2: H - BOTTOM});
    node('circle', {class: 'ring', cx: x(r.device_bytes), cy: y(r.period), r: 9});
    const right = x(r.budget) > W - 200;
    node('text', {class: 'name', x: x(r.budget) + (right ? -8 : 8), y: TOP + 14, 'text-anchor': right ? 'end' : 'start'},
         size(r.budget) + (marked === D.chosen ? ' is enough' : ''));
  }
  let lines = [];  // where names stand
  for (const t of trivial) {
    const cx = x(t.device_bytes), cy = y(t.period);
    node('path', {class: 'trivial', d: `M${cx} ${cy - 10}l10 10l-10 10l-10 -10z`});
    const right = cx > W - 140;
    let at = cy - 13;
    while (lines.some(l => Math.abs(l.y - at) < 14 && Math.abs(l.x - cx) < 130)) at -= 14;
    lines.push({x: cx, y: at});
    node('text', {class: 'name', x: cx + (right ? -6 : 6), y: at, 'text-anchor': right ? 'end' : 'start'}, t.name);
    spots.push({x: cx, y: cy, row: null, text: t.name + ', without a planner\n' + time(t.period) + ' a step in ' + size(t.device_bytes)});
  }
  for (const i of feasible) {
    const r = D.rows[i], cx = x(r.device_bytes), cy = y(r.period);
    node('circle', {class: 'plan' + (r.pareto ? '' : ' beaten'), cx, cy, r: near === i ? 7 : 5});
    spots.push({x: cx, y: cy, row: i, text: about(r)});
  }
}
const about = r => 'budget ' + size(r.budget) + ', peak ' + size(r.device_bytes) + '\n' + time(r.period) + ' a step, bound ' +
    time(r.bound) + ' (' + percent(r.gap) + ' above)\nbinding: ' + r.binding + '\n' + r.resident_tiles + ' of ' + r.tiles +
    ' tiles resident, ' + percent(r.resident_share) + ' of the bytes\n' + (r.slots ? r.slots + ' slots, write-back every ' +
    (r.writeback_every === 1 ? 'step' : r.writeback_every + ' steps') : 'nothing is streamed') + '\nup ' + size(r.up_bytes) +
    ', down ' + size(r.down_bytes) + ' per step\nhost ' + size(r.host_bytes) + (r.pareto ? '' : '\nanother plan here is no ' +
    'larger and no slower');

// ---- the table ----
function table() {
  const head = ['budget', 'peak', 'resident', 'slots', 'write-back', 'step', 'bound', 'gap', 'up per step', 'binding'];
  const tr = document.createElement('tr');
  for (const name of head) tr.append(Object.assign(document.createElement('th'), {textContent: name}));
  $('table').tHead.replaceChildren(tr);
  const body = $('table').tBodies[0];
  body.textContent = '';
  D.rows.forEach((r, i) => {
    const line = document.createElement('tr');
    const cells = r.feasible ? [size(r.budget), size(r.device_bytes), percent(r.resident_share), r.slots || '-',
        r.slots ? r.writeback_every : '-', time(r.period), time(r.bound), percent(r.gap), size(r.up_bytes), r.binding]
      : [size(r.budget), r.why];
    for (const text of cells) line.append(Object.assign(document.createElement('td'), {textContent: text}));
    if (!r.feasible) line.cells[1].colSpan = head.length - 1, line.cells[1].className = 'why';
    else {
      line.tabIndex = 0;
      line.onclick = () => mark(i);
      line.onmouseenter = () => point(i), line.onmouseleave = () => point(null);
      line.onkeydown = e => { if (e.key === 'Enter' || e.key === ' ') e.preventDefault(), mark(i); };
    }
    body.append(line);
  });
  classes();
}
function classes() {
  [...$('table').tBodies[0].rows].forEach((line, i) => {
    line.classList.toggle('marked', i === marked), line.classList.toggle('near', i === near);
  });
}
function mark(i) { marked = i; figures(), draw(), classes(); }
function point(i) { if (near !== i) near = i, draw(), classes(); }

// ---- the hand ----
const nearest = e => {
  const r = $('plot').getBoundingClientRect(), px = e.clientX - r.left, py = e.clientY - r.top;
  let best = null;
  for (const s of spots) {
    const d = Math.hypot(s.x - px, s.y - py);
    if (d < 26 && (!best || d < best.d)) best = {...s, d};
  }
  return best;
};
$('plot').addEventListener('pointermove', e => {
  const spot = nearest(e), tip = $('tip');
  point(spot ? spot.row : null);
  tip.textContent = spot ? spot.text : '';
  tip.style.display = spot ? 'block' : 'none';
  tip.style.left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = Math.min(e.clientY + 16, innerHeight - tip.offsetHeight - 8) + 'px';
});
$('plot').addEventListener('pointerleave', () => { $('tip').style.display = 'none'; point(null); });
$('plot').addEventListener('click', e => { const spot = nearest(e); if (spot && spot.row !== null) mark(spot.row); });
addEventListener('keydown', e => {
  const way = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[e.key];
  if (!way || e.target.tagName === 'INPUT' || !feasible.length) return;
  e.preventDefault();
  const at = feasible.indexOf(marked);
  mark(feasible[Math.max(0, Math.min(feasible.length - 1, at + way))]);
});
$('zero').onchange = $('trivial').onchange = draw;
addEventListener('resize', draw);
key(), figures(), table(), draw();
</script></body></html>
)page";

}  // namespace zo2::internal

#endif  // ZO2_PLANNER_SWEEP_PAGE_H_
