// Requests to the public API: the key goes in a header, every failure becomes an ApiError.

// The methods lie beside `console`, wherever a web server has put them.
export const BASE = location.pathname.replace(/\/+console\/*$/, "/");

// Failures by which a key opens nothing any more, whatever is requested.
const WITHDRAWN = new Set(["missing_key", "unknown_key", "user_disabled", "user_expired", "address_denied"]);

/** An answer that is no success: `status` (0: no answer came), the API's `code` and `detail`. */
export class ApiError extends Error {
  constructor(status, code, detail = "", retryAfter = 0) {
    super(detail || code);
    Object.assign(this, { status, code, detail, retryAfter });
  }

  /** True when the key itself is refused. */
  get withdrawn() {
    return WITHDRAWN.has(this.code);
  }
}

export class Api {
  /** `onwithdrawn(error)` is called when the key is refused. */
  constructor(key, onwithdrawn) {
    this.key = key;
    this.onwithdrawn = onwithdrawn;
  }

  /** The successful Response of a GET. Raises ApiError, and AbortError when `signal` ends it. */
  async get(method, params = {}, { headers = {}, signal } = {}) {
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
    const target = `${BASE}${method}${query.size ? `?${query}` : ""}`;
    let response;
    try {
      response = await fetch(target, { headers: { "X-API-Key": this.key, ...headers }, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "offline");
    }
    if (response.ok) return response;
    const failure = await failureOf(response);
    if (failure.withdrawn) this.onwithdrawn?.(failure);
    throw failure;
  }

  /** The whole JSON body of a GET. Raises ApiError. */
  async json(method, params, options) {
    const response = await this.get(method, params, options);
    try {
      return await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "offline"); // the answer broke off
    }
  }

  /** What a JSON answer carries in `data`. Raises ApiError. */
  async data(method, params, options) {
    return (await this.json(method, params, options)).data;
  }

  /** Short-lived addresses of a call's recording that need no key: {mp3, wav}. Raises ApiError. */
  async link(uniqueid, ttl) {
    const links = await this.data("link", { uniqueid, ttl });
    // The signature covers the query alone; the page may know the service by another host name.
    const own = (method, url) => `${BASE}${method}${new URL(url, location).search}`;
    return { mp3: own("get_file_mp3", links.mp3), wav: own("get_file_wav", links.wav) };
  }
}

async function failureOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A web server's own page: the status says all.
  }
  return new ApiError(response.status, problem.code ?? `http_${response.status}`, problem.detail, retryAfter);
}
