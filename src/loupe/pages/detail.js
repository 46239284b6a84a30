// The dialog with one card in full: picture, reward terms and the whole dialogue of policy and environment.
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

// all: the cards that the arrow keys lead through.
function full(card, all) {
  const at = all.indexOf(card);
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
          el("span", {}, `stopped: ${card.stop.replaceAll("_", " ")}`),
          ...(card.forced ? [el("span", {}, `<${card.forced}> was forced`)] : []),
          el("span", {}, ...(card.hits ?? []).map((hit) => (hit ? "hit" : "missed")))),
        answer(card), verdict(card), el("div", {class: "scroll"}, terms(card))),
      el("div", {}, ...dialogue(card))));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

dialog?.addEventListener("close", () => history.replaceState(null, "", "#trajectories"));
dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
