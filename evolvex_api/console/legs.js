// The legs of one call as a table.

import { el, tableHead } from "./dom.js";
import { numberOf } from "./fold.js";
import { clock, t, timeOfDay } from "./texts.js";

const HEAD = ["time", "caller", "callee", "telephone", "duration", "talk", "result"];
const RESULTS = { ANSWERED: "resAnswered", "NO ANSWER": "resNoAnswer", BUSY: "resBusy", FAILED: "resFailed" };

export function legsTable(legs) {
  const rows = legs.map((leg) =>
    el(
      "tr",
      {},
      cells(leg).map((text) => el("td", {}, text || "–")),
    ),
  );
  return el(
    "table",
    { class: "inner" },
    el("caption", {}, t("legs")),
    tableHead(HEAD.map((name) => t(name))),
    el("tbody", {}, rows),
  );
}

function cells(leg) {
  const result = RESULTS[leg.disposition];
  return [
    timeOfDay(leg.start ?? ""),
    leg.src,
    leg.dst,
    numberOf(leg.dstchannel) || leg.lastapp,
    clock(Number(leg.duration)),
    clock(Number(leg.billsec)),
    result ? t(result) : leg.disposition,
  ];
}
