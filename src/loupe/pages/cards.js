// The recorded trajectories as cards, and the pieces that the gallery, the film strips and the dialog show of them.
const RIGHT = 0.5;  // an answer with at least this score counts as right
const VALIDATION = "validation";  // the place of a question that is asked at every validation
const GROUPS = DATA.gallery?.groups ?? [];

for (const group of GROUPS) {
  const rewards = group.cards.map((card) => card.reward);
  group.spread = Math.max(...rewards) - Math.min(...rewards);
  group.best = Math.max(...group.cards.map((card) => card.advantage ?? card.reward));
  for (const card of group.cards) {
    card.group = group;
    card.hash = `#${card.place}/${encodeURIComponent(group.id).replaceAll("%2F", "/")}/${card.sample}`;
    card.right = card.score >= RIGHT;
  }
}
const byHash = new Map(GROUPS.flatMap((group) => group.cards).map((card) => [card.hash, card]));
const source = (name) => DATA.pictures[name] ?? `${DATA.folder}/${name}`;

function picture(group, cards) {
  if (!group.picture) return el("p", {class: "picture none"}, "No picture was kept (report.megabytes)");
  const [width, height] = group.size, ring = 0.02 * Math.max(width, height);
  const box = ([x, y, right, bottom], type) => svg("rect", {x, y, width: right - x, height: bottom - y, class: type});
  const twice = (make, kind) => {
    const mark = make("mark");
    mark.style.stroke = `var(--${kind})`;
    return [make("halo"), mark];
  };
  const marks = cards.map((card) => svg("g", {class: "marks", "data-card": card.hash},
    ...[...card.boxes, ...(card.answered_box ? [card.answered_box] : [])].flatMap((at) => twice((type) => box(at, type), card.type)),
    ...card.keypoints.flatMap(([cx, cy]) => twice((type) => svg("circle", {cx, cy, r: ring, class: type}), card.type))));
  return el("figure", {class: "picture"},
    el("img", {src: source(group.picture), alt: `Picture of the question: ${group.question}`, loading: "lazy",
      decoding: "async", width, height}),
    svg("svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": true},
      ...group.targets.map((target) => box(target, "target")), ...marks));
}

const crop = (name) => el("img", {src: source(name), alt: "What the call showed", loading: "lazy", decoding: "async"});

// The text of a turn, with its tags set apart and what stands between them marked by the tag.
function said(text) {
  let within = "";
  const pieces = text.split(/(<\/?\w{1,20}>)/).map((piece) => {
    const tag = piece.match(/^<(\/?)(\w{1,20})>$/);
    if (!tag) return el("span", within ? {class: `in-${within}`} : {}, piece);
    within = tag[1] ? "" : tag[2];
    return el("span", {class: "tag"}, piece);
  });
  return el("div", {class: "said", dir: "auto"}, ...pieces);
}

// A button that opens a card in full, with what is shown of it: how it is called, its type and calls, and its text.
function small(card, name, attributes, head, ...children) {
  const failed = failures(card).length ? `: ${failures(card).join(", ")}` : "";
  return el("button", {
    type: "button", style: `--kind: var(--${card.type})`, onclick: () => { location.hash = card.hash; },
    "aria-label": `${name}: ${DATA.types[card.type]}, ${card.right ? "right" : "wrong"}. Open`, ...attributes,
  },
  el("span", {class: "line"}, el("span", {class: "pill"}, name), head), ...children,
  el("span", {}, DATA.types[card.type], failed),
  card.shown.length ? el("span", {class: "crops"}, ...card.shown.map(crop)) : null,
  answer(card), verdict(card),
  el("div", {class: "clip"}, ...card.turns.map((turn) => said(turn.slice(0, 600)))));
}
const strip = (nodes) => el("div", {class: "strip", role: "list"},
  ...nodes.map((node) => el("div", {role: "listitem", style: "display: contents"}, node)));

const verdict = (card) => el("span", {class: card.right ? "right" : "wrong"}, card.right ? "✓ right" : "✗ wrong");
const value = (card) => (card.advantage ? `advantage ${signed(card.advantage)}` : `reward ${card.reward.toFixed(2)}`);
const answer = (card) => el("div", {class: "answer", dir: "auto"}, card.answer ?? "no answer");
const label = (card) => (card.place === card.group.place ? `${card.sample + 1}` : siblings(card) > 1 ? `${card.place} ${card.sample + 1}` : card.place);
const siblings = (card) => card.group.cards.filter((other) => other.place === card.place).length;

const failures = (card) => card.calls.filter((call) => call !== "ok").map((call) => call.replaceAll("_", " "));

function facts(group) {
  const place = group.place === VALIDATION ? VALIDATION : group.step === null ? "held-out" : `step ${group.step}`;
  const times = group.cards.filter((card) => card.right).length;
  const spread = group.place === VALIDATION ? `right at ${times} of ${group.cards.length} validations`
    : `rewards ${group.spread ? `differ by ${group.spread.toFixed(2)}` : "are equal"}`;
  return el("p", {class: "meta"},
    el("span", {}, group.references.length > 1 ? "references " : "reference ", el("b", {dir: "auto"}, group.references.slice(0, 10).join(" · ") || "a box")),
    el("span", {}, place), group.subset ? el("span", {}, group.subset) : null, el("span", {}, group.id),
    group.cards.length > 1 ? el("span", {}, spread) : null);
}

const options = (group) => (group.options ?? []).map((text, i) => el("div", {dir: "auto"}, `${String.fromCharCode(65 + i)}. ${text}`));
