// The frame: log in, which views the key opens, the view that the fragment names.

import { Api } from "./api.js";
import { Dialler } from "./dial.js";
import { el, field, notice } from "./dom.js";
import { FiguresView } from "./figures.js";
import { LiveCalls } from "./live.js";
import { LogView } from "./log.js";
import { NowView } from "./now.js";
import { Player } from "./player.js";
import { failureNotice } from "./states.js";
import { LANGUAGE, t } from "./texts.js";

const STORE = "evolvex.key";
const REFUSALS = {
  missing_key: "keyMissing",
  unknown_key: "keyUnknown",
  user_disabled: "keyDisabled",
  user_expired: "keyExpired",
  address_denied: "keyAddress",
};
const NEEDED = { now: "events", log: "cdr", figures: "stats" };
const ROOT = document.getElementById("app");

document.documentElement.lang = LANGUAGE;

/** The page of somebody who has logged in. */
class Console {
  #views = {};
  #page = el("main", { id: "page", tabindex: "-1" });
  #heading = el("h1", {});
  #state = el("span", { class: "connection", hidden: true });
  #live = null;
  #player = null;

  constructor(api, { name, rights, contexts }) {
    const may = (right) => rights.includes(right);
    const dialler = may("originate") ? new Dialler(api, contexts) : null;
    const player = may("recordings") ? new Player(api) : null;
    this.#player = player;
    if (may(NEEDED.now)) this.#views.now = this.#now(api, dialler);
    if (may(NEEDED.log))
      this.#views.log = new LogView(api, (values) => navigate("log", values), player, dialler);
    if (may(NEEDED.figures))
      this.#views.figures = new FiguresView(
        api,
        (values) => navigate("figures", values),
        may(NEEDED.log),
        dialler,
      );
    this.node = el(
      "div",
      { class: "console" },
      el(
        "a",
        { class: "skip", href: `${location.pathname}#page`, onclick: (event) => this.#skip(event) },
        t("skip"),
      ),
      this.#header(name),
      this.#page,
      el("div", { class: "dock" }, dialler?.node ?? null, player?.node ?? null),
    );
    this.#live?.run();
    addEventListener("hashchange", this.#route);
    this.#route();
  }

  end() {
    this.#views.now?.end();
    this.#player?.close();
    removeEventListener("hashchange", this.#route);
  }

  #now(api, dialler) {
    const state = (name, error) => {
      this.#state.hidden = name === "denied";
      this.#state.dataset.state = name;
      this.#state.textContent = t(name === "live" ? "live" : "reconnecting");
      view.connection(name, error);
    };
    this.#live = new LiveCalls(api, { onchange: (type, call) => view.changed(type, call), onstate: state });
    const view = new NowView(this.#live, dialler);
    return view;
  }

  #header(name) {
    const tabs = Object.keys(this.#views).map((view) =>
      el("li", {}, el("a", { href: `${location.pathname}#${view}`, "data-view": view }, t(view))),
    );
    return el(
      "header",
      {},
      el(
        "span",
        { class: "brand" },
        el("img", { src: "icon.svg", alt: "", width: 28, height: 28 }),
        el("span", {}, "Evolvex"),
      ),
      el("nav", { "aria-label": t("title") }, el("ul", {}, tabs)),
      el(
        "span",
        { class: "account" },
        this.#state,
        el("span", { class: "user" }, name),
        el("button", { type: "button", class: "quiet", onclick: () => logOut("") }, t("logOut")),
      ),
    );
  }

  #skip(event) {
    event.preventDefault();
    this.#page.focus();
  }

  #shown = "";

  #route = () => {
    const { view: wanted, values } = readFragment();
    const name = this.#views[wanted] ? wanted : Object.keys(this.#views)[0];
    if (!name) {
      this.#page.replaceChildren(
        el("h1", {}, t("title")),
        notice("settings", t("noRights"), t("noRightsHint")),
      );
      return;
    }
    if (name !== this.#shown) {
      this.#heading.textContent = t(name);
      this.#page.replaceChildren(this.#heading, this.#views[name].node);
      document.title = `${t(name)} · Evolvex`;
      for (const tab of this.node.querySelectorAll("[data-view]")) {
        if (tab.dataset.view === name) tab.setAttribute("aria-current", "page");
        else tab.removeAttribute("aria-current");
      }
      if (this.#shown) this.#page.focus({ preventScroll: true });
      if (this.#shown) scrollTo(0, 0);
      this.#shown = name;
    }
    this.#views[name].show(values);
  };
}

/** The view and the values that the fragment names: #log?from=2026-11-24&number=101. */
function readFragment() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view, values: Object.fromEntries(new URLSearchParams(query)) };
}

/** Writes a view's values into the fragment, which shows them. */
function navigate(view, values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  location.hash = `${view}${query.size ? `?${query}` : ""}`;
}

let current = null;

/** Logs in with a key; on a refusal, the form says why. */
async function enter(key) {
  const api = new Api(
    key,
    (error) =>
      current && logOut(REFUSALS[error.code] === "keyUnknown" ? "keyWithdrawn" : REFUSALS[error.code]),
  );
  try {
    const who = await api.data("rights");
    sessionStorage.setItem(STORE, key);
    current = new Console(api, who);
    ROOT.replaceChildren(current.node);
  } catch (error) {
    if (error.withdrawn) showLogin(t(REFUSALS[error.code]));
    else
      ROOT.replaceChildren(
        el(
          "main",
          {},
          el("h1", { class: "unseen" }, "Evolvex"),
          failureNotice(error, () => enter(key)),
        ),
      );
  }
}

function logOut(reason) {
  sessionStorage.removeItem(STORE);
  current?.end();
  current = null;
  showLogin(reason ? t(reason) : "");
}

function showLogin(problem) {
  document.title = `${t("logIn")} · Evolvex`;
  const key = el("input", {
    type: "password",
    name: "key",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "login-hint login-problem",
  });
  const button = el("button", { type: "submit", class: "primary" }, t("logIn"));
  const submit = (event) => {
    event.preventDefault();
    if (!key.value.trim()) {
      showLogin(t("keyMissing"));
      return;
    }
    button.disabled = true;
    button.textContent = t("checking");
    enter(key.value.trim());
  };
  ROOT.replaceChildren(
    el(
      "main",
      { class: "login" },
      el(
        "form",
        { onsubmit: submit },
        el("img", { src: "icon.svg", alt: "", width: 48, height: 48 }),
        el("h1", {}, "Evolvex"),
        field(t("key"), key),
        el("p", { id: "login-problem", class: "error", role: "alert" }, problem),
        button,
        el("p", { id: "login-hint", class: "hint" }, t("loginHint")),
      ),
    ),
  );
  key.focus();
}

const remembered = sessionStorage.getItem(STORE);
if (remembered) enter(remembered);
else showLogin("");
