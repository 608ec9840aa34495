// Click-to-call: the own telephone rings first. Which one it is, this browser remembers.

import { el, field, icon, iconButton } from "./dom.js";
import { LANGUAGE, t } from "./texts.js";

const STORE = "evolvex.telephone";

export class Dialler {
  #api;
  #contexts;
  #waiting = "";
  #status = el("p", { class: "dial-status", role: "status" });

  /** `contexts` are those that the key may use, ["*"] for every one. */
  constructor(api, contexts) {
    this.#api = api;
    this.#contexts = contexts;
    this.#dialog = this.#settings();
    this.node = el("div", { class: "dial-foot" }, this.#status, this.#dialog);
  }

  #dialog;
  #mine = el("span", {}, mineText());

  /** A form with a number to call, for the top of a view. */
  form() {
    const input = el("input", {
      type: "tel",
      name: "number",
      autocomplete: "off",
      required: true,
      maxlength: 40,
      placeholder: t("number"),
      "aria-label": t("number"),
    });
    const submit = (event) => {
      event.preventDefault();
      this.call(input.value);
    };
    return el(
      "form",
      { class: "dial", onsubmit: submit },
      input,
      el("button", { type: "submit", class: "primary" }, icon("call"), t("call")),
      el(
        "button",
        { type: "button", class: "quiet", onclick: () => this.#open("") },
        icon("settings"),
        this.#mine,
      ),
    );
  }

  /** A button that calls `number`; nothing for what no telephone can dial. */
  button(number) {
    const digits = dialable(number);
    if (digits.length < 2) return null;
    return iconButton("call", t("callNumber", { number: digits }), () => this.call(digits));
  }

  /** Rings the own telephone, then dials; asks for the own telephone first where none is known. */
  async call(number) {
    const exten = dialable(number);
    if (!exten) return;
    const mine = remembered();
    if (!mine) {
      this.#open(exten);
      return;
    }
    const values = { number: exten, line: mine.line };
    this.#say(t("dialling", values));
    try {
      const params = { channel: channelOf(mine.line), context: mine.context, exten, priority: "1" };
      const outcome = await this.#api.data("originate", params);
      this.#say(
        outcome.Response === "Success"
          ? t("dialled", values)
          : t("notDialled", { reason: reasonOf(outcome) }),
      );
    } catch (error) {
      const denied =
        error.status === 403 ? t("dialDenied", { detail: error.detail }) : error.detail || error.code;
      this.#say(t("notDialled", { reason: error.status ? denied : t("offline") }));
    }
  }

  #say(text) {
    this.#status.textContent = text;
  }

  #open(waiting) {
    const mine = remembered() ?? { line: "", context: this.#proposedContext() };
    this.#waiting = waiting;
    const { line, context } = this.#dialog.querySelector("form").elements;
    line.value = mine.line;
    context.value = mine.context;
    this.#dialog.querySelector(".error").textContent = "";
    this.#dialog.showModal();
  }

  #proposedContext() {
    const named = this.#contexts.filter((context) => context !== "*");
    return named.includes("from-internal") || named.length === 0 ? "from-internal" : named[0];
  }

  #settings() {
    const known = el(
      "datalist",
      { id: "contexts" },
      this.#contexts.filter((name) => name !== "*").map((value) => el("option", { value })),
    );
    const line = el("input", {
      name: "line",
      required: true,
      maxlength: 80,
      autocomplete: "off",
      pattern: "[^\\s]+",
    });
    const context = el("input", {
      name: "context",
      required: true,
      maxlength: 80,
      autocomplete: "off",
      list: "contexts",
    });
    const problem = el("p", { class: "error", role: "alert" });
    const save = (event) => {
      event.preventDefault();
      if (!this.#mayUse(context.value)) {
        problem.textContent = t("contextDenied");
        return;
      }
      remember({ line: line.value.trim(), context: context.value.trim() });
      this.#mine.textContent = mineText();
      this.#dialog.close();
      if (this.#waiting) this.call(this.#waiting);
    };
    return el(
      "dialog",
      { class: "settings", "aria-labelledby": "settings-title" },
      el(
        "form",
        { onsubmit: save },
        el("h2", { id: "settings-title" }, t("mine")),
        el("p", {}, t("mineHint")),
        field(t("myLine"), line),
        el("small", {}, t("myLineHint")),
        field(t("context"), context),
        known,
        problem,
        el(
          "div",
          { class: "dialog-buttons" },
          el("button", { type: "button", onclick: () => this.#dialog.close() }, t("cancel")),
          el("button", { type: "submit", class: "primary" }, t("save")),
        ),
      ),
    );
  }

  #mayUse(context) {
    return this.#contexts.includes("*") || this.#contexts.includes(context.trim());
  }
}

/** What is written between the digits is for the eye: +7 (916) 123-45-67 is dialled as +79161234567. */
function dialable(number) {
  return (number ?? "").replace(/[\s().-]/g, "");
}

function channelOf(line) {
  return line.includes("/") ? line : `PJSIP/${line}`;
}

function reasonOf(outcome) {
  const known = { 1: "reason1", 3: "reason3", 5: "reason5", 8: "reason8" }[outcome.Reason];
  // The service's own words are English, and say more than a number.
  return known && LANGUAGE !== "en" ? t(known) : outcome.Message || t(known ?? "reason8");
}

function mineText() {
  const mine = remembered();
  return mine ? `${t("mine")}: ${mine.line}` : t("mine");
}

function remembered() {
  try {
    const mine = JSON.parse(localStorage.getItem(STORE));
    return mine?.line && mine.context ? mine : null;
  } catch {
    return null;
  }
}

function remember(mine) {
  localStorage.setItem(STORE, JSON.stringify(mine));
}
