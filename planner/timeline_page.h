// The page of `zo2-plan inspect --format html`, without its data: one file, no network, no libraries. timeline.cc puts
// the data (it says what is in them) where @DATA@ stands.
//
// What a person sees: figures on top; an overview of all that is shown, with the part in view marked; the lanes of that
// part; device memory under the same axis of time; the report.
#ifndef ZO2_PLANNER_TIMELINE_PAGE_H_
#define ZO2_PLANNER_TIMELINE_PAGE_H_

namespace zo2::internal {

inline constexpr char kTimelinePage[] = R"page(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>zo2 plan</title>
<style>
@STYLE@
.bar i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 5px; vertical-align: -1px }
canvas { display: block; width: 100%; border: 1px solid var(--frame); margin: 0 0 6px; touch-action: none }
</style></head><body>
<h1 id="title"></h1><p class="sub" id="sub"></p><div id="figures"></div>
<div class="bar" id="legend"></div>
<canvas id="overview"></canvas><canvas id="detail"></canvas>
<div class="bar"><button id="whole">whole</button><button id="step">one step</button><button id="edge">where two steps meet</button>
<label>find <input id="find" size="24" placeholder="weight, node or kind"></label>
<span class="hint">Wheel or + and - zoom, drag or arrow keys move, double click shows the whole, hover says what it is.
Darker and lighter: one step and the next.</span></div>
<noscript><p>The timeline is drawn by a script in this page; without scripts only the report below is shown.</p></noscript>
<details open><summary>Report</summary><pre id="report"></pre></details>
<div id="tip"></div>
<script>
'use strict';
const D = @DATA@;
const $ = id => document.getElementById(id);
const GUTTER = 132, RULER = 24, ROW = 46, GAP = 8, MEM = 150, SMALL = 9;
let from = 0, to = D.total, found = '', hover = null, drag = null;

// 1234567 ns -> "1.23 ms"; in a range of times, with the digits that tell them apart
function time(ns, step) {
  const units = [[1e9, 's'], [1e6, 'ms'], [1e3, 'us'], [1, 'ns']];
  const [f, unit] = units.find(([f]) => (step || Math.abs(ns)) >= f) || units[3];
  const digits = step ? Math.max(0, Math.ceil(-Math.log10(step / f) - 1e-9)) : Math.abs(ns) / f >= 100 ? 0 : 2;
  return (ns / f).toFixed(digits) + ' ' + unit;
}
function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (bytes >= 1024 && i < 4) { bytes /= 1024; ++i; }
  return (i === 0 ? bytes : bytes.toFixed(bytes >= 100 ? 0 : 2)) + ' ' + units[i];
}

// ---- words and figures ----
document.title = D.title + ': plan';
$('title').textContent = D.title;
$('sub').textContent = D.subtitle;
for (const [value, name, binding] of D.figures) {
  const div = document.createElement('div');
  if (binding) div.className = 'binding';
  div.append(Object.assign(document.createElement('b'), {textContent: value}),
             Object.assign(document.createElement('span'), {textContent: name}));
  $('figures').append(div);
}
for (const [name, color] of D.kinds) {
  const span = document.createElement('span'), box = document.createElement('i');
  box.style.background = color;
  span.append(box, name);
  $('legend').append(span);
}
$('report').textContent = D.report;

// ---- drawing ----
const C = {};  // colors, as the style has them
const scheme = matchMedia('(prefers-color-scheme: dark)');
function colors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['ink', 'soft', 'grid', 'panel', 'alarm', 'veil']) C[name] = style.getPropertyValue('--' + name).trim();
}
colors();
scheme.addEventListener('change', () => { colors(); draw(); });
function prepare(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.style.height = height + 'px';
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = '12px system-ui, "DejaVu Sans", sans-serif';
  g.textBaseline = 'middle';
  return [g, width];
}
// first span of a lane that ends after t
function first(spans, t) {
  let low = 0, high = spans.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (spans[mid][3] + spans[mid][4] <= t) low = mid + 1; else high = mid;
  }
  return low;
}
const matches = s => found && (D.labels[s[1]][0] + ' ' + D.kinds[s[0]][0]).toLowerCase().includes(found);

function drawLane(g, l, y, height, x0, width, a, b, detail) {
  const spans = D.lanes[l].spans, scale = width / (b - a);
  for (let i = first(spans, a); i < spans.length && spans[i][3] < b; ++i) {
    const s = spans[i];
    const left = x0 + Math.max(0, s[3] - a) * scale, right = x0 + Math.min(b - a, s[3] + s[4] - a) * scale;
    const w = Math.max(right - left, .5);
    g.globalAlpha = (s[2] % 2 ? .62 : 1) * (found && !matches(s) ? .18 : 1);
    g.fillStyle = D.kinds[s[0]][1];
    g.fillRect(left, y, w > 3 && detail ? w - .6 : w, height);
    if (detail && w > 34) {
      g.save();
      g.beginPath(), g.rect(left + 3, y, w - 6, height), g.clip();
      g.globalAlpha = 1;
      g.fillStyle = (s[2] % 2 && !scheme.matches) || D.kinds[s[0]][2] ? '#111' : '#fff';
      g.fillText(D.labels[s[1]][0], left + 4, y + height / 2);
      g.restore();
    }
  }
  g.globalAlpha = 1;
}

function drawOverview() {
  const [g, width] = prepare($('overview'), D.lanes.length * (SMALL + 3) + 7), w = width - GUTTER;
  D.lanes.forEach((lane, l) => drawLane(g, l, 5 + l * (SMALL + 3), SMALL, GUTTER, w, 0, D.total, false));
  const x = t => GUTTER + t / D.total * w;
  g.fillStyle = C.soft;
  g.fillText('all that is shown', 8, D.lanes.length * (SMALL + 3) / 2 + 3);
  g.fillStyle = C.veil;
  g.fillRect(GUTTER, 0, x(from) - GUTTER, 99), g.fillRect(x(to), 0, width - x(to), 99);
  g.strokeStyle = C.ink;
  g.strokeRect(x(from) + .5, 1.5, Math.max(2, x(to) - x(from) - 1), D.lanes.length * (SMALL + 3) + 4);
}

const laneTop = l => RULER + 6 + l * (ROW + GAP);
const memoryTop = () => laneTop(D.lanes.length) + 18;

function drawDetail() {
  const height = memoryTop() + MEM + 10, [g, width] = prepare($('detail'), height), w = width - GUTTER;
  const scale = w / (to - from), x = t => GUTTER + (t - from) * scale;
  // ruler
  const rough = (to - from) / Math.max(2, w / 110), power = 10 ** Math.floor(Math.log10(rough));
  const tick = [1, 2, 5, 10].map(f => f * power).find(t => t >= rough);
  for (let t = Math.ceil(from / tick) * tick; t <= to; t += tick) {
    g.fillStyle = C.grid, g.fillRect(x(t), RULER - 4, 1, height);
    const text = time(t, tick);
    if (x(t) + 3 + g.measureText(text).width > width) break;
    g.fillStyle = C.soft, g.fillText(text, x(t) + 3, RULER / 2);
  }
  // lanes
  D.lanes.forEach((lane, l) => {
    const y = laneTop(l);
    g.fillStyle = C.panel, g.fillRect(GUTTER, y, w, ROW);
    if (lane.binding) g.fillStyle = C.alarm, g.fillRect(0, y, 4, ROW);
    drawLane(g, l, y, ROW, GUTTER, w, from, to, true);
    g.fillStyle = C.ink, g.font = '600 13px system-ui, "DejaVu Sans", sans-serif';
    g.fillText(lane.name, 8, y + 13);
    g.font = '11px system-ui, "DejaVu Sans", sans-serif', g.fillStyle = lane.binding ? C.alarm : C.soft;
    g.fillText((100 * lane.busy).toFixed(0) + ' % busy' + (lane.binding ? ', binds' : ''), 8, y + 29);
    g.fillStyle = C.soft, g.fillText(lane.what, 8, y + 42);
  });
  // where steps begin
  for (const [step, t] of D.steps) {
    if (t < from || t > to) continue;
    g.strokeStyle = C.ink, g.setLineDash([4, 3]);
    g.beginPath(), g.moveTo(x(t), RULER), g.lineTo(x(t), laneTop(D.lanes.length)), g.stroke(), g.setLineDash([]);
    const text = 'step ' + step + ' computes', room = g.measureText(text).width;
    g.fillStyle = C.ink, g.fillText(text, Math.min(x(t) + 4, width - room - 2), laneTop(D.lanes.length) + 4);
  }
  drawMemory(g, x, w);
  if (hover && hover.span) drawHover(g, x);
}

function drawHover(g, x) {
  const s = hover.span, y = laneTop(hover.lane);
  g.strokeStyle = C.ink, g.lineWidth = 2;
  g.strokeRect(x(s[3]), y, Math.max(2, s[4] * (x(1) - x(0))), ROW);
  if (s[6] >= 0) {  // an arrow from what it waited for
    const c = D.lanes[s[6]].spans[s[7]];
    g.beginPath(), g.moveTo(x(c[3] + c[4]), laneTop(s[6]) + ROW / 2), g.lineTo(x(s[3]), y + ROW / 2), g.stroke();
    g.strokeRect(x(c[3]), laneTop(s[6]), Math.max(2, c[4] * (x(1) - x(0))), ROW);
  }
  g.lineWidth = 1;
}

// Device memory: bands that add up; per column of pixels the moment with most of it.
function memoryAt(t) {
  const p = D.memory.points;
  let low = 0, high = p.length;
  while (low < high) { const mid = (low + high) >> 1; if (p[mid][0] <= t) low = mid + 1; else high = mid; }
  return Math.max(0, low - 1);
}
const sum = p => { let n = 0; for (let k = 1; k < p.length; ++k) n += p[k]; return n; };
function drawMemory(g, x, w) {
  const top = memoryTop(), most = Math.max(D.memory.budget, D.memory.bytes) * 1.04, y = b => top + MEM * (1 - b / most);
  const p = D.memory.points;
  if (!p.length) return;
  g.fillStyle = C.panel, g.fillRect(GUTTER, top, w, MEM);
  for (let c = 0; c < w; ++c) {
    const a = from + c / w * (to - from), b = from + (c + 1) / w * (to - from);
    let best = memoryAt(a);
    for (let i = best + 1; i < p.length && p[i][0] < b; ++i) if (sum(p[i]) > sum(p[best])) best = i;
    let under = 0;
    D.memory.kinds.forEach(([name, color], k) => {
      g.fillStyle = color;
      const h = y(under) - y(under + p[best][k + 1]);
      g.fillRect(GUTTER + c, y(under + p[best][k + 1]), 1, h);
      under += p[best][k + 1];
    });
  }
  for (const [bytes, name, color] of [[D.memory.bytes, 'arena', C.ink], [D.memory.budget, 'budget', C.alarm]]) {
    if (!bytes) continue;
    g.strokeStyle = color, g.setLineDash(name === 'budget' ? [5, 3] : []);
    g.beginPath(), g.moveTo(GUTTER, y(bytes)), g.lineTo(GUTTER + w, y(bytes)), g.stroke(), g.setLineDash([]);
  }
  g.fillStyle = C.ink, g.font = '600 13px system-ui, "DejaVu Sans", sans-serif';
  g.fillText('device memory', 8, top + 8);
  g.font = '11px system-ui, "DejaVu Sans", sans-serif', g.fillStyle = C.soft;
  g.fillText('arena ' + size(D.memory.bytes), 8, top + 24);
  g.fillStyle = C.alarm;
  if (D.memory.budget) g.fillText('budget ' + size(D.memory.budget), 8, top + 38);
  D.memory.kinds.slice().reverse().forEach(([name, color], k) => {
    g.fillStyle = color, g.fillRect(8, top + 50 + k * 15, 9, 9);
    const binds = D.memory.binding && name === 'slots in use';
    g.fillStyle = binds ? C.alarm : C.soft, g.fillText(binds ? name + ', bind' : name, 21, top + 55 + k * 15);
  });
}

let queued = false;
function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; drawOverview(); drawDetail(); });
}
function show(a, b) {
  const length = Math.min(D.total, Math.max(b - a, D.total / 1e6, 100));
  from = Math.max(0, Math.min(a, D.total - length)), to = from + length;
  draw();
}

// ---- the hand ----
const detail = $('detail'), overview = $('overview'), tip = $('tip');
const timeAt = (e, canvas, a, b) => {
  const r = canvas.getBoundingClientRect();
  return a + (e.clientX - r.left - GUTTER) / (r.width - GUTTER) * (b - a);
};
function zoom(factor, at) { show(at - (at - from) * factor, at + (to - at) * factor); }
detail.addEventListener('wheel', e => {
  e.preventDefault();
  zoom(e.deltaY > 0 ? 1.25 : .8, timeAt(e, detail, from, to));
}, {passive: false});
detail.addEventListener('pointerdown', e => { drag = {x: e.clientX, from, to}; detail.setPointerCapture(e.pointerId); });
detail.addEventListener('pointerup', () => { drag = null; });
detail.addEventListener('pointerleave', () => { hover = null; tip.style.display = 'none'; draw(); });
detail.addEventListener('dblclick', () => show(0, D.total));
detail.addEventListener('pointermove', e => {
  if (drag) {
    const t = (drag.x - e.clientX) / (detail.clientWidth - GUTTER) * (drag.to - drag.from);
    show(drag.from + t, drag.to + t);
    return;
  }
  const y = e.clientY - detail.getBoundingClientRect().top, t = timeAt(e, detail, from, to);
  hover = null;
  let text = '';
  D.lanes.forEach((lane, l) => {
    if (y < laneTop(l) || y > laneTop(l) + ROW || t < from) return;
    const slack = 2 * (to - from) / detail.clientWidth, s = lane.spans[first(lane.spans, t - slack)];
    if (s && s[3] <= t + slack) hover = {lane: l, span: s};
  });
  if (hover) {
    const s = hover.span, [title, more] = D.labels[s[1]];
    text = title + '\n' + (more ? more + '\n' : '') + D.kinds[s[0]][0] + ', step ' + s[2] + ', takes ' + time(s[4]) +
        ', from ' + time(s[3]) + ' on';
    if (s[5] > 0) text += '\nits lane stood still for ' + time(s[5]) +
        (s[6] >= 0 ? ', waiting for: ' + D.labels[D.lanes[s[6]].spans[s[7]][1]][0] : '');
  } else if (y > memoryTop() && y < memoryTop() + MEM && t >= from && D.memory.points.length) {
    const p = D.memory.points[memoryAt(t)];
    text = 'device memory in use at ' + time(t) + ': ' + size(sum(p)) + '\n' +
        D.memory.kinds.map(([name], k) => name + ' ' + size(p[k + 1])).reverse().join('\n');
  }
  tip.textContent = text;
  tip.style.display = text ? 'block' : 'none';
  tip.style.left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = Math.min(e.clientY + 16, innerHeight - tip.offsetHeight - 8) + 'px';
  draw();
});
function center(e) { const t = timeAt(e, overview, 0, D.total), half = (to - from) / 2; show(t - half, t + half); }
overview.addEventListener('pointerdown', e => { overview.setPointerCapture(e.pointerId); drag = {}; center(e); });
overview.addEventListener('pointermove', e => { if (drag) center(e); });
overview.addEventListener('pointerup', () => { drag = null; });
const edge = () => { const t = D.steps.length > 1 ? D.steps[1][1] : D.total / 2; show(t - D.edge / 2, t + D.edge / 2); };
$('whole').onclick = () => show(0, D.total);
$('step').onclick = () => show(0, D.steps.length > 1 ? D.steps[1][1] : D.total);
$('edge').onclick = edge;
$('find').oninput = e => { found = e.target.value.toLowerCase(); draw(); };
addEventListener('keydown', e => {
  if (e.target.id === 'find') return;
  const mid = (from + to) / 2, part = (to - from) / 8;
  if (e.key === '+') zoom(.8, mid); else if (e.key === '-') zoom(1.25, mid);
  else if (e.key === 'ArrowLeft') show(from - part, to - part); else if (e.key === 'ArrowRight') show(from + part, to + part);
});
addEventListener('resize', draw);
if (D.edge < D.total / 2) edge(); else draw();
</script></body></html>
)page";

}  // namespace zo2::internal

#endif  // ZO2_PLANNER_TIMELINE_PAGE_H_
