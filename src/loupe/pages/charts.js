// Line charts as inline SVG. The legend gives the values at the step that is read: the last one, or that under the pointer.
const SIZE = {width: 360, height: 190, left: 38, right: 8, top: 10, bottom: 24};
const MEMORY = 0.9;  // share of its past that a smoothed line keeps at each point

// Exponential moving average without the bias toward a starting value; null where there is no value.
function smooth(values) {
  let sum = 0, weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = MEMORY * sum + value;
    weight = MEMORY * weight + 1;
    return sum / weight;
  });
}

function ticks(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

function scales(steps, values, isShare) {
  const first = Math.min(...steps), last = Math.max(...steps);
  let low = isShare ? 0 : Math.min(...values), high = isShare ? 1 : Math.max(...values);
  const middle = (low + high) / 2, unit = Math.max(1, Math.abs(middle));
  if (high - low < 1e-6 * unit) [low, high] = [middle - unit / 2, middle + unit / 2];  // equal, but for rounding
  const pad = isShare ? 0.03 : 0.06 * (high - low);
  low -= pad; high += pad;
  const {width, height, left, right, top, bottom} = SIZE;
  return {
    first, last, low, high,
    x: (step) => left + (first === last ? 0.5 : (step - first) / (last - first)) * (width - left - right),
    y: (value) => top + (high - value) / (high - low) * (height - top - bottom),
  };
}

function axes(scale, isShare) {
  const {width, height, left, right, bottom} = SIZE, parts = [];
  for (const value of ticks(isShare ? 0 : scale.low, isShare ? 1 : scale.high)) {
    const y = scale.y(value);
    parts.push(svg("line", {x1: left, x2: width - right, y1: y, y2: y, class: value === 0 && !isShare ? "zero" : "axis"}));
    const label = isShare ? percent(value) : String(+value.toPrecision(3)).replace("-", "−");
    parts.push(svg("text", {x: left - 6, y: y + 4, "text-anchor": "end"}, label));
  }
  const whole = ticks(scale.first, Math.max(scale.last, scale.first + 1)).filter((step) => step % 1 === 0);
  for (const step of whole.filter((step) => step <= scale.last)) {
    parts.push(svg("text", {x: scale.x(step), y: height - bottom + 16, "text-anchor": "middle"}, String(step)));
  }
  return parts;
}

function path(scale, steps, values) {
  let d = "", pen = "M";
  values.forEach((value, i) => {
    if (value === null) return;
    d += `${pen}${scale.x(steps[i]).toFixed(1)} ${scale.y(value).toFixed(1)}`;
    pen = "L";
  });
  return d;
}

function band(scale, steps, low, high) {
  const there = steps.map((_, i) => i).filter((i) => low[i] !== null);
  const take = (list) => there.map((i) => list[i]);
  const back = path(scale, take(steps).reverse(), take(high).reverse());
  return there.length > 1 ? path(scale, take(steps), take(low)) + back.replace("M", "L") + "Z" : "";
}

// lines: [{name, style, steps, values, smoothed, bands: [[low, high, opacity]], text: index -> value in the legend}]
function chart(title, lines, isShare, onStep = () => {}) {
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const extremes = lines.flatMap((line) => [
    ...line.values, ...(line.smoothed ?? []), ...(line.bands ?? []).flatMap(([low, high]) => [...low, ...high])]);
  const scale = scales(steps, extremes.filter((value) => value !== null), isShare);
  const cursor = svg("line", {class: "cursor", y1: SIZE.top, y2: SIZE.height - SIZE.bottom, visibility: "hidden"});
  const drawn = lines.flatMap((line) => [
    ...(line.bands ?? []).map(([low, high, opacity]) =>
      svg("path", {d: band(scale, line.steps, low, high), style: `fill: ${line.color}; fill-opacity: ${opacity}`})),
    ...(line.smoothed || line.steps.length < 40 ? line.values : []).map((value, i) => value === null ? null : svg("circle", {
      cx: scale.x(line.steps[i]), cy: scale.y(value), r: line.smoothed ? 1.5 : 2.5,
      style: `fill: ${line.color}; opacity: ${line.smoothed ? 0.3 : 1}`})).filter(Boolean),
    svg("path", {d: path(scale, line.steps, line.smoothed ?? line.values), fill: "none", "stroke-width": 2,
      "stroke-linejoin": "round", "stroke-dasharray": line.dashes ?? null, style: `stroke: ${line.color}`}),
  ]);
  const names = [...new Set(lines.map((line) => line.name))];  // several runs may have a line of one name
  const entries = names.map((name) => [lines.filter((line) => line.name === name), el("span")]);
  const at = el("span", {class: "at"});
  let now = steps.length - 1;
  const read = (index, visible = true) => {
    now = Math.max(0, Math.min(steps.length - 1, index));
    const x = scale.x(steps[now]);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", visible ? "visible" : "hidden");
    at.textContent = `step ${steps[now]}`;
    for (const [same, shown] of entries) {
      shown.textContent = same.map((line) => line.text(line.steps.indexOf(steps[now]))).join(" · ");
    }
    onStep(steps[now]);
  };
  const image = svg("svg", {
    viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, tabindex: 0, role: "img",
    "aria-label": `${title}, over training steps ${steps[0]} to ${steps.at(-1)}`,
    onpointermove: (event) => {
      const box = image.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * SIZE.width;
      const far = (i) => Math.abs(scale.x(steps[i]) - x);
      read(steps.reduce((best, _, i) => (far(i) < far(best) ? i : best), 0));
    },
    onpointerleave: () => read(steps.length - 1, false),
    onkeydown: (event) => {
      const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (by) { event.preventDefault(); event.stopPropagation(); read(now + by); }
    },
  }, ...axes(scale, isShare), ...drawn, cursor);
  const legend = entries.map(([[line], shown]) => el("li", {}, svg("svg", {viewBox: "0 0 18 8", "aria-hidden": true},
    svg("line", {x1: 0, x2: 18, y1: 4, y2: 4, "stroke-width": 3, "stroke-dasharray": line.dashes ?? null,
      style: `stroke: ${line.color}`})), el("span", {dir: "auto"}, line.name), shown));
  read(now, false);
  const figcaption = el("figcaption", {}, el("span", {}, title), at);
  return el("figure", {class: "chart"}, figcaption, image, el("ul", {class: "legend", "aria-live": "polite"}, ...legend));
}

function curveChart(panel) {
  const names = [...new Set(panel.curves.map((curve) => curve.name))];
  const lines = panel.curves.map((curve) => [curve, names.indexOf(curve.name)]).map(([curve, i]) => ({
    ...curve, color: `var(--part-${i % 5})`, dashes: i >= 5 ? "5 3" : null,
    smoothed: panel.smooth ? smooth(curve.values) : null,
    text: (at) => (at < 0 ? "–" : panel.percent ? percent(curve.values[at]) : decimal(curve.values[at])),
  }));
  return chart(panel.title, lines, panel.percent);
}

// The bars of one step: for each type, the counts of its advantages, as shares of the largest count.
function histogram(part, at) {
  const {width, left, right} = SIZE, kinds = Object.keys(part), height = 46;
  const most = Math.max(1, ...kinds.flatMap((kind) => part[kind].counts[at] ?? []));
  const bins = DATA.advantages.edges.length - 1, bin = (width - left - right) / bins, bar = bin / (kinds.length + 0.5);
  return svg("svg", {viewBox: `0 0 ${width} ${height + 14}`, role: "img", "aria-label": "advantages at this step"},
    ...kinds.flatMap((kind, k) => (part[kind].counts[at] ?? []).map((count, i) => svg("rect", {
      x: left + i * bin + k * bar, width: bar, y: height - height * count / most, height: height * count / most,
      style: `fill: var(--${kind})`}))),
    svg("line", {class: "axis", x1: left, x2: width - right, y1: height, y2: height}),
    ...[0, bins / 2, bins].map((i) => svg("text", {x: left + i * bin, y: height + 12, "text-anchor": "middle"},
      String(DATA.advantages.edges[i]).replace("-", "−"))));
}

function advantageChart(part) {
  const found = DATA.advantages, bars = el("div");
  const lines = Object.keys(DATA.types).map((kind) => {
    const values = found.parts[part][kind];
    const pair = (low, high, opacity) => [smooth(values[low]), smooth(values[high]), opacity];
    return {
      name: DATA.types[kind], color: `var(--${kind})`, steps: found.steps, values: values.mean,
      smoothed: smooth(values.mean), bands: [pair("q05", "q95", 0.07), pair("q25", "q75", 0.13)],
      text: (at) => `${values.mean[at] === null ? "–" : signed(values.mean[at])}, ${percent(values.share[at])}`,
    };
  });
  const draw = (step) => bars.replaceChildren(histogram(found.parts[part], found.steps.indexOf(step)));
  const figure = chart(part === "all" ? "all questions" : `${part} only`, lines, false, draw);
  figure.append(bars);
  return figure;
}

if (DATA.charts) document.getElementById("charts").append(...DATA.charts.map(curveChart));
for (const [i, setting] of (DATA.multiples ?? []).entries()) {
  document.getElementById(`multiple-${i}`).append(...setting.charts.map(curveChart));
}
if (DATA.advantages) {
  document.getElementById("advantages").append(...Object.keys(DATA.advantages.parts).map(advantageChart));
}
