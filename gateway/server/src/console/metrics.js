// Prometheus's text format, as far as the console needs it: samples by name, with their labels.

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

const unescape = (text) => text.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter));

/** Samples of a page. */
export class Metrics {
  constructor(text = "") {
    this.samples = new Map();
    for (const line of text.split("\n")) {
      if (line.startsWith("#")) continue;
      const [, name, labels = "", value] = LINE.exec(line) ?? [];
      if (!name) continue;
      const sample = { value: Number(value), labels: {} };
      for (const [, label, text] of labels.matchAll(LABEL)) sample.labels[label] = unescape(text);
      if (!this.samples.has(name)) this.samples.set(name, []);
      this.samples.get(name).push(sample);
    }
  }

  /** The samples of a family that have all of these labels. */
  of(name, labels = {}) {
    const fits = (sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value);
    return (this.samples.get(`penstock_${name}`) ?? []).filter(fits);
  }

  /** Their sum; `undefined` where there is none. */
  sum(name, labels) {
    const found = this.of(name, labels);
    return found.length ? found.reduce((sum, sample) => sum + sample.value, 0) : undefined;
  }

  /** Sums by the values of a label, largest first, without zeros. */
  by(label, name, labels) {
    const sums = new Map();
    for (const sample of this.of(name, labels)) {
      const key = sample.labels[label] ?? "";
      sums.set(key, (sums.get(key) ?? 0) + sample.value);
    }
    return [...sums].filter(([, value]) => value !== 0).sort((one, other) => other[1] - one[1]);
  }
}
