// Film strips: for each question that is followed, its answers at one validation after the other.
const FILMS = GROUPS.filter((group) => group.place === VALIDATION);
const SHOWN_FILMS = 4;

function frame(card) {
  return small(card, `step ${card.step}`, {class: "card"}, null, picture(card.group, [card]));
}

function film(group) {
  return el("article", {class: "film"},
    el("header", {}, el("h3", {dir: "auto"}, group.question), ...options(group), facts(group)), strip(group.cards.map(frame)));
}

if (FILMS.length) {
  const place = document.getElementById("films");
  place.append(...FILMS.slice(0, SHOWN_FILMS).map(film));
  const hidden = FILMS.slice(SHOWN_FILMS);
  if (hidden.length) {
    const more = el("button", {type: "button", onclick: () => more.replaceWith(...hidden.map(film))}, `Show ${hidden.length} more`);
    place.append(more);
  }
}
