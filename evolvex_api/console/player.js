// The player at the foot of the page: one recording at a time, by a short-lived link.

import { el, icon, iconButton, select } from "./dom.js";
import { clock, t } from "./texts.js";

const LINK_SECONDS = 3600;
const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

export class Player {
  #api;
  #uniqueid = "";
  #title = el("strong", { class: "player-title" });
  #message = el("span", { class: "player-message", role: "status" });
  #audio = el("audio", { preload: "metadata" });
  #toggle = iconButton("play", t("play"), () => this.#playOrPause(), { class: "primary round" });
  #seek = el("input", { type: "range", min: 0, max: 0, step: 0.1, value: 0, "aria-label": t("position") });
  #time = el("span", { class: "player-time" }, "0:00");
  #speed = select(
    "speed",
    SPEEDS.map((speed) => [speed, `${speed}×`]),
    () => this.#setSpeed(),
  );
  #downloads = ["mp3", "wav"].map((kind) =>
    el("a", { class: "button quiet", "data-kind": kind }, icon("download"), kind.toUpperCase()),
  );
  #renewed = false;

  constructor(api) {
    this.#api = api;
    this.#speed.value = "1";
    this.#speed.setAttribute("aria-label", t("speed"));
    const close = iconButton("close", t("close"), () => this.close());
    this.node = el(
      "section",
      { class: "player", "aria-label": t("playerName"), hidden: true },
      el("div", { class: "player-head" }, this.#title, this.#message, close),
      this.#audio,
      el(
        "div",
        { class: "player-tools" },
        this.#toggle,
        this.#seek,
        this.#time,
        this.#speed,
        this.#downloads,
      ),
    );
    this.#listen();
  }

  /** Plays the recording of a call; `title` says which. */
  async play(uniqueid, title) {
    this.#uniqueid = uniqueid;
    this.#renewed = false;
    this.#title.textContent = title;
    this.node.hidden = false;
    if (await this.#load(0)) this.#toggle.focus();
  }

  close() {
    this.#uniqueid = "";
    this.#audio.pause();
    this.#audio.removeAttribute("src");
    this.node.hidden = true;
  }

  async #load(position) {
    const uniqueid = this.#uniqueid;
    this.#message.textContent = t("loading");
    this.#enable(false);
    try {
      const links = await this.#api.link(uniqueid, LINK_SECONDS);
      if (uniqueid !== this.#uniqueid) return false;
      for (const link of this.#downloads) {
        link.href = links[link.dataset.kind];
        link.download = `${uniqueid}.${link.dataset.kind}`;
      }
      this.#audio.src = links.mp3;
      this.#audio.currentTime = position;
      this.#setSpeed();
      await this.#audio.play();
      return true;
    } catch (error) {
      if (uniqueid === this.#uniqueid) this.#failed(error);
      return false;
    }
  }

  #failed(error) {
    if (error.name === "AbortError") return;
    if (error.name === "NotAllowedError") {
      // The browser wants one more press before it makes sound.
      this.#message.textContent = "";
      return;
    }
    this.#message.textContent = error.status === 404 ? t("noRecording") : t("soundFailed");
    this.#enable(false);
  }

  #listen() {
    const audio = this.#audio;
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => this.#showState());
    for (const name of ["timeupdate", "durationchange", "seeked"])
      audio.addEventListener(name, () => this.#showTime());
    audio.addEventListener("loadedmetadata", () => {
      this.#message.textContent = "";
      this.#enable(true);
    });
    audio.addEventListener("error", () => this.#broken());
    this.#seek.addEventListener("input", () => {
      audio.currentTime = Number(this.#seek.value);
    });
  }

  /** A link that has expired during a long pause is made anew, once. */
  #broken() {
    if (!audioHasSource(this.#audio)) return;
    if (this.#renewed || !this.#audio.currentTime) {
      this.#failed({ status: this.#audio.currentTime ? 0 : 404 });
      return;
    }
    this.#renewed = true;
    this.#load(this.#audio.currentTime);
  }

  #playOrPause() {
    if (this.#audio.paused) this.#audio.play().catch((error) => this.#failed(error));
    else this.#audio.pause();
  }

  #setSpeed() {
    this.#audio.playbackRate = Number(this.#speed.value);
    this.#audio.defaultPlaybackRate = Number(this.#speed.value);
  }

  #enable(enabled) {
    for (const control of [this.#toggle, this.#seek]) control.disabled = !enabled;
    for (const link of this.#downloads) link.hidden = !enabled;
  }

  #showState() {
    const name = this.#audio.paused ? "play" : "pause";
    this.#toggle.replaceChildren(icon(name));
    this.#toggle.setAttribute("aria-label", t(name));
    this.#toggle.title = t(name);
  }

  #showTime() {
    const { currentTime, duration } = this.#audio;
    const length = Number.isFinite(duration) ? duration : 0;
    this.#seek.max = String(length);
    this.#seek.value = String(currentTime);
    const text = `${clock(currentTime)} / ${clock(length)}`;
    this.#time.textContent = text;
    this.#seek.setAttribute("aria-valuetext", text);
  }
}

function audioHasSource(audio) {
  return audio.hasAttribute("src");
}
