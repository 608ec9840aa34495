// The view of the call log: filters, a row a call, its legs on demand, pages as one scrolls.

import { csvOf } from "./csv.js";
import { debounced, el, field, icon, iconButton, notice, select, tableHead, unseen } from "./dom.js";
import { Fold } from "./fold.js";
import { legsTable } from "./legs.js";
import { Period, days, periodOf } from "./period.js";
import { failureNotice, loading } from "./states.js";
import { clock, day, t, timeOfDay } from "./texts.js";

const PAGE = 100;
const CSV_PAGE = 5000;
const DIRECTIONS = [
  ["", "any"],
  ["in", "dirIn"],
  ["out", "dirOut"],
  ["internal", "dirInternal"],
];
const DISPOSITIONS = [
  ["", "any"],
  ["ANSWERED", "resAnswered"],
  ["NO ANSWER", "resNoAnswer"],
  ["BUSY", "resBusy"],
  ["FAILED", "resFailed"],
];
const COLUMNS = ["time", "direction", "caller", "callee", "whoAnswered", "talk", "result"];
const ARROWS = { in: "dirIn", out: "dirOut", internal: "dirInternal" };

export class LogView {
  #api;
  #navigate;
  #player;
  #dialler;
  #values = {};
  #fold = new Fold();
  #rows = new Map();
  #cursor = null;
  #request = new AbortController();
  #busy = false;
  #day = "";

  /** `navigate(values)` writes the filters into the fragment; `player` and `dialler` may be null. */
  constructor(api, navigate, player, dialler) {
    this.#api = api;
    this.#navigate = navigate;
    this.#player = player;
    this.#dialler = dialler;
    this.#build();
  }

  #build() {
    const filter = (values) => this.#navigate({ ...this.#values, ...values, call: "" });
    this.period = new Period(filter);
    this.number = el("input", {
      type: "search",
      name: "number",
      autocomplete: "off",
      oninput: debounced(() => filter({ number: this.number.value.trim() }), 400),
    });
    const chosen = (event) => filter({ [event.target.name]: event.target.value });
    this.direction = select(
      "direction",
      DIRECTIONS.map(([value, name]) => [value, t(name)]),
      chosen,
    );
    this.disposition = select(
      "disposition",
      DISPOSITIONS.map(([value, name]) => [value, t(name)]),
      chosen,
    );
    this.csv = el(
      "button",
      { type: "button", onclick: () => this.#download() },
      icon("download"),
      t("downloadCsv"),
    );
    this.body = el("tbody", {});
    this.table = el(
      "table",
      { class: "log", hidden: true },
      el("caption", { class: "unseen" }, t("log")),
      tableHead([...COLUMNS.map((name) => t(name)), unseen(t("actions"))]),
      this.body,
    );
    this.foot = el("div", { class: "foot" });
    this.problem = el("p", { class: "error", role: "alert" });
    this.node = el(
      "div",
      {},
      el(
        "form",
        { class: "filters", onsubmit: (event) => event.preventDefault() },
        this.period.nodes,
        field(t("number"), this.number),
        field(t("direction"), this.direction),
        field(t("result"), this.disposition),
        el(
          "span",
          { class: "filter-buttons" },
          iconButton("refresh", t("refresh"), () => this.#load()),
          this.csv,
        ),
      ),
      this.problem,
      this.table,
      this.foot,
    );
    this.watcher = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && this.#page(),
      { rootMargin: "600px" },
    );
  }

  /** Shows the log that a fragment's values describe. */
  show(values) {
    const { from, to } = periodOf(values);
    const wanted = {
      from,
      to,
      number: values.number ?? "",
      direction: values.direction ?? "",
      disposition: values.disposition ?? "",
    };
    this.period.show(wanted);
    for (const name of ["number", "direction", "disposition"]) {
      if (this[name] !== document.activeElement || this[name].value.trim() !== wanted[name])
        this[name].value = wanted[name];
    }
    const same = Object.keys(wanted).every((name) => wanted[name] === this.#values[name]);
    this.#values = { ...wanted, call: values.call ?? "" };
    if (!same) this.#load();
  }

  #filters() {
    const { from, to, number, disposition } = this.#values;
    return { start: from, end: to, number, disposition, order: "desc" };
  }

  /** Starts from the first page. */
  #load() {
    this.#request.abort();
    this.#request = new AbortController();
    this.#fold = new Fold();
    this.#rows.clear();
    this.#cursor = null;
    this.#busy = false;
    this.#day = "";
    this.body.replaceChildren();
    this.table.hidden = true;
    this.problem.textContent = "";
    if (days(this.#values) < 1) {
      this.foot.replaceChildren(notice("settings", t("badPeriod")));
      return;
    }
    this.#page();
  }

  /** Adds the next page, unless one is on its way. */
  async #page() {
    if (this.#busy) return;
    this.#busy = true;
    this.watcher.disconnect();
    const { signal } = this.#request;
    this.foot.replaceChildren(loading());
    try {
      const params = { ...this.#filters(), limit: PAGE, cursor: this.#cursor };
      const answer = await this.#api.json("get_log_cdr", params, { signal });
      this.#cursor = answer.next;
      this.#add(answer.data);
    } catch (error) {
      if (signal.aborted) return;
      this.#busy = false;
      this.foot.replaceChildren(failureNotice(error, () => this.#page()));
      return;
    }
    this.#busy = false;
    this.#drawFoot();
  }

  #add(rows) {
    for (const call of this.#fold.add(rows)) {
      const shown = this.#rows.get(call.id);
      if (!this.#wanted(call)) {
        // An older leg may show another direction than the first ones did.
        shown?.remove();
        this.#rows.delete(call.id);
        continue;
      }
      const row = this.#row(call);
      if (shown) shown.replaceWith(row);
      else this.#append(call, row);
      this.#rows.set(call.id, row);
      if (call.id === this.#values.call && !shown) this.#unfold(call, row);
    }
    this.table.hidden = this.#rows.size === 0;
  }

  /** The API has no filter for the direction, which belongs to a call and not to a row. */
  #wanted(call) {
    return !this.#values.direction || call.direction === this.#values.direction;
  }

  #append(call, row) {
    const date = call.start.slice(0, 10);
    if (date !== this.#day) {
      this.#day = date;
      this.body.append(
        el("tr", { class: "day" }, el("th", { scope: "rowgroup", colspan: COLUMNS.length + 1 }, day(date))),
      );
    }
    this.body.append(row);
  }

  #drawFoot() {
    if (this.#rows.size === 0 && !this.#cursor) {
      this.foot.replaceChildren(notice("call", t("nothing"), t("nothingHint")));
    } else if (this.#cursor) {
      const more = el("button", { type: "button", class: "more", onclick: () => this.#page() }, t("more"));
      this.foot.replaceChildren(more);
      this.watcher.observe(more);
    } else {
      this.foot.replaceChildren(el("p", { class: "all-shown" }, t("allShown")));
    }
  }

  #row(call) {
    const time = timeOfDay(call.start);
    const fold = el(
      "button",
      {
        type: "button",
        class: "fold",
        "aria-expanded": "false",
        "aria-label": t("showLegs", { time }),
        onclick: () => this.#toggle(call),
      },
      icon("open"),
      el("span", { "aria-hidden": "true" }, time),
    );
    const listen =
      this.#player && call.result !== "resMissed" && Number(call.talk) > 0
        ? iconButton("play", t("listenTo", { time }), () => this.#listen(call))
        : null;
    const cell = (name, ...children) => el("td", { class: `c-${name}`, "data-label": t(name) }, children);
    return el(
      "tr",
      { class: "call", "data-id": call.id },
      cell("time", fold),
      cell("direction", icon(call.direction), el("span", {}, t(ARROWS[call.direction]))),
      cell(
        "caller",
        el("span", { class: "number" }, call.from || t("hidden")),
        call.name ? el("span", { class: "name" }, call.name) : null,
      ),
      cell("callee", el("span", { class: "number" }, call.to || "–")),
      cell("whoAnswered", call.answeredBy || "–"),
      cell("talk", call.talk ? clock(call.talk) : "–"),
      cell("result", el("span", { class: `result ${call.result}` }, t(call.result))),
      el("td", { class: "c-tools" }, listen, this.#dialler?.button(call.outside) ?? null),
    );
  }

  #listen(call) {
    this.#player.play(
      call.id,
      `${call.from || t("hidden")} → ${call.to} · ${day(call.start)}, ${timeOfDay(call.start)}`,
    );
  }

  #toggle(call) {
    const row = this.#rows.get(call.id);
    const open = row.nextElementSibling?.classList.contains("legs");
    this.#values.call = open ? "" : call.id;
    this.#navigate(this.#values);
    if (open) this.#close(row);
    else this.#unfold(call, row);
  }

  #close(row) {
    row.nextElementSibling.remove();
    row.querySelector(".fold").setAttribute("aria-expanded", "false");
  }

  async #unfold(call, row) {
    for (const other of this.body.querySelectorAll("tr.legs")) this.#close(other.previousElementSibling);
    const cell = el("td", { colspan: COLUMNS.length + 1 }, loading());
    row.after(el("tr", { class: "legs" }, cell));
    row.querySelector(".fold").setAttribute("aria-expanded", "true");
    try {
      // All legs, whatever the filter has left out.
      const legs = await this.#api.data("get_log_cdr", { linkedid: call.id });
      cell.replaceChildren(legsTable(legs.length ? legs : call.legs));
    } catch (error) {
      cell.replaceChildren(failureNotice(error, () => this.#unfold(call, row)));
    }
  }

  async #csv() {
    if (!this.#values.direction) {
      return (await this.#api.get("get_log_cdr", { ...this.#filters(), format: "csv" })).blob();
    }
    const fold = new Fold();
    let cursor = null;
    do {
      const params = { ...this.#filters(), limit: CSV_PAGE, cursor };
      const answer = await this.#api.json("get_log_cdr", params);
      fold.add(answer.data);
      cursor = answer.next;
    } while (cursor);
    const calls = [...fold.calls.values()].filter((call) => this.#wanted(call));
    return new Blob([csvOf(calls.flatMap((call) => call.legs))], { type: "text/csv" });
  }

  async #download() {
    this.csv.disabled = true;
    this.problem.textContent = "";
    try {
      const url = URL.createObjectURL(await this.#csv());
      el("a", { href: url, download: `calls-${this.#values.from}-${this.#values.to}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      this.problem.textContent = t("failed", { detail: error.detail || error.message });
    } finally {
      this.csv.disabled = false;
    }
  }
}
