// What charts.js and gallery.js share. Text from data only ever becomes a text node or an attribute, never markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function build(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") node.style.cssText = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
const el = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => build(document.createElementNS(SVG, name), attributes, children);

const percent = (value) => `${Math.round(100 * value)}%`;
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const decimal = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)).replace("-", "−");

// The table of a sweep: a click on a heading sorts by it, numbers by size, and a second click the other way around.
function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const down = heading.ariaSort === "ascending";
    headings.forEach((other) => { other.ariaSort = "none"; });
    heading.ariaSort = down ? "descending" : "ascending";
    const text = (row) => row.cells[column].textContent;
    const order = new Intl.Collator("en", {numeric: true}).compare;
    const compare = (a, b) => (parseFloat(text(a)) - parseFloat(text(b))) || order(text(a), text(b));
    body.append(...[...body.rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
  }));
}
const jobTable = document.getElementById("job-table");
if (jobTable) sortable(jobTable);
