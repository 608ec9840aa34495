// Elements made in code. Text always becomes a text node: what a caller's name holds is never HTML.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

const ICONS = {
  in: "M17 7 7 17M7 9v8h8",
  out: "M7 17 17 7M9 7h8v8",
  internal: "M4 9h15l-4-4M20 15H5l4 4",
  call: "M6.6 3.5 9.4 4l1.2 4.2-2 1.7a12 12 0 0 0 5.5 5.5l1.7-2 4.2 1.2.5 2.8c-.2 1.6-1.4 2.8-3 3C10.600 19.900 4.100 13.400 3.600 6.500c.2-1.600 1.400-2.800 3-3z",
  play: "M8 5v14l11-7z",
  pause: "M8 5v14M16 5v14",
  close: "M6 6l12 12M18 6 6 18",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  refresh: "M19 12a7 7 0 1 1-2.200-5.100L19 9M19 4v5h-5",
  open: "M9 6l6 6-6 6",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
};

/** An element with attributes (`onclick` and the like are listeners) and children, texts or nodes. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A picture of 24 × 24, hidden from screen readers: what bears it has a name of its own. */
export function icon(name) {
  const shape = svg("path", { d: ICONS[name] });
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, shape);
}

/** Text for screen readers alone. */
export function unseen(text) {
  return el("span", { class: "unseen" }, text);
}

/** A button that shows an icon alone. */
export function iconButton(name, label, onclick, attributes = {}) {
  return el(
    "button",
    { type: "button", class: "quiet", "aria-label": label, title: label, onclick, ...attributes },
    icon(name),
  );
}

/** A label above a field. */
export function field(label, control, attributes = {}) {
  return el("label", { class: "field", ...attributes }, el("span", {}, label), control);
}

/** A select of [value, text] pairs. */
export function select(name, options, onchange) {
  return el(
    "select",
    { name, onchange },
    options.map(([value, text]) => el("option", { value }, text)),
  );
}

/** The head of a table: the names of its columns. */
export function tableHead(names) {
  const cells = names.map((name) => el("th", { scope: "col" }, name));
  return el("thead", {}, el("tr", {}, cells));
}

/** A row of numbers with a name before them. */
export function tableRow(name, texts) {
  const cells = texts.map((text) => el("td", {}, text));
  return el("tr", {}, el("th", { scope: "row" }, name), cells);
}

/** What is shown in place of a list: an icon, a heading, what to do. */
export function notice(name, heading, text = "", ...actions) {
  return el(
    "div",
    { class: "notice" },
    icon(name),
    el("h2", {}, heading),
    text ? el("p", {}, text) : null,
    actions,
  );
}

/** Run `task` once, `delay` ms after the last call. */
export function debounced(task, delay) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => task(...given), delay);
  };
}
