// Rows of the call log become calls: all rows that share a linkedid are the legs of one.

const DIRECTIONS = {
  in: "in",
  inbound: "in",
  incoming: "in",
  out: "out",
  outbound: "out",
  outgoing: "out",
  internal: "internal",
  local: "internal",
};
// The default of [events] inbound_contexts.
const TRUNK = /^(from-trunk|from-pstn|from-did|incoming|inbound)/;

// Rows without any id are calls of their own.
let nameless = 0;

/** Calls in the order in which their first row came; later rows join their call. */
export class Fold {
  calls = new Map();

  /** Add rows; returns the calls that are new or have changed. */
  add(rows) {
    const touched = new Set();
    for (const row of rows) {
      const id = row.linkedid || row.uniqueid || `?${(nameless += 1)}`;
      let call = this.calls.get(id);
      if (!call) this.calls.set(id, (call = { id, legs: [] }));
      call.legs.push(row);
      touched.add(call);
    }
    for (const call of touched) Object.assign(call, summary(call.id, call.legs));
    return touched;
  }
}

/** What a list shows of a call: who called whom, when, how it went. */
export function summary(id, legs) {
  const sorted = [...legs].sort(compareLegs);
  const first = sorted.find((leg) => leg.uniqueid === id) ?? sorted[0];
  const talked = sorted.filter((leg) => leg.disposition === "ANSWERED" && leg.dstchannel);
  const last = talked.at(-1);
  const direction = directionOf(first, sorted);
  const from = first.src || first.cnum || "";
  const to = (direction === "in" && first.did) || first.destination || first.dst || "";
  return {
    start: first.start ?? "",
    direction,
    from,
    to,
    name: nameOf(first),
    answeredBy: last ? numberOf(last.dstchannel) : "",
    result: resultOf(direction, sorted, talked),
    talk: Math.max(0, ...talked.map((leg) => Number(leg.billsec) || 0)),
    wait: Number(first.duration) - Number(first.billsec) || 0,
    outside: direction === "in" ? from : to,
  };
}

/** The number in a channel's name: 101 of PJSIP/101-0000000a, 110 of Local/110@answer-00000001;2. */
export function numberOf(channel) {
  return (channel ?? "")
    .replace(/^[^/]*\//, "")
    .replace(/[@;].*$/, "")
    .replace(/-[0-9a-f]{8}$/, "");
}

function compareLegs(one, other) {
  const order = (one.start ?? "").localeCompare(other.start ?? "");
  return order || Number(one.sequence) - Number(other.sequence) || 0;
}

function nameOf(leg) {
  const name = leg.cnam || /^\s*"(.*)"\s*</s.exec(leg.clid ?? "")?.[1] || "";
  return name === leg.src ? "" : name;
}

// As `stats` counts: what the dialplan wrote, else the contexts of trunks, else the numbers.
function directionOf(first, legs) {
  const said = new Set(legs.map((leg) => DIRECTIONS[(leg.direction ?? "").toLowerCase()]));
  for (const direction of ["in", "out", "internal"]) {
    if (said.has(direction)) return direction;
  }
  if (first.did || legs.some((leg) => TRUNK.test(leg.dcontext ?? ""))) return "in";
  const outside = (number) => /^\+?\d{6,}$/.test(number ?? "");
  if (outside(first.dst)) return "out";
  return outside(first.src) ? "in" : "internal";
}

function resultOf(direction, legs, talked) {
  if (talked.length) return "resAnswered";
  if (legs.some((leg) => leg.disposition === "ANSWERED")) return "resMenu";
  if (direction === "in") return "resMissed";
  const said = new Set(legs.map((leg) => leg.disposition));
  if (said.has("BUSY")) return "resBusy";
  return said.has("NO ANSWER") ? "resNoAnswer" : "resFailed";
}
