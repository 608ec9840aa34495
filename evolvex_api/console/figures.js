// The view of figures: tiles, bars by hour and day, agents and queues, who is to be called back.

import { barFigure } from "./charts.js";
import { el, notice, tableHead, tableRow } from "./dom.js";
import { MissedList } from "./missed.js";
import { Period, dateFromToday, days, periodOf } from "./period.js";
import { failureNotice, loading } from "./states.js";
import { number, shortDay, spoken, t } from "./texts.js";

const MOST_DAYS = 92;
const DAY = 86_400_000;

export class FiguresView {
  #api;
  #request = new AbortController();
  #shown = "";
  #place = el("div", { class: "figures" });
  #missed;

  /** `navigate(values)` writes the period into the fragment; `withLog`: the key may read the call log. */
  constructor(api, navigate, withLog, dialler) {
    this.#api = api;
    this.period = new Period((chosen) => navigate(chosen));
    this.#missed = withLog ? new MissedList(api, dialler) : null;
    this.node = el(
      "div",
      {},
      el("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, this.period.nodes),
      this.#place,
    );
  }

  /** Shows the figures of the period in a fragment's values. */
  show(values) {
    const period = periodOf(values);
    this.period.show(period);
    const wanted = `${period.from} ${period.to}`;
    // What is over does not change; today's figures are asked for each time.
    if (wanted === this.#shown && period.to < dateFromToday(0)) return;
    this.#shown = wanted;
    this.#load(period);
  }

  async #load(period) {
    this.#request.abort();
    this.#request = new AbortController();
    const { signal } = this.#request;
    const length = days(period);
    if (length < 1 || length > MOST_DAYS) {
      this.#place.replaceChildren(notice("call", t(length < 1 ? "badPeriod" : "longPeriod")));
      return;
    }
    this.#place.replaceChildren(loading());
    try {
      const by = (name) =>
        this.#api.data("stats", { start: period.from, end: period.to, by: name }, { signal });
      const [hours, agents, queues] = await Promise.all(["hour", "agent", "queue"].map(by));
      this.#draw(period, { hours, agents, queues });
    } catch (error) {
      if (!signal.aborted) this.#place.replaceChildren(failureNotice(error, () => this.#load(period)));
    }
  }

  #draw(period, { hours, agents, queues }) {
    const total = sum(hours);
    if (total.calls === 0) {
      this.#place.replaceChildren(notice("call", t("nothing"), ""));
      return;
    }
    const charts = [barFigure(t("byHour"), t("hour"), byHour(hours))];
    if (days(period) > 1) charts.push(barFigure(t("byDay"), t("day"), byDay(hours, period)));
    const tables = [
      ["byAgent", "agent", agents],
      ["byQueue", "queue", queues],
    ];
    this.#missed?.show(period);
    this.#place.replaceChildren(
      tiles(total),
      el("div", { class: "charts" }, charts),
      el(
        "div",
        { class: "tables" },
        tables
          .filter(([, , rows]) => rows.length)
          .map(([heading, name, rows]) => bucketTable(t(heading), name, rows)),
        this.#missed?.node ?? null,
      ),
    );
  }
}

/** Sums of all buckets; averages are weighed by what they are averages of. */
function sum(buckets) {
  const total = {
    calls: 0,
    answered: 0,
    missed: 0,
    not_called_back: 0,
    talk_seconds: 0,
    longest: 0,
    waited: 0,
    inbound: 0,
  };
  for (const bucket of buckets) {
    for (const name of ["calls", "answered", "missed", "not_called_back", "talk_seconds", "inbound"])
      total[name] += bucket[name];
    total.waited += bucket.average_wait_seconds * bucket.inbound;
    total.longest = Math.max(total.longest, bucket.longest_wait_seconds);
  }
  return total;
}

function tiles(total) {
  const shown = [
    ["total", number(total.calls)],
    ["answeredCalls", number(total.answered)],
    ["missed", number(total.missed)],
    ["notCalledBack", number(total.not_called_back)],
    ["averageWait", spoken(total.inbound ? total.waited / total.inbound : 0)],
    ["longestWait", spoken(total.longest)],
    ["averageTalk", spoken(total.answered ? total.talk_seconds / total.answered : 0)],
  ];
  return el(
    "dl",
    { class: "tiles" },
    shown.map(([name, value]) =>
      el("div", { "data-figure": name }, el("dt", {}, t(name)), el("dd", {}, value)),
    ),
  );
}

/** The 24 hours of the day, all days together. */
function byHour(hours) {
  const bars = Array.from({ length: 24 }, (_, hour) => ({
    label: `${String(hour).padStart(2, "0")}:00`,
    answered: 0,
    missed: 0,
  }));
  for (const bucket of hours) add(bars[Number(bucket.key.slice(11, 13))], bucket);
  return bars;
}

/** Every day of the period, also those without a call. */
function byDay(hours, { from, to }) {
  const bars = new Map();
  for (let time = Date.parse(from); time <= Date.parse(to); time += DAY) {
    const date = new Date(time).toISOString().slice(0, 10);
    bars.set(date, { label: shortDay(date), answered: 0, missed: 0 });
  }
  for (const bucket of hours) add(bars.get(bucket.key.slice(0, 10)), bucket);
  return [...bars.values()];
}

function add(bar, bucket) {
  if (!bar) return;
  bar.answered += bucket.answered;
  bar.missed += bucket.missed;
}

function bucketTable(heading, name, rows) {
  const columns = [
    ["total", (row) => number(row.calls)],
    ["answeredCalls", (row) => number(row.answered)],
    ["missed", (row) => number(row.missed)],
    ["talkTotal", (row) => spoken(row.talk_seconds)],
    ["averageTalk", (row) => spoken(row.average_talk_seconds)],
  ];
  const sorted = [...rows].sort((one, other) => other.calls - one.calls);
  const cells = (row) => columns.map(([, text]) => text(row));
  const lines = sorted.map((row) => tableRow(row.key || "–", cells(row)));
  const head = tableHead([name, ...columns.map(([column]) => column)].map((column) => t(column)));
  return el(
    "section",
    {},
    el("h2", {}, heading),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": heading },
      el("table", { class: name }, head, el("tbody", {}, lines)),
    ),
  );
}
