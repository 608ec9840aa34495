// The view of the calls that live now.

import { el, icon, notice, unseen } from "./dom.js";
import { failureTexts } from "./states.js";
import { clock, t } from "./texts.js";

const DIRECTIONS = { in: "dirIn", out: "dirOut", internal: "dirInternal" };
const COUNTED = [
  ["ringing", ["ringing"]],
  ["queued", ["queued"]],
  ["talking", ["answered", "held"]],
];

export class NowView {
  #live;
  #dialler;
  #items = new Map();
  #list = el("ul", { class: "calls" });
  #empty = notice("call", t("noCalls"), t("noCallsHint"));
  #banner = el("div", { class: "banner", role: "status", hidden: true });
  #counts = el("dl", { class: "tiles" });
  #news = el("div", { class: "unseen", role: "status", "aria-live": "polite" });

  /** `live` are the LiveCalls, `dialler` may be null. */
  constructor(live, dialler) {
    this.#live = live;
    this.#dialler = dialler;
    this.#empty.hidden = true;
    this.node = el(
      "div",
      { class: "now" },
      dialler?.form() ?? null,
      this.#banner,
      this.#counts,
      this.#empty,
      this.#list,
      this.#news,
    );
    this.#clock = setInterval(() => this.#tick(), 1000);
  }

  #clock;

  show() {
    this.#draw();
  }

  end() {
    clearInterval(this.#clock);
    this.#live.stop();
  }

  /** An event has come; with null the whole list is new. */
  changed(type, call) {
    this.#draw();
    if (
      type === "call.started" ||
      (type === "call.ringing" && call.State === "ringing" && !this.#announced.has(call.Linkedid))
    ) {
      this.#announce(call);
    }
    if (type === "call.ended") this.#announced.delete(call.Linkedid);
  }

  #announced = new Set();

  #announce(call) {
    if (!call.CallerIDNum && !call.Exten) return;
    this.#announced.add(call.Linkedid);
    const values = { direction: directionText(call), from: nameAndNumber(call), to: call.Exten ?? "" };
    this.#news.textContent = t("newCall", values);
  }

  /** The state of the connection: "connecting", "live", "lost". */
  connection(state, error) {
    const lost = state !== "live" && error;
    this.#banner.hidden = !lost;
    if (lost) {
      const [heading, hint] =
        error.code.startsWith("http_") || error.status === 404
          ? [t("liveGone"), t("liveGoneHint")]
          : failureTexts(error);
      this.#banner.replaceChildren(el("strong", {}, heading), ` ${hint}`);
    }
    this.node.classList.toggle("stale", Boolean(lost));
    this.#known ||= state === "live";
    this.#draw();
  }

  #known = false;

  #draw() {
    const calls = [...this.#live.calls.values()].sort((one, other) =>
      other.StartTime.localeCompare(one.StartTime),
    );
    for (const [id, item] of this.#items) {
      if (this.#live.calls.has(id)) continue;
      item.node.remove();
      this.#items.delete(id);
    }
    calls.forEach((call, place) => this.#place(call, place));
    this.#empty.hidden = calls.length > 0 || !this.#known || !this.#banner.hidden;
    this.#drawCounts(calls);
    this.#tick();
  }

  #place(call, place) {
    let item = this.#items.get(call.Linkedid);
    if (!item) {
      item = { node: el("li", { "data-linkedid": call.Linkedid }), call: null };
      this.#items.set(call.Linkedid, item);
    }
    if (item.call !== call) {
      item.call = call;
      item.node.dataset.state = call.State;
      item.timer = el("span", { class: "timer" });
      item.node.replaceChildren(...this.#parts(call, item.timer));
    }
    const there = this.#list.children[place];
    if (there !== item.node) this.#list.insertBefore(item.node, there ?? null);
  }

  #parts(call, timer) {
    const outside = call.Direction === "out" ? call.Exten : call.CallerIDNum;
    return [
      el(
        "span",
        { class: "direction" },
        icon(DIRECTIONS[call.Direction] ? call.Direction : "internal"),
        unseen(directionText(call)),
      ),
      el(
        "div",
        { class: "who" },
        el("span", { class: "from" }, nameAndNumber(call)),
        el("span", { class: "arrow", "aria-hidden": "true" }, "→"),
        el("span", { class: "to" }, call.Exten || "–"),
        el("span", { class: "with" }, withWhom(call)),
      ),
      el("span", { class: "badge" }, t(call.State)),
      el("span", { class: "time" }, unseen(`${t("duration")}: `), timer),
      el("span", { class: "tools" }, this.#dialler?.button(outside) ?? null),
    ];
  }

  #tick() {
    for (const { call, timer } of this.#items.values()) {
      const since = call.AnswerTime && call.State !== "ringing" ? call.AnswerTime : call.StartTime;
      const text = clock(this.#live.since(since) / 1000);
      if (timer.textContent !== text) timer.textContent = text;
    }
  }

  #drawCounts(calls) {
    const tiles = COUNTED.map(([name, states]) => {
      const count = calls.filter((call) => states.includes(call.State)).length;
      return el("div", { "data-count": name }, el("dt", {}, t(name)), el("dd", {}, String(count)));
    });
    this.#counts.replaceChildren(...tiles);
  }
}

function directionText(call) {
  return t(DIRECTIONS[call.Direction] ?? "dirInternal");
}

function nameAndNumber({ CallerIDName: name, CallerIDNum: number }) {
  if (!name || name === number) return number || t("hidden");
  return number ? `${name}, ${number}` : name;
}

function withWhom(call) {
  const parts = [];
  if (call.State === "ringing" || call.State === "queued") {
    const numbers = [...new Set((call.Ringing ?? []).map((leg) => leg.Number || leg.Channel))];
    if (numbers.length) parts.push(t("rings", { numbers: numbers.join(", ") }));
  } else if (call.AnsweredBy) {
    parts.push(t("withWhom", { number: call.AnsweredBy.Number || call.AnsweredBy.Channel }));
  }
  if (call.Queue) parts.push(t("inQueue", { queue: call.Queue }));
  return parts.join(" · ");
}
