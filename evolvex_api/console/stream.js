// Server-sent events (WHATWG HTML, 9.2) by fetch: EventSource cannot send the key in a header.

// The service sends a comment every 15 s; a connection that is silent for longer is dead.
const SILENCE = 40_000;

/** Parses the lines of an event stream: text in, {id, event, data} out. */
export class EventParser {
  #rest = "";
  #data = [];
  #event = "";

  /** Server's wish for the pause before the next connection, ms; null until it says one. */
  retry = null;
  /** The id of the last event that was complete. */
  lastId = "";
  #id = "";

  /** The events that `text` completes. */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.flatMap((line) => this.#line(line) ?? []);
  }

  #line(line) {
    if (line === "") return this.#complete();
    const [, name, value] = /^([^:]*)(?::\s?)?(.*)$/s.exec(line);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id") this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }

  #complete() {
    const event = { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
    this.lastId = this.#id;
    const empty = this.#data.length === 0;
    this.#data = [];
    this.#event = "";
    return empty ? null : event;
  }
}

/**
 * Read one connection to its end: `onevent({id, event, data})` for each event, `onopen()` before the first.
 * Returns the parser's `retry`. Raises ApiError, or AbortError when `signal` ends it.
 */
export async function readEvents(api, lastId, { onopen, onevent, signal }) {
  const dead = new AbortController();
  signal.addEventListener("abort", () => dead.abort(), { once: true });
  if (signal.aborted) dead.abort();
  const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
  let timer = setTimeout(() => dead.abort(), SILENCE);
  try {
    const response = await api.get("events", {}, { headers, signal: dead.signal });
    onopen();
    const parser = new EventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return parser.retry;
      clearTimeout(timer);
      timer = setTimeout(() => dead.abort(), SILENCE);
      parser.push(value).forEach(onevent);
    }
  } finally {
    clearTimeout(timer);
  }
}
