// Two dates and buttons for the usual periods.

import { el, field } from "./dom.js";
import { t } from "./texts.js";

const DAY = 86_400_000;

/** The browser's date as YYYY-MM-DD, `offset` days from today. */
export function dateFromToday(offset) {
  const now = new Date();
  return new Date(Date.UTC(now.getFullYear(), now.getMonth(), now.getDate()) + offset * DAY)
    .toISOString()
    .slice(0, 10);
}

/** Days from `from` to `to`, both counted. */
export function days({ from, to }) {
  return Math.round((Date.parse(to) - Date.parse(from)) / DAY) + 1;
}

/** The period of a fragment's values: {from, to}, the last 7 days where it says none. */
export function periodOf(values) {
  const valid = (date) =>
    /^\d{4}-\d\d-\d\d$/.test(date ?? "") && !Number.isNaN(Date.parse(date)) ? date : null;
  return { from: valid(values.from) ?? dateFromToday(-6), to: valid(values.to) ?? dateFromToday(0) };
}

/** The fields; `onchange({from, to})` is called when a date has been chosen. */
export class Period {
  constructor(onchange) {
    const changed = () =>
      this.#from.value && this.#to.value && onchange({ from: this.#from.value, to: this.#to.value });
    this.#from = el("input", { type: "date", name: "from", onchange: changed });
    this.#to = el("input", { type: "date", name: "to", onchange: changed });
    const usual = [
      ["today", 0, 0],
      ["yesterday", -1, -1],
      ["week", -6, 0],
      ["month", -29, 0],
    ];
    this.#buttons = usual.map(([name, first, last]) => {
      const choose = () => onchange({ from: dateFromToday(first), to: dateFromToday(last) });
      return {
        first,
        last,
        button: el("button", { type: "button", class: "chip", onclick: choose }, t(name)),
      };
    });
    const chips = el(
      "div",
      { class: "chips", role: "group", "aria-label": t("period") },
      this.#buttons.map(({ button }) => button),
    );
    this.nodes = [chips, field(t("from"), this.#from), field(t("to"), this.#to)];
  }

  #from;
  #to;
  #buttons;

  show({ from, to }) {
    this.#from.value = from;
    this.#to.value = to;
    for (const { first, last, button } of this.#buttons) {
      button.setAttribute(
        "aria-pressed",
        String(from === dateFromToday(first) && to === dateFromToday(last)),
      );
    }
  }
}
