// The calls that live now, kept up to date by `calls` and `events`.

import { ApiError } from "./api.js";
import { readEvents } from "./stream.js";

const PAUSE = 3000;
const LONGEST_PAUSE = 30_000;
// A snapshot now and then finds a PBX that is gone, which no event announces.
const CHECK_EVERY = 15_000;

/**
 * `calls` is a Map of Linkedid to call. `onchange(type, call)` is called after each event, with null for
 * a snapshot; `onstate(state, error)` with "connecting", "live", "lost" (an ApiError), or "denied".
 */
export class LiveCalls {
  calls = new Map();
  /** Server's clock less the browser's, ms. */
  skew = 0;
  #lastId = "";
  #buffer = null;
  #ending = new AbortController();

  constructor(api, { onchange, onstate }) {
    Object.assign(this, { api, onchange, onstate });
  }

  /** Runs until stop() or until the key may not listen. */
  async run() {
    let pause = PAUSE;
    while (!this.#ending.signal.aborted) {
      const connected = { time: 0 };
      const error = await this.#connection(connected);
      if (this.#ending.signal.aborted) return;
      if (error?.status === 401 || error?.status === 403) return this.onstate("denied", error);
      this.onstate("lost", error);
      pause = connected.time ? PAUSE : Math.min(pause * 1.5, LONGEST_PAUSE);
      await this.#wait(Math.max(pause, (error?.retryAfter ?? 0) * 1000));
    }
  }

  stop() {
    this.#ending.abort();
  }

  /** Milliseconds since the server's time `moment` (ISO 8601). */
  since(moment) {
    return Date.now() + this.skew - Date.parse(moment);
  }

  /** One snapshot and the stream that follows it; returns why it ended, an ApiError or null. */
  async #connection(connected) {
    const ending = new AbortController();
    const stop = () => ending.abort();
    this.#ending.signal.addEventListener("abort", stop, { once: true });
    let failure = null;
    const checks = setInterval(() => {
      this.#snapshot(ending.signal).catch((error) => {
        failure = error;
        stop();
      });
    }, CHECK_EVERY);
    try {
      this.#lastId = "";
      await this.#snapshot(ending.signal);
      const resumable = this.#lastId !== "";
      await readEvents(this.api, this.#lastId, {
        onopen: () => {
          connected.time = Date.now();
          this.onstate("live");
          // Without an id nothing is replayed: look again now that events flow.
          if (!resumable) this.#snapshot(ending.signal).catch(stop);
        },
        onevent: (event) => this.#event(event, ending),
        signal: ending.signal,
      });
      return null;
    } catch (error) {
      return failure ?? (error instanceof ApiError ? error : null);
    } finally {
      clearInterval(checks);
      this.#ending.signal.removeEventListener("abort", stop);
    }
  }

  /** Take what `calls` answers; events that come meanwhile are applied to it afterwards. */
  async #snapshot(signal) {
    this.#buffer = [];
    try {
      const response = await this.api.get("calls", {}, { signal });
      const date = Date.parse(response.headers.get("Date"));
      const { data, last_event_id: lastId } = await response.json();
      if (date) this.skew = date + 500 - Date.now();
      this.#lastId ||= lastId ?? "";
      this.calls = new Map(data.map((call) => [call.Linkedid, call]));
      this.onchange(null, null);
    } finally {
      const waiting = this.#buffer;
      this.#buffer = null;
      waiting.forEach((envelope) => this.#apply(envelope));
    }
  }

  #event({ id, event, data }, ending) {
    if (id) this.#lastId = id;
    if (event === "stream.reset") {
      // Events were lost; what lives now is asked for anew.
      this.#snapshot(ending.signal).catch(() => ending.abort());
      return;
    }
    let envelope;
    try {
      envelope = JSON.parse(data);
    } catch {
      return;
    }
    if (this.#buffer) this.#buffer.push(envelope);
    else this.#apply(envelope);
  }

  #apply({ type, data: call }) {
    if (!call?.Linkedid) return;
    if (call.State === "ended") this.calls.delete(call.Linkedid);
    else this.calls.set(call.Linkedid, call);
    this.onchange(type, call);
  }

  #wait(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      const now = () => (clearTimeout(timer), resolve());
      window.addEventListener("online", now, { once: true });
      this.#ending.signal.addEventListener("abort", now, { once: true });
    });
  }
}
