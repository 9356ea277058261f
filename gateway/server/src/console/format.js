// Numbers with their units, always in the same way. A figure that is not known is a dash.

const DASH = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Three significant digits, without an exponent. */
export function short(value) {
  if (!isNumber(value)) return DASH;
  const size = Math.abs(value);
  if (size >= 100) return whole.format(value);
  if (size === 0) return "0";
  const digits = Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(size))));
  return new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value);
}

export const count = (value) => (isNumber(value) ? whole.format(value) : DASH);

export const rate = (value) => (isNumber(value) ? `${short(value)} requests/s` : DASH);

/** Dollars: cents where they matter, three significant digits below. */
export function usd(value) {
  if (!isNumber(value)) return DASH;
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size >= 1000) return `${sign}$${whole.format(size)}`;
  if (size >= 1 || size === 0) return `${sign}$${size === 0 ? "0" : size.toFixed(2)}`;
  return `${sign}$${size.toFixed(Math.min(12, 2 - Math.floor(Math.log10(size))))}`;
}

/** Dollars on an axis, where zeros at the end only take room. */
export const usdTick = (value) => `$${short(value)}`;

export function ms(value) {
  if (!isNumber(value)) return DASH;
  if (Math.abs(value) >= 10_000) return `${short(value / 1000)} s`;
  if (Math.abs(value) >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return `${short(value)} ms`;
}

export const mib = (value) => (isNumber(value) ? `${whole.format(value)} MiB` : DASH);

export function percent(share) {
  if (!isNumber(share)) return DASH;
  const value = share * 100;
  if (Math.abs(value) >= 10 || value === 0) return `${value.toFixed(0)} %`;
  return `${short(Number(value.toPrecision(2)))} %`;
}

/** A share that is never called certain: 0.9996 is "over 99.9 %". */
export function confidence(share) {
  if (!isNumber(share)) return DASH;
  return share > 0.999 ? "over 99.9 %" : `${(share * 100).toFixed(share > 0.99 ? 1 : 0)} %`;
}

export const processes = (value) => `${count(value)} ${value === 1 ? "process" : "processes"}`;

export const items = (value) => `${count(value)} ${value === 1 ? "item" : "items"}`;

/** A length of time in words. */
export function lasting(seconds) {
  if (!isNumber(seconds)) return DASH;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${short(seconds / 3600)} h`;
  return `${short(seconds / 86_400)} days`;
}

export const clock = (date) => date.toLocaleTimeString("en-GB");

/** Where a batch runs, in few words: MiB × processes. */
export const place = (memory, processCount) => `${mib(memory)} × ${processes(processCount)}`;

/** An operating point as events have it, `rungs: [[largest fill, MiB, processes], …]`. */
export function point(it) {
  const rungs = it.rungs.map(([last, memory, processCount]) => (it.rungs.length > 1 ? `≤ ${count(last)}: ` : "") + `${mib(memory)} × ${count(processCount)}`);
  return `≤ ${items(it.max_batch_size)}, ≤ ${ms(it.max_queue_delay_ms)}, ${rungs.join(", ")}`;
}

/** `snake_case` → words. */
export const words = (name) => String(name).replaceAll("_", " ");
