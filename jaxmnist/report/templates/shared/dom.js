// Elements of the page. Text reaches it as text only, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined && value !== null) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
}

export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

export function dataOfPage() {
  return JSON.parse(byId("data").textContent);
}

// A table whose first row and first cells are headings.
export function table(caption, heads, rows) {
  return el(
    "table",
    {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el(
      "tbody",
      {},
      rows.map(([first, ...rest]) =>
        el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell) => el("td", {}, cell))),
      ),
    ),
  );
}

// What is wider than a phone scrolls in a region of its own, by keyboard too.
export function scrolling(label, content) {
  return el("div", { class: "scrolling", role: "region", "aria-label": label, tabindex: 0 }, content);
}

export function folded(summary, content) {
  return el("details", {}, el("summary", {}, summary), content);
}

// Says a text to screen readers once it has not changed for a moment.
export function announcer(node, wait = 400) {
  let timer = 0;
  return (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (node.textContent !== text) node.textContent = text;
    }, wait);
  };
}
