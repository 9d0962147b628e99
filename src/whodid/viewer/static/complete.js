/* What may be typed next, below the search box. Without this the box works as any other. */
"use strict";
(() => {
  const PAUSE_MS = 150; // between a key and the question: who types fast asks once
  const box = document.querySelector("#q"), pop = document.querySelector("#complete");
  if (!box || !pop) return;

  let timer = 0, request, asked = "", step = "";
  const options = () => [...pop.querySelectorAll("[role=option]")];
  const chosen = () => pop.querySelector("[aria-selected=true]");

  box.setAttribute("role", "combobox");
  box.setAttribute("aria-autocomplete", "list");
  box.setAttribute("aria-expanded", "false");
  box.setAttribute("aria-controls", "options");

  function close() {
    clearTimeout(timer);
    request?.abort();
    pop.hidden = true;
    pop.replaceChildren();
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  function show(found) {
    if (!found || document.activeElement !== box) return close();
    pop.replaceChildren(document.adoptNode(found));
    pop.hidden = false;
    box.setAttribute("aria-expanded", "true");
    box.removeAttribute("aria-activedescendant");
  }

  async function ask() {
    clearTimeout(timer);
    request?.abort();
    const mine = request = new AbortController();
    asked = box.value;
    const url = new URL(box.form.dataset.complete, location.href);
    url.searchParams.set("typed", asked);
    url.searchParams.set("at", String(box.selectionStart));
    if (step) url.searchParams.set("step", step);
    try {
      const answer = await fetch(url, { signal: mine.signal });
      const text = answer.ok ? await answer.text() : "";
      if (!mine.signal.aborted)
        show(new DOMParser().parseFromString(text, "text/html").body.firstElementChild);
    } catch {
      if (!mine.signal.aborted) close();
    }
  }

  function choose(option) {
    chosen()?.setAttribute("aria-selected", "false");
    if (!option) return box.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    box.setAttribute("aria-activedescendant", option.id);
  }

  function walk(by) {
    const all = options();
    const place = all.indexOf(chosen()) + by;
    // One place beyond either end is the box itself.
    choose(place === -2 ? all.at(-1) : all[place]);
  }

  const opposite = (term) => (term.startsWith("-") ? term.slice(1) : `-${term}`);

  function take(option, isExcluded) {
    if (box.value !== asked) return void ask(); // an answer to what is no longer there
    const { insert, next } = option.dataset;
    const { start, end } = pop.firstElementChild.dataset;
    const isDone = !next && !insert.endsWith(".");
    const rest = box.value.slice(Number(end));
    const blank = isDone && !/^[\s),]/.test(rest) ? " " : "";
    box.setRangeText((isExcluded ? opposite(insert) : insert) + blank, Number(start), Number(end), "end");
    box.focus();
    step = next;
    if (isDone) close();
    else ask();
  }

  box.addEventListener("input", () => {
    step = "";
    clearTimeout(timer);
    request?.abort();
    timer = setTimeout(ask, PAUSE_MS);
  });
  box.addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.isComposing) return;
    if (pop.hidden) {
      if (key !== "ArrowDown") return;
      ask();
    } else if (key === "ArrowDown" || key === "ArrowUp") walk(key === "ArrowDown" ? 1 : -1);
    else if (key === "Escape") close();
    else if ((key === "Enter" || key === "Tab" && !event.shiftKey) && chosen())
      take(chosen(), key === "Enter" && event.altKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("blur", close);
  box.form.addEventListener("submit", close);
  pop.addEventListener("pointerdown", (event) => event.preventDefault()); // the box keeps the focus
  pop.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) take(option, event.altKey);
  });
})();
