/* Comfort only: every page works without it. */
"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];

  // Before the first paint, so that the page never flashes in the other theme.
  const ofSystem = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  try {
    const theme = localStorage.getItem("whodid-theme");
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  } catch { /* no storage: the system's theme */ }

  function keepTheme() {
    const input = one("#theme-switch");
    input.checked = (root.dataset.theme ?? ofSystem()) !== ofSystem();
    input.addEventListener("change", () => {
      const other = ofSystem() === "dark" ? "light" : "dark";
      root.dataset.theme = input.checked ? other : ofSystem();
      try { localStorage.setItem("whodid-theme", root.dataset.theme); } catch { /* for this page */ }
    });
  }

  function ago(seconds) {
    const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
    if (minutes < 1) return `${seconds} s ago`;
    if (hours < 1) return `${minutes} min ago`;
    if (hours < 10 && minutes % 60) return `${hours} h ${minutes % 60} min ago`;
    return hours < 48 ? `${hours} h ago` : `${Math.floor(hours / 24)} days ago`;
  }
  function refreshAgo() {
    for (const element of all("[data-ago]")) {
      const seconds = Math.floor((Date.now() - Date.parse(element.dataset.ago)) / 1000);
      if (seconds >= 5 && seconds < 31536000) element.textContent = ago(seconds);
    }
  }

  // The zone of the browser is the one that only the browser knows.
  function offerZones() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const link of zone ? all("[data-browser-zone]") : []) {
      const url = new URL(link.href);
      url.searchParams.set("tz", zone);
      link.href = url;
      link.lastElementChild.textContent = zone;
      link.parentElement.hidden = false;
    }
    one("#zone")?.addEventListener("focus", () => {
      const names = one("#zone-names");
      if (!names.childElementCount)
        names.append(...Intl.supportedValuesOf("timeZone").map((name) => new Option(name, name)));
    });
  }

  function openMenu(menu, first) {
    for (const other of all("details.menu[open]")) other.open = other === menu;
    menu.open = true;
    first.focus();
  }

  function onClick(event) {
    const { target } = event;
    const chip = event.altKey && target.closest(".chips .chip");
    if (chip) {
      event.preventDefault();
      location.assign(chip.querySelector(".turn").href);
    } else if (target.closest(".list .zone")) {
      event.preventDefault();
      return openMenu(one("details.zones"), one("#zone"));
    }
    for (const menu of all("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
  }

  function walkRows(step) {
    const rows = all(".list .go");
    const here = rows.indexOf(document.activeElement);
    const next = here < 0 ? rows[step > 0 ? 0 : rows.length - 1] : rows[here + step];
    next?.focus({ preventScroll: true });
    next?.closest("tr").scrollIntoView({ block: "nearest" });
  }

  function onKey(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const menu = one("details.menu[open]");
    const isTyping = target.matches?.("input:not([type=checkbox])");
    if (key === "Escape" && menu) {
      menu.open = false;
      menu.firstElementChild.focus();
    } else if (key === "Escape") {
      if (isTyping) {
        event.preventDefault(); // else a box for searches forgets what was typed
        target.blur();
      } else one("[data-key=Escape]")?.click();
    } else if (key === "/" && !isTyping && one("#q")) {
      event.preventDefault();
      one("#q").focus();
      one("#q").select();
    } else if (key === "?" && !isTyping) {
      event.preventDefault();
      const help = one("#help");
      if (help.open) help.open = false;
      else openMenu(help, help.lastElementChild);
    } else if ((key === "j" || key === "k") && !isTyping) {
      if (one("#event")) one(`[data-key=${key}]`)?.click();
      else walkRows(key === "j" ? 1 : -1);
    }
  }

  // An event opens with the focus on it, and closes with the focus on its row. After the browser
  // has gone to the address's fragment, for that takes the focus away.
  addEventListener("load", () => setTimeout(() => {
    const row = document.getElementById(location.hash.slice(1))?.querySelector(".go");
    (one("#event") ?? row)?.focus({ preventScroll: true });
  }));

  document.addEventListener("DOMContentLoaded", () => {
    keepTheme();
    offerZones();
    setInterval(refreshAgo, 60000);
    document.addEventListener("keydown", onKey);
    document.addEventListener("click", onClick);
  });
})();
