// The gallery: groups of cards, filtered and a few to a page; and one card in full, which the address names.
const GROUPS_PER_PAGE = 10;
const RIGHT = 0.5;  // an answer with at least this score counts as right

if (DATA.gallery) {
  const groups = DATA.gallery.groups;
  for (const group of groups) {
    const rewards = group.cards.map((card) => card.reward);
    group.spread = Math.max(...rewards) - Math.min(...rewards);
    group.best = Math.max(...group.cards.map((card) => card.advantage ?? card.reward));
    for (const card of group.cards) {
      card.group = group;
      card.hash = `#${card.place}/${encodeURIComponent(group.id).replaceAll("%2F", "/")}/${card.sample}`;
      card.right = card.score >= RIGHT;
    }
  }
  const byHash = new Map(groups.flatMap((group) => group.cards).map((card) => [card.hash, card]));
  const source = (name) => DATA.pictures[name] ?? `${DATA.folder}/${name}`;

  // -- pieces of a card

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

  const verdict = (card) => el("span", {class: card.right ? "right" : "wrong"}, card.right ? "✓ right" : "✗ wrong");
  const value = (card) => (card.advantage ? `advantage ${signed(card.advantage)}` : `reward ${card.reward.toFixed(2)}`);
  const answer = (card) => el("div", {class: "answer", dir: "auto"}, card.answer ?? "no answer");
  const label = (card) => (card.place === card.group.place ? `${card.sample + 1}` : siblings(card) > 1 ? `${card.place} ${card.sample + 1}` : card.place);
  const siblings = (card) => card.group.cards.filter((other) => other.place === card.place).length;

  function small(card, matches) {
    const light = (on) => () => {
      const figure = node.closest(".group").querySelector(".picture");
      figure.classList.toggle("dimmed", on);
      figure.querySelectorAll(".marks").forEach((mark) => mark.classList.toggle("lit", on && mark.dataset.card === card.hash));
    };
    const node = el("button", {
      type: "button", class: `card${matches ? "" : " faded"}`, style: `--kind: var(--${card.type})`,
      "aria-label": `${label(card)}: ${DATA.types[card.type]}, ${card.right ? "right" : "wrong"}. Open`,
      onclick: () => { location.hash = card.hash; },
      onpointerenter: light(true), onpointerleave: light(false), onfocus: light(true), onblur: light(false),
    },
    el("span", {class: "line"}, el("span", {class: "pill"}, label(card)), el("span", {class: "number"}, value(card))),
    el("span", {}, DATA.types[card.type], card.calls.some((call) => call !== "ok") ? `: ${failures(card).join(", ")}` : ""),
    card.shown.length ? el("span", {class: "crops"}, ...card.shown.map(crop)) : null,
    answer(card), verdict(card),
    el("div", {class: "clip"}, ...card.turns.map((turn) => said(turn.slice(0, 600)))));
    return node;
  }

  const failures = (card) => card.calls.filter((call) => call !== "ok").map((call) => call.replaceAll("_", " "));

  function facts(group) {
    const place = group.step === null ? "held-out" : `step ${group.step}`;
    return el("p", {class: "meta"},
      el("span", {}, group.references.length > 1 ? "references " : "reference ", el("b", {dir: "auto"}, group.references.slice(0, 10).join(" · ") || "a box")),
      el("span", {}, place), group.subset ? el("span", {}, group.subset) : null, el("span", {}, group.id),
      group.cards.length > 1 ? el("span", {}, `rewards ${group.spread ? `differ by ${group.spread.toFixed(2)}` : "are equal"}`) : null);
  }

  function groupNode(group, matching) {
    return el("article", {class: "group"},
      el("header", {}, el("h3", {dir: "auto"}, group.question), ...options(group), facts(group)),
      picture(group, group.cards),
      el("div", {class: "strip", role: "list"}, ...group.cards.map((card) => el("div", {role: "listitem", style: "display: contents"}, small(card, matching.has(card))))));
  }
  const options = (group) => (group.options ?? []).map((text, i) => el("div", {dir: "auto"}, `${String.fromCharCode(65 + i)}. ${text}`));

  // -- filters

  const distinct = (values) => [...new Set(values.filter((one) => one !== null && one !== undefined))];
  const everyCard = groups.flatMap((group) => group.cards);
  const calls = distinct(everyCard.flatMap((card) => failures(card)));
  const FILTERS = {
    Recorded: {values: distinct(everyCard.map((card) => card.place)), test: (card, chosen) => card.place === chosen},
    Subset: {values: distinct(groups.map((group) => group.subset)), test: (card, chosen) => card.group.subset === chosen},
    Type: {values: Object.keys(DATA.types), names: DATA.types, test: (card, chosen) => card.type === chosen},
    Answer: {values: ["right", "wrong"], test: (card, chosen) => card.right === (chosen === "right")},
    Calls: {values: ["hit", "missed", ...calls], test: (card, chosen) =>
      chosen === "hit" ? card.hits?.includes(true) : chosen === "missed" ? card.hits?.includes(false) : failures(card).includes(chosen)},
  };
  const ORDERS = {
    "as recorded": null,
    "rewards differ most": (a, b) => b.spread - a.spread,
    "highest advantage": (a, b) => b.best - a.best,
  };
  const chosen = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, ""]));
  let text = "", order = "as recorded", page = 0, found = [];

  const select = (name, choices, onchange) =>
    el("label", {}, name, el("select", {name, onchange}, ...choices.map(([key, shown]) => el("option", {value: key}, shown))));
  document.getElementById("filters").append(
    ...Object.entries(FILTERS).filter(([, filter]) => filter.values.length > 1).map(([name, filter]) =>
      select(name, [["", "any"], ...filter.values.map((one) => [one, filter.names?.[one] ?? one])], (event) => {
        chosen[name] = event.target.value;
        search();
      })),
    el("label", {}, "Text", el("input", {type: "search", name: "Text", oninput: (event) => { text = event.target.value.toLowerCase(); search(); }})),
    select("Order", Object.keys(ORDERS).map((name) => [name, name]), (event) => { order = event.target.value; search(); }));
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());

  const textOf = (card) => (card.text ??= [card.group.question, card.group.id, card.answer, ...card.group.references, ...card.turns].join("\n").toLowerCase());
  const matches = (card) => Object.entries(chosen).every(([name, one]) => !one || FILTERS[name].test(card, one)) && (!text || textOf(card).includes(text));

  function search() {
    found = groups.map((group) => [group, new Set(group.cards.filter(matches))]).filter(([, cards]) => cards.size);
    if (ORDERS[order]) found.sort(([a], [b]) => ORDERS[order](a, b));
    page = 0;
    show();
  }

  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  function show() {
    const first = page * GROUPS_PER_PAGE, last = Math.min(found.length, first + GROUPS_PER_PAGE);
    const cards = found.reduce((sum, [, some]) => sum + some.size, 0);
    document.getElementById("count").textContent = found.length
      ? `${count(cards, "answer")} in ${count(found.length, "group")}${cards < everyCard.length ? "; other answers of a group are faded" : ""}`
      : "No answer matches these filters.";
    document.getElementById("groups").replaceChildren(...found.slice(first, last).map(([group, some]) => groupNode(group, some)));
    const turn = (by) => () => { page += by; show(); document.getElementById("trajectories").scrollIntoView(); };
    document.getElementById("pages").replaceChildren(...(found.length > GROUPS_PER_PAGE ? [
      el("button", {type: "button", disabled: page === 0, onclick: turn(-1)}, "← Previous"),
      el("span", {class: "number"}, `${first + 1} to ${last} of ${found.length}`),
      el("button", {type: "button", disabled: last === found.length, onclick: turn(1)}, "Next →")] : []));
  }

  // -- one card in full

  const dialog = document.getElementById("detail");

  function terms(card) {
    const weight = (name) => (typeof DATA.weights[name] === "number" ? DATA.weights[name] : name in DATA.weights ? "schedule" : "–");
    const row = (...cells) => el("tr", {}, el("th", {scope: "row"}, cells[0]), ...cells.slice(1).map((cell) => el("td", {}, cell)));
    return el("table", {}, el("thead", {}, el("tr", {}, ...["reward term", "value", "weight"].map((name) => el("th", {scope: "col"}, name)))),
      el("tbody", {}, ...Object.entries(card.terms).map(([name, one]) => row(name, one.toFixed(2), String(weight(name)))),
        row("reward", card.reward.toFixed(2), ""),
        card.advantage ? row("advantage", signed(card.advantage), "") : null, row("score", card.score.toFixed(2), "")));
  }

  // Policy and environment in turn: after each turn, what the call in it showed or said.
  function dialogue(card) {
    const executed = card.calls.filter((call) => call === "ok").length;
    let next = 0;
    return card.turns.flatMap((turn, i) => {
      const parts = [el("div", {class: "turn"}, el("h4", {}, `policy, turn ${i + 1}`), said(turn))];
      if (i >= card.calls.length) return parts;
      const ok = card.calls[i] === "ok", told = card.told[i] ?? "";
      const name = ok && (executed === card.shown.length || !told) ? card.shown[next++] : undefined;
      const title = ok ? "result, as shown" : `failed call: ${card.calls[i].replaceAll("_", " ")}`;
      if (ok || told) parts.push(el("div", {class: "turn observed"}, el("h4", {}, title), name ? crop(name) : null, told ? said(told) : null));
      else parts.push(el("p", {class: "note"}, title));
      return parts;
    });
  }

  function full(card) {
    const all = found.flatMap(([group]) => group.cards), at = all.indexOf(card);
    const go = (by) => { const next = all[(at < 0 ? 0 : at) + by]; if (next) location.replace(next.hash); };
    const button = (name, shown, onclick, disabled = false) => el("button", {type: "button", "aria-label": name, onclick, disabled}, shown);
    dialog.onkeydown = (event) => {
      if (event.key === "ArrowLeft") go(-1);
      if (event.key === "ArrowRight") go(1);
    };
    dialog.style.setProperty("--kind", `var(--${card.type})`);
    dialog.replaceChildren(
      el("div", {class: "detail-head"}, el("div", {}, el("h3", {dir: "auto"}, card.group.question), ...options(card.group), facts(card.group)),
        el("div", {class: "buttons"}, button("Previous", "←", () => go(-1), at <= 0), button("Next", "→", () => go(1), at === all.length - 1),
          button("Close", "✕", () => dialog.close()))),
      el("div", {class: "detail"},
        el("div", {}, picture(card.group, [card]),
          el("p", {class: "meta"}, el("span", {class: "pill"}, DATA.types[card.type]), el("span", {}, `${card.place}, sample ${card.sample + 1}`),
            el("span", {}, `stopped: ${card.stop.replaceAll("_", " ")}`), el("span", {}, ...(card.hits ?? []).map((hit) => (hit ? "hit" : "missed")))),
          answer(card), verdict(card), el("div", {class: "scroll"}, terms(card))),
        el("div", {}, ...dialogue(card))));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  dialog.addEventListener("close", () => history.replaceState(null, "", "#trajectories"));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  function follow() {
    const card = byHash.get(location.hash);
    if (card) full(card);
    else if (dialog.open) dialog.close();
  }
  addEventListener("hashchange", follow);
  search();
  follow();
}
