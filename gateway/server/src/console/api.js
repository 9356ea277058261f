// The gateway's answers. Every failure is an error with a text for people; nothing waits for ever.

const PATIENCE_MS = 6000;

/** The gateway answered, with a refusal. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, options) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  const text = await response.text();
  if (response.ok) return text;
  let reason = text;
  try {
    reason = JSON.parse(text).error ?? text;
  } catch {
    // not JSON: the text itself is what there is
  }
  throw new Refused(response.status, reason || response.statusText);
}

export const getText = (path) => ask(path);

export const getJson = async (path) => JSON.parse(await ask(path));

/** Sends a change. */
export async function post(path, body) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) };
  return JSON.parse(await ask(path, options));
}

export const ofModel = (model, rest = "") => `control/models/${encodeURIComponent(model)}${rest}`;
