// Fetches the living part of a page again while somebody looks at it. Without this script the
// page is the same, and its link "Reload" does it.
"use strict";

(() => {
  const live = document.getElementById("live");
  const bar = document.getElementById("refresh");
  if (!live || !bar) return;

  // Milliseconds between two looks: longer if the answer takes long, or does not come.
  const EVERY = 2000;
  const SELDOM = 30000;
  const PATIENCE = 10;
  let wait = EVERY;
  let isAway = false;
  let timer = 0;
  let paused = false;

  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  bar.prepend(status, button);

  function say() {
    button.textContent = paused ? "Go on" : "Pause";
    if (paused) status.textContent = "Paused.";
    else status.textContent = isAway ? "No answer; trying again." : "Live.";
  }

  // What has the focus keeps it, and what was opened stays open, when their like is there again.
  function replace(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const focused = document.activeElement;
    const href = live.contains(focused) ? focused.getAttribute("href") : null;
    for (const details of live.querySelectorAll("details[open][id]")) {
      fresh.querySelector(`#${details.id}`)?.setAttribute("open", "");
    }
    live.replaceChildren(...fresh.childNodes);
    if (href) live.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  }

  function isBusy() {
    const selection = document.getSelection();
    const selects = !selection.isCollapsed && live.contains(selection.anchorNode);
    const focused = document.activeElement;
    return selects || (live.contains(focused) && focused.tagName !== "A");
  }

  async function refresh() {
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { "x-fragment": "live" } });
      if (!answer.ok || answer.redirected) throw new Error(answer.status);
      const html = await answer.text();
      if (!paused && !isBusy()) replace(html);
      isAway = false;
      wait = Math.max(EVERY, PATIENCE * (performance.now() - began));
    } catch {
      isAway = true;
      wait = Math.min(wait * 2, SELDOM);
    }
    say();
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, wait);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    say();
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  say();
  plan();
})();
