// What a view shows when it has no data to show, and why.

import { el, notice } from "./dom.js";
import { t } from "./texts.js";

const KNOWN = {
  pbx_unavailable: ["pbxGone", "pbxGoneHint"],
  cdr_unavailable: ["databaseGone", "databaseGoneHint"],
  too_many_streams: ["liveGone", "tooMany"],
};

/** [heading, hint] of a failure. */
export function failureTexts(error) {
  const known = KNOWN[error.code];
  if (known) return known.map((name) => t(name));
  if (error.status === 0) return [t("offline"), ""];
  return [t("failed", { detail: error.detail || error.code }), ""];
}

/** A notice of a failure with a button that tries again. */
export function failureNotice(error, retry) {
  const again = el("button", { type: "button", onclick: retry }, t("retry"));
  return notice("refresh", ...failureTexts(error), again);
}

export function loading() {
  return el("p", { class: "loading", role: "status" }, t("loading"));
}
