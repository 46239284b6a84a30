// The gallery: groups of cards, filtered and a few to a page.
const GROUPS_PER_PAGE = 10;

if (DATA.gallery) {
  const groups = GROUPS.filter((group) => group.place !== VALIDATION);

  function member(card, matches) {
    const light = (on) => (event) => {
      const figure = event.target.closest(".group").querySelector(".picture");
      figure.classList.toggle("dimmed", on);
      figure.querySelectorAll(".marks").forEach((mark) => mark.classList.toggle("lit", on && mark.dataset.card === card.hash));
    };
    const attributes = {
      class: `card${matches ? "" : " faded"}`,
      onpointerenter: light(true), onpointerleave: light(false), onfocus: light(true), onblur: light(false),
    };
    return small(card, label(card), attributes, el("span", {class: "number"}, value(card)));
  }

  function groupNode(group, matching) {
    return el("article", {class: "group"},
      el("header", {}, el("h3", {dir: "auto"}, group.question), ...options(group), facts(group)),
      picture(group, group.cards), strip(group.cards.map((card) => member(card, matching.has(card)))));
  }

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

  // -- what the address names

  function follow() {
    const card = byHash.get(location.hash);
    const all = card?.group.place === VALIDATION ? FILMS : found.map(([group]) => group);
    if (card) full(card, all.flatMap((group) => group.cards));
    else if (dialog.open) dialog.close();
  }
  addEventListener("hashchange", follow);
  search();
  follow();
}
