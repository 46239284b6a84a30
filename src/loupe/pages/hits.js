// The hit map: where calls pointed, around what the question is about and on the picture. A disc is a hit, a cross a
// miss, a ring a call of which neither is known.
const MAP = {side: 300, edge: 1, margin: 6};  // edge: the largest distance drawn
const OUTCOMES = {hit: "hit", missed: "missed", unknown: "no target known"};

const middle = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2];
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

// The executed calls of an answer: the point in pixels, its distance from the next target in sizes of what was shown.
function callsOf(card) {
  const {size, targets} = card.group, named = card.keypoints.length === card.boxes.length;
  return card.boxes.map((box, i) => {
    const [x, y] = named ? card.keypoints[i] : middle(box), hit = card.hits?.[i];
    const offsets = targets.map(middle).map(([tx, ty]) => [(x - tx) / (box[2] - box[0]), (y - ty) / (box[3] - box[1])]);
    const [offset] = offsets.sort((a, b) => Math.hypot(...a) - Math.hypot(...b));
    return {place: card.place, at: size && [x / size[0], y / size[1]], aspect: size && size[1] / size[0], offset,
      outcome: hit === undefined ? "unknown" : hit ? "hit" : "missed"};
  });
}

const SHAPES = {
  hit: ([x, y]) => `M${x - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`,
  missed: ([x, y]) => `M${x - 3.5} ${y - 3.5}l7 7m0 -7l-7 7`,
  unknown: ([x, y]) => `M${x - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`,
};

// A chart of calls. position: call -> [x, y] from 0 to 1. behind: what is drawn below the marks.
function hitChart(title, note, calls, position, height, told, ...behind) {
  const {side, margin} = MAP;
  const place = (call) => position(call).map((share, i) => +(margin + share * (i ? height : side)).toFixed(1));
  const marks = Object.keys(SHAPES).map((outcome) => svg("path", {class: `call ${outcome}`,
    d: calls.filter((call) => call.outcome === outcome).map((call) => SHAPES[outcome](place(call))).join("")}));
  return el("figure", {class: "chart"}, el("figcaption", {}, title),
    svg("svg", {viewBox: `0 0 ${side + 2 * margin} ${height + 2 * margin}`, role: "img", "aria-label": `${title}: ${told}`},
      svg("rect", {class: "field", x: margin, y: margin, width: side, height}), ...behind, ...marks),
    el("p", {class: "note"}, note));
}

function aroundTarget(calls, told) {
  const {side, edge, margin} = MAP, inside = (share) => Math.min(1, Math.max(0, share)), unit = side / (2 * edge);
  const position = ({offset}) => offset.map((value) => inside(0.5 + value / (2 * edge)));
  const center = margin + side / 2;
  const note = "The middle is that of the target. Calls within the dashed square show it, unless the picture ends before.";
  return hitChart("Around the target", note, calls, position, side, told,
    svg("rect", {class: "reach", x: center - unit / 2, y: center - unit / 2, width: unit, height: unit}),
    svg("path", {class: "axis", d: `M${center} ${margin}v${side}M${margin} ${center}h${side}`}));
}

function onPicture(calls, told) {
  const height = MAP.side * Math.min(1.3, Math.max(0.4, median(calls.map((call) => call.aspect))));
  return hitChart("On the picture", "Pictures of all sizes are stretched to one.", calls, (call) => call.at, height, told);
}

// The same in words.
function inWords(all, placed, aimed) {
  const known = all.filter((call) => call.outcome !== "unknown"), hits = known.filter((call) => call.outcome === "hit").length;
  const far = aimed.map(({offset}) => Math.max(...offset.map(Math.abs))), beyond = far.filter((one) => one > MAP.edge).length;
  return [
    `${all.length} call${all.length === 1 ? "" : "s"}`,
    known.length ? `${hits} hit (${percent(hits / known.length)}), ${known.length - hits} missed` : "no targets known",
    aimed.length ? `half of them within ${median(far).toFixed(2)} crop sizes of the target's middle` : "",
    beyond ? `${beyond} farther than ${MAP.edge}, drawn at the edge` : "",
    all.length > placed.length ? `${all.length - placed.length} not drawn, because no picture of them was kept` : "",
  ].filter(Boolean).join("; ");
}

function hitMaps(all) {
  const placed = all.filter((call) => call.at), aimed = placed.filter((call) => call.offset), told = inWords(all, placed, aimed);
  const key = Object.entries(OUTCOMES).filter(([outcome]) => all.some((call) => call.outcome === outcome)).map(([outcome, name]) =>
    el("li", {}, svg("svg", {viewBox: "0 0 18 8", "aria-hidden": true}, svg("path", {class: `call ${outcome}`, d: SHAPES[outcome]([9, 4])})),
      el("span", {}, name)));
  return [
    el("p", {class: "note", role: "status"}, `${told}.`), el("ul", {class: "legend"}, ...key),
    el("div", {class: "charts"}, aimed.length ? aroundTarget(aimed, told) : null, placed.length ? onPicture(placed, told) : null),
  ];
}

if (document.getElementById("hit-maps")) {
  const calls = GROUPS.flatMap((group) => group.cards).flatMap(callsOf);
  const places = [...new Set(calls.map((call) => call.place))], maps = el("div");
  const draw = (place) => maps.replaceChildren(...hitMaps(calls.filter((call) => call.place === place)));
  const first = ["after", "greedy"].find((place) => places.includes(place)) ?? places[0];
  const choose = el("select", {onchange: () => draw(choose.value)},
    ...places.map((place) => el("option", {value: place, selected: place === first}, place)));
  document.getElementById("hit-maps").append(el("div", {class: "filters"}, el("label", {}, "Answers", choose)), maps);
  draw(first);
}
