/* The chart: one stop of the Tab key, arrows from bar to bar, and a stretch of time to zoom into. */
"use strict";
(() => {
  const chart = document.querySelector(".chart");
  if (!chart) return;

  const svg = chart.firstElementChild, brush = chart.querySelector(".brush");
  const [veil, ...sides] = brush.children;
  const bars = [...chart.querySelectorAll("a")];
  const edges = chart.dataset.edges.split(" "), totals = chart.dataset.totals.split(" ").map(Number);
  const said = document.querySelector(".brushed"), button = document.querySelector("#brush-zoom");
  const DRAGGED_PX = 5;
  let anchor = null, pressed = null, isDragged = false;

  const place = (bar) => Number(bar.dataset.place);
  const bucketAt = (x) => {
    const { left, width } = svg.getBoundingClientRect();
    return Math.min(Math.max(Math.floor((x - left) / width * totals.length), 0), totals.length - 1);
  };

  function timeFormat() {
    const shape = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    try {
      return new Intl.DateTimeFormat("en-GB", { ...shape, timeZone: chart.dataset.zone });
    } catch {
      return new Intl.DateTimeFormat("en-GB", { ...shape, timeZone: "UTC", timeZoneName: "short" });
    }
  }
  const format = timeFormat();

  function show(one, other) {
    const first = Math.min(one, other), last = Math.max(one, other), step = 100 / totals.length;
    const ends = [first * step, (last + 1) * step];
    veil.setAttribute("x", `${ends[0]}%`);
    veil.setAttribute("width", `${ends[1] - ends[0]}%`);
    sides.forEach((side, index) => {
      for (const name of ["x1", "x2"]) side.setAttribute(name, `${ends[index]}%`);
    });
    brush.setAttribute("visibility", "visible");
    const count = totals.slice(first, last + 1).reduce((sum, total) => sum + total, 0);
    const time = format.formatRange(new Date(edges[first]), new Date(edges[last + 1]));
    said.textContent = `${time}: ${count.toLocaleString("en")} ${count === 1 ? "event" : "events"}`;
    said.hidden = button.hidden = false;
    const url = new URL(chart.dataset.zoom, location.href);
    url.searchParams.set("from", edges[first]);
    url.searchParams.set("to", edges[last + 1]);
    button.href = url;
  }

  function clear() {
    anchor = null;
    brush.setAttribute("visibility", "hidden");
    said.hidden = button.hidden = true;
    said.textContent = "";
  }

  function step(from, to, isStretch) {
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
    if (!isStretch) return clear();
    anchor ??= place(from);
    show(anchor, place(to));
  }

  bars.forEach((bar, index) => {
    bar.tabIndex = index ? -1 : 0;
    bar.addEventListener("keydown", (event) => {
      const places = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: bars.length - 1 };
      const next = bars[places[event.key] ?? -1];
      if (next) step(bar, next, event.shiftKey);
      else if (event.key === "Enter" && anchor !== null) button.click();
      else if (event.key === "Escape" && anchor !== null) clear();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  });

  svg.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    pressed = event.clientX;
    isDragged = false;
  });
  svg.addEventListener("pointermove", (event) => {
    if (pressed === null || !isDragged && Math.abs(event.clientX - pressed) < DRAGGED_PX) return;
    if (!isDragged) svg.setPointerCapture(event.pointerId);
    isDragged = true;
    show(bucketAt(pressed), bucketAt(event.clientX));
  });
  svg.addEventListener("pointerup", () => {
    if (pressed !== null && isDragged) button.click();
    pressed = null;
  });
  svg.addEventListener("pointercancel", () => {
    pressed = null;
    clear();
  });
  // What was dragged is no click on the bar where it ended.
  svg.addEventListener("click", (event) => {
    if (isDragged) event.preventDefault();
    isDragged = false;
  }, true);
})();
