// What the page knows of one model: the gateway's past and what came since, within the gateway's own bounds.

const BOUNDS = { windows: 900, plans: 200, decisions: 200, kept: 20, batches: 512 };

/** Everything of one model. `at` values are seconds since the gateway's start. */
export class ModelStore {
  constructor(name) {
    this.name = name;
    this.detail = null;
    this.surface = null;
    this.reset(null);
  }

  reset(started) {
    this.started = started;
    this.now = 0;
    this.last = { history: 0, batches: 0 };
    for (const ring of Object.keys(BOUNDS)) this[ring] = [];
  }

  /** What to ask for next. */
  after(kind) {
    return this.started === null ? "" : `?after=${this.last[kind]}&started_unix_ms=${this.started}`;
  }

  /** Takes an answer in; another process begins anew. */
  take(kind, answer) {
    if (this.started !== answer.started_unix_ms) this.reset(answer.started_unix_ms);
    this.now = Math.max(this.now, answer.now_s);
    this.last[kind] = answer.last;
    for (const [ring, bound] of Object.entries(BOUNDS)) {
      const known = this[ring].at(-1)?.number ?? 0;
      const news = (answer[ring] ?? []).filter((entry) => entry.number > known);
      if (news.length) this[ring] = this[ring].concat(news).slice(-bound);
    }
  }

  date(at) {
    return new Date(this.started + at * 1000);
  }

  /** The windows of the last so many seconds. */
  recent(seconds) {
    const from = this.now - seconds;
    const begin = this.windows.findIndex((window) => window.ended_s > from);
    return begin < 0 ? [] : this.windows.slice(begin);
  }

  /** Decisions of one kind, oldest first. */
  actions(action) {
    return this.decisions.filter((event) => event.what.action === action);
  }
}

/** Sums over windows, with the rates that follow from them. */
export function totals(windows) {
  const sum = (key) => windows.reduce((sum, window) => sum + window[key], 0);
  const seconds = sum("length_s");
  const [answered, cost, shed, failed] = ["answered", "cost_usd", "shed", "failed"].map(sum);
  const ended = answered + shed + failed;
  return {
    seconds, answered, cost, shed, failed, requests: sum("requests"), batches: sum("batches"), items: sum("batch_items"),
    throttled: sum("throttled"), coldStarts: sum("cold_starts"),
    perSecond: seconds ? sum("requests") / seconds : undefined,
    usdPerMillion: answered ? (cost / answered) * 1e6 : undefined,
    usdPerHour: seconds ? (cost / seconds) * 3600 : undefined,
    lateShare: ended ? 1 - sum("within_slo") / ended : undefined,
  };
}
