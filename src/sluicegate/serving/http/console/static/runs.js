// The list of runs follows the server: each event has a run's row, or none where it left the list.
"use strict";
(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const said = document.getElementById("live-said");
  const pause = document.getElementById("live-pause");
  const held = new Map();
  let paused = false;
  const tell = () => {
    const waiting = held.size === 1 ? "1 change waits" : `${held.size} changes wait`;
    const text = paused ? (held.size ? `Paused, ${waiting}` : "Paused") : "Live";
    if (said.textContent !== text) said.textContent = text;
  };
  const show = (run, html) => {
    const rows = document.getElementById("rows");
    const old = document.getElementById(`run-${run}`);
    const focused = old?.contains(document.activeElement);
    const made = document.createElement("template");
    made.innerHTML = html;
    const row = made.content.firstElementChild;
    if (old && row) old.replaceWith(row);
    else if (old) old.remove();
    else if (row) {
      // they are as long as a date is in nanoseconds: as texts they have the same order
      const later = [...rows.children].find((each) => each.dataset.at < row.dataset.at);
      if (!later && rows.children.length >= Number(live.dataset.most)) return;
      rows.insertBefore(row, later ?? null);
      if (rows.children.length > Number(live.dataset.most)) rows.lastElementChild.remove();
    }
    if (focused) row?.querySelector("a")?.focus();
    document.querySelector("table.runs").hidden = !rows.children.length;
    document.getElementById("no-runs").hidden = Boolean(rows.children.length);
  };
  live.addEventListener("run", (event) => {
    const { run, row } = JSON.parse(event.detail.data);
    if (paused) held.set(run, row);
    else show(run, row);
    tell();
  });
  live.addEventListener("anew", () => {
    held.clear();
    htmx.ajax("GET", location.href, { target: "#runs", swap: "outerMorph" });
  });
  live.addEventListener("end", () => {
    said.textContent = "Your session has ended";
    pause.hidden = true;
  });
  live.addEventListener("htmx:sse:after:connection", tell);
  live.addEventListener("htmx:sse:error", () => (said.textContent = "Not connected; trying again"));
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) {
      for (const [run, row] of held) show(run, row);
      held.clear();
    }
    tell();
  });
  pause.hidden = false;
})();
