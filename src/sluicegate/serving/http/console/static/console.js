// What pages have beyond forms and links: deadlines that count down, keys, and a button that is pressed once.
"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];

  // --- deadlines: the server says how many seconds are left, so a wrong clock here does not matter ---
  const begun = new WeakMap();
  const left = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    const [d, h, m] = [Math.floor(s / 86400), Math.floor((s % 86400) / 3600), Math.floor((s % 3600) / 60)];
    if (d) return `${d} d ${h} h left`;
    if (h) return `${h} h ${m} min left`;
    return m ? `${m} min ${s % 60} s left` : s ? `${s} s left` : "time is up";
  };
  const count = () => {
    for (const each of all("time[data-seconds]")) {
      const told = each.dataset.seconds;
      if (begun.get(each)?.told !== told) begun.set(each, { told, at: performance.now() });
      const text = left(Number(told) - (performance.now() - begun.get(each).at) / 1000);
      if (each.textContent !== text) each.textContent = text;
    }
  };
  count();
  setInterval(count, 1000);
  document.addEventListener("htmx:after:swap", count);

  // --- a second press while the first one is on its way does nothing ---
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) return event.preventDefault();
    event.target.dataset.sent = "yes";
    event.submitter?.setAttribute("aria-disabled", "true");
  });
  addEventListener("pageshow", () => {
    for (const form of all("form[data-sent]")) delete form.dataset.sent;
    for (const button of all("button[aria-disabled]")) button.removeAttribute("aria-disabled");
  });

  // --- a link to something folded unfolds it ---
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    target.closest("details")?.setAttribute("open", "");
    target.focus();
  };
  addEventListener("hashchange", unfold);
  document.addEventListener("click", (event) => {
    // the same place once more changes no address
    if (event.target.closest?.("a[href^='#passage']")) setTimeout(unfold);
  });

  // --- keys: `data-key` on links, which they follow, and on controls, which they focus; j and k move through
  // `data-item`s. They can be switched off, for who speaks to the machine or hits keys unawares ---
  const OFF = "sluicegate-keys-off";
  const typing = (target) => target.closest?.("input, textarea, select, [contenteditable], dialog");
  const move = (by) => {
    const items = all("[data-item]");
    const here = items.indexOf(document.activeElement);
    items[here < 0 ? (by > 0 ? 0 : items.length - 1) : Math.min(items.length - 1, Math.max(0, here + by))]?.focus();
  };
  const dialog = document.getElementById("keys");
  const single = dialog.querySelector("input");
  single.checked = !localStorage.getItem(OFF);
  single.addEventListener("change", () => {
    if (single.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "yes");
  });
  const help = () => {
    const keys = [["?", "These keys"]];
    if (all("[data-item]").length) keys.push(["j", "Next"], ["k", "Previous"], ["Enter", "Open"]);
    for (const each of all("[data-key]")) keys.push([each.dataset.key, each.dataset.does || each.textContent.trim()]);
    const rows = keys.map(([key, does]) => {
      const row = document.createElement("div");
      const [name, kbd, what] = ["dt", "kbd", "dd"].map((tag) => document.createElement(tag));
      kbd.textContent = key;
      what.textContent = does;
      name.append(kbd);
      row.append(name, what);
      return row;
    });
    dialog.querySelector("dl").replaceChildren(...rows);
    dialog.showModal();
  };
  for (const button of all("[data-help]")) {
    button.hidden = false;
    button.addEventListener("click", help);
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || typing(event.target)) return;
    if (!single.checked) return;
    if (event.key === "?") help();
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else {
      const named = all("[data-key]").find((each) => each.dataset.key === event.key);
      if (!named) return;
      for (let at = named.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
      if (named.matches("a[href]")) named.click();
      else named.focus();
    }
    event.preventDefault();
  });
})();
