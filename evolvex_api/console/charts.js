// Bars in SVG, answered and missed on top of each other, with the same numbers as a table.

import { el, svg, tableHead, tableRow } from "./dom.js";
import { number, t } from "./texts.js";

const HEIGHT = 190;
const MARGIN = { top: 10, right: 4, bottom: 24, left: 34 };
const MOST_LABELS = 70; // px that a label needs

/**
 * A figure of bars that follows its own width. `bars` are {label, answered, missed}; `heading` names the
 * figure, `axis` the column of labels.
 */
export function barFigure(heading, axis, bars) {
  const place = el("div", { class: "chart" });
  const draw = () => place.clientWidth && place.replaceChildren(chart(heading, bars, place.clientWidth));
  new ResizeObserver(draw).observe(place);
  return el(
    "figure",
    {},
    el("figcaption", {}, el("h2", {}, heading), legend()),
    place,
    el("details", {}, el("summary", {}, t("asTable")), table(heading, axis, bars)),
  );
}

function legend() {
  const entry = (name, text) => el("span", { class: `key ${name}` }, t(text));
  return el("span", { class: "legend" }, entry("answered", "answeredCalls"), entry("missed", "missed"));
}

function chart(heading, bars, width) {
  const most = niceMaximum(Math.max(1, ...bars.map((bar) => bar.answered + bar.missed)));
  const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const y = (value) => MARGIN.top + inner.height * (1 - value / most);
  const step = inner.width / bars.length;
  const every = Math.ceil(MOST_LABELS / 2 / step);
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": heading },
    [0, most / 2, most].map((value) => gridLine(y(value), width, value)),
    bars.map((bar, place) => column(bar, MARGIN.left + place * step, step, y, place % every === 0)),
  );
}

function gridLine(y, width, value) {
  return svg(
    "g",
    { class: "grid" },
    svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
    svg("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, number(value)),
  );
}

function column(bar, x, step, y, labelled) {
  const width = Math.max(1, Math.min(step * 0.7, 44));
  const left = x + (step - width) / 2;
  const rect = (name, low, high) =>
    svg("rect", {
      class: name,
      x: left,
      width,
      y: y(high),
      height: y(low) - y(high),
      rx: Math.min(2, width / 4),
    });
  const label = labelled
    ? svg("text", { x: x + step / 2, y: HEIGHT - 6, "text-anchor": "middle" }, bar.label)
    : null;
  return svg(
    "g",
    { class: "bar" },
    svg("title", {}, t("bar", bar)),
    svg("rect", {
      class: "area",
      x,
      width: step,
      y: MARGIN.top,
      height: HEIGHT - MARGIN.top - MARGIN.bottom,
    }),
    rect("answered", 0, bar.answered),
    rect("missed", bar.answered, bar.answered + bar.missed),
    label,
  );
}

/** 7 becomes 8, 23 becomes 24, 130 becomes 140: an even number whose half is on the scale too. */
function niceMaximum(most) {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(most)) - 1) * 2;
  return Math.ceil(most / unit) * unit;
}

function table(heading, axis, bars) {
  const shown = bars.filter((bar) => bar.answered + bar.missed > 0);
  const rows = shown.map((bar) => tableRow(bar.label, [number(bar.answered), number(bar.missed)]));
  const head = tableHead([axis, t("answeredCalls"), t("missed")]);
  return el("table", {}, el("caption", { class: "unseen" }, heading), head, el("tbody", {}, rows));
}
