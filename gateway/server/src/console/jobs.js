// Bulk jobs of the gateway: how far they are, what they cost, and what live traffic leaves them.

import { html, section, setText, table } from "./dom.js";
import { clock, count, lasting, percent, short, usd, words } from "./format.js";

const WHY = {
  left: "live traffic leaves so many",
  weight: "both want more than there is: jobs have their weight",
  risk: "live traffic is late or throttled: jobs are held back",
  starved: "jobs had nothing for long: they get a little",
};

export function jobsSection() {
  const { root, body } = section("jobs", "Bulk jobs", "How far are jobs, what do they cost, and what may they use? Jobs are the whole gateway's, of all models.", "wide");
  const share = html("p");
  const none = html("p", { class: "empty" });
  const rows = table("Bulk jobs, running ones first", [
    "Job", "Model", "State", "Progress", { text: "Lines", number: true }, { text: "Without an answer", number: true }, { text: "Items/s", number: true }, { text: "Left", number: true }, { text: "Dollars", number: true }, "Created",
  ]);
  body.append(share, none, rows.root);

  function update({ gateway, jobs }) {
    const has = gateway.has_jobs && jobs !== null && jobs.jobs.length > 0;
    none.hidden = has;
    rows.root.hidden = !has;
    share.hidden = !gateway.has_jobs || jobs === null;
    if (!gateway.has_jobs) setText(none, "Bulk jobs are off. They appear here once the configuration has a [bulk] section with a directory.");
    else if (!has) setText(none, "No jobs. One appears when it is created through /v1/batches.");
    if (jobs === null) return;
    setText(share, `Jobs use ${count(jobs.share.in_flight)} of ${count(jobs.share.allowed_invocations)} invocations that they may have now: ${WHY[jobs.share.why] ?? words(jobs.share.why)}.`);
    rows.setRows(jobs.jobs.map((job) => {
      const done = job.lines ? (job.completed + job.failed) / job.lines : 0;
      const bar = html("progress", { max: "1", value: String(done), "aria-label": `${percent(done)} of the lines` });
      const state = job.failure ? `${words(job.state)}: ${job.failure.message}` : words(job.state);
      const budget = job.max_usd === null ? "" : ` of ${usd(job.max_usd)}`;
      return [
        html("code", null, job.id), job.model, state, html("span", { class: "progress" }, bar, percent(done)), `${count(job.completed + job.failed)} of ${count(job.lines)}`, count(job.failed),
        job.items_per_second ? short(job.items_per_second) : "–", job.seconds_left === null ? "–" : lasting(job.seconds_left), `${usd(job.usd)}${budget}${job.is_estimate ? ", part estimated" : ""}`, clock(new Date(job.created_unix_ms)),
      ];
    }));
  }
  return { root, update };
}
