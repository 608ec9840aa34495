// CSV as get_log_cdr writes it, of calls that are filtered by what only the page knows.

const FORMULA = /^[=+\-@\t\r]/;
const NUMBER = /^[+-]?\d+(\.\d+)?$/;

/** RFC 4180 with a header line and a BOM; a value that a spreadsheet would run gets a `'` in front. */
export function csvOf(rows) {
  const names = Object.keys(rows[0] ?? {});
  const lines = [names, ...rows.map((row) => names.map((name) => row[name] ?? ""))];
  return `\uFEFF${lines.map((values) => values.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  const safe = FORMULA.test(value) && !NUMBER.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
