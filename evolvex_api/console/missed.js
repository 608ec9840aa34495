// Who was missed and not called back, found in the call log, newest first.

import { el, notice } from "./dom.js";
import { Fold } from "./fold.js";
import { failureNotice, loading } from "./states.js";
import { callCount, dayAndTime, spoken, t } from "./texts.js";

const PAGE = 1000;
// So many rows are read before the reader is asked whether to go on.
const ROWS_AT_ONCE = 5000;

export class MissedList {
  #api;
  #dialler;
  #request = new AbortController();
  #place = el("div", {});

  constructor(api, dialler) {
    this.#api = api;
    this.#dialler = dialler;
    this.node = el(
      "section",
      { class: "missed-list", "aria-labelledby": "missed-title" },
      el("h2", { id: "missed-title" }, t("callBackList")),
      this.#place,
    );
  }

  /** Shows the list of a period. */
  show({ from, to }) {
    this.#request.abort();
    this.#request = new AbortController();
    this.#read(new Fold(), { start: from, end: to, order: "desc", limit: PAGE }, null);
  }

  async #read(fold, filters, cursor) {
    const { signal } = this.#request;
    this.#place.replaceChildren(loading());
    try {
      let count = 0;
      do {
        const answer = await this.#api.json("get_log_cdr", { ...filters, cursor }, { signal });
        fold.add(answer.data);
        count += answer.data.length;
        cursor = answer.next;
      } while (cursor && count < ROWS_AT_ONCE);
    } catch (error) {
      if (!signal.aborted)
        this.#place.replaceChildren(failureNotice(error, () => this.#read(fold, filters, cursor)));
      return;
    }
    const more = cursor
      ? el("button", { type: "button", onclick: () => this.#read(fold, filters, cursor) }, t("lookFurther"))
      : null;
    this.#draw(notCalledBack([...fold.calls.values()]), more);
  }

  #draw(people, more) {
    if (people.length === 0) {
      this.#place.replaceChildren(more ?? notice("call", t("nobodyMissed")));
      return;
    }
    this.#place.replaceChildren(
      el(
        "ul",
        { class: "people" },
        people.map((person) => this.#person(person)),
      ),
      ...(more ? [more] : []),
    );
  }

  #person({ outside, name, start, wait, times }) {
    return el(
      "li",
      {},
      el(
        "div",
        {},
        el("span", { class: "number" }, outside),
        name ? el("span", { class: "name" }, name) : null,
      ),
      el(
        "div",
        { class: "when" },
        `${dayAndTime(start)} · ${t("waited")} ${spoken(wait)}${times > 1 ? ` · ${callCount(times)}` : ""}`,
      ),
      this.#dialler?.button(outside) ?? null,
    );
  }
}

/** Missed inbound calls whose number had no answered call afterwards, one entry a number, newest first. */
function notCalledBack(calls) {
  const sorted = calls.sort((one, other) => other.start.localeCompare(one.start));
  const answered = new Set();
  const people = new Map();
  for (const call of sorted) {
    // As `stats` compares numbers: +79161234567, 89161234567 and 9161234567 are the same.
    const number = call.outside.slice(-10);
    if (!number || call.direction === "internal") continue;
    if (call.result === "resAnswered") answered.add(number);
    else if (call.direction === "in" && !answered.has(number)) {
      const known = people.get(number);
      if (known) known.times += 1;
      else people.set(number, { ...call, times: 1 });
    }
  }
  return [...people.values()];
}
