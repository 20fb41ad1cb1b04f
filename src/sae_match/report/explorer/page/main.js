"use strict";

/* Reads what is needed for the first view, and connects what is chosen with what is shown. */
(() => {
  // What any script of the page is missing for; report.html says so as long as nothing has started.
  const PARTS = ["byId", "loading", "model", "judged", "search", "state", "charts", "flow", "contexts", "steps", "strip", "multiples", "relations", "relatives", "components", "path", "results"];
  if (!window.echarts || typeof Explorer === "undefined" || PARTS.some((part) => !Explorer[part])) return;
  document.documentElement.dataset.started = "yes";

  const { byId, element, format, model, state, flow, results, path, judged, components } = Explorer;
  const CONTROLS = {
    query: "q", from: "from", to: "to", "max-cost": "cost", "min-active": "active", kind: "kind", sort: "sort",
    "level-cut": "level", "cosine-cut": "cosine", "cost-cut": "cut", "few-cut": "few",
  };
  const LISTED = ["q", "from", "to", "cost", "active", "kind", "sort", "level", "cosine", "cut", "few"];
  const TYPING_PAUSE = 120;

  async function start() {
    if (!window.DecompressionStream) throw new Error("this browser is too old for this page: it cannot unpack its data");
    await Promise.all([model.load(), judged.load()]);
    judged.join();
    offerCuts();
    introduce();
    judged.showScores();
    components.offer();
    if (matchMedia("(max-width: 900px)").matches) byId("cuts-box").open = false;
    state.restore();
    state.onChange(onChange);
    connect();
    cut();
    fillControls();
    flow.show();
    components.show().catch(fail);
    // Where no feature is chosen, the list suggests one.
    await Promise.all([results.show(), ...(state.get().f ? [path.show()] : [])]);
    await Explorer.painted();
    performance.mark("explorer-first-view");
    document.documentElement.dataset.ready = "yes";
    readAhead();
  }

  /** The level of the run is among the choices; where nothing was judged, the cosine decides, as it does everywhere. */
  function offerCuts() {
    const select = byId("level-cut");
    const own = String(model.alpha);
    if (![...select.options].some((option) => option.value === own)) {
      select.prepend(element("option", { value: own }, format.share(model.alpha)));
    }
    state.DEFAULTS.level = model.judged ? own : "1";
    state.DEFAULTS.few = String(model.fewest);
    state.DEFAULTS.cosine = model.judged ? "0" : "0.7";
    for (const place of document.querySelectorAll("[data-significance]")) {
      if (!model.judged) place.remove();
    }
  }

  function introduce() {
    byId("title").textContent = model.title;
    const numbers = model.layers.map((layer) => layer.layer);
    const facts = [...model.facts, ["Layers", spans(numbers)], ["Features", format.count(model.features)]];
    byId("facts").replaceChildren(...facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    // Layers of two collections have names.
    if (typeof numbers[0] === "string") byId("as-in").textContent = format.feature(numbers[0], 123);
    warn();
    for (const [id, otherwise] of [["from", numbers[0]], ["to", numbers.at(-1)]]) {
      byId(id).replaceChildren(...numbers.map((number) =>
        element("option", { value: number === otherwise ? "" : String(number) }, String(number))));
    }
  }

  /** What should make the reader wary: open where it is short. */
  function warn() {
    const { warnings } = model;
    byId("warnings").hidden = warnings.length === 0;
    byId("warnings-title").textContent = warnings.length === 1 ? "A warning" : `${warnings.length} warnings`;
    byId("warnings-details").open = warnings.length <= 2;
    byId("warnings-list").replaceChildren(...warnings.map(([says, todo]) => element("li", {}, element("strong", {}, says), ` ${todo}`)));
  }

  /** Runs of layers, as 0–3, 5, 7–9. */
  function spans(numbers) {
    const runs = [];
    for (const number of numbers) {
      // Layers of two collections have names, between which there are no numbers.
      if (runs.length && runs.at(-1)[1] === number - 1) runs.at(-1)[1] = number;
      else runs.push([number, number]);
    }
    return runs.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
  }

  function cut() {
    const chosen = state.get();
    model.cut(Number(chosen.level), Number(chosen.cosine), chosen.cut === "" ? Infinity : Number(chosen.cut), Number(chosen.few));
  }

  function fillControls() {
    const chosen = state.get();
    for (const [id, key] of Object.entries(CONTROLS)) {
      const control = byId(id);
      if (!control) continue;
      // Setting a value moves the cursor of who is typing.
      if (control.value !== chosen[key]) control.value = chosen[key];
      // What another copy of the page offers, and this one does not, is no choice here.
      if (control.tagName === "SELECT" && control.selectedIndex < 0) control.value = state.DEFAULTS[key];
    }
    byId("cosine-shown").textContent = Number(chosen.cosine) > 0 ? Number(chosen.cosine).toFixed(2) : "any";
  }

  function onChange(changed) {
    const has = (...keys) => keys.some((key) => changed.has(key));
    fillControls();
    const redrawn = [];
    const recut = has("level", "cosine", "cut", "few");
    if (recut) cut();
    if (recut || has("flow")) flow.show();
    if (has("rel", "relkind", "relsort", "comp")) redrawn.push(components.show());
    if (has(...LISTED)) redrawn.push(results.show());
    else results.mark();
    if (recut || has("f")) redrawn.push(path.show());
    Promise.all(redrawn).catch(fail);
  }

  function connect() {
    let typing;
    for (const id of Object.keys(CONTROLS).filter(byId)) {
      byId(id).addEventListener("input", () => {
        clearTimeout(typing);
        typing = setTimeout(readControls, id === "query" ? TYPING_PAUSE : 0);
      });
    }
    for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
    byId("reset").addEventListener("click", () => {
      const { from, to, cost, active, kind, sort } = state.DEFAULTS;
      state.set({ from, to, cost, active, kind, sort });
    });
    byId("copy").addEventListener("click", () => copyLink().catch(fail));
    document.querySelector(".skip").addEventListener("click", (event) => {
      // The address holds what is chosen: a jump may not change it.
      event.preventDefault();
      byId("query").focus();
    });
    document.addEventListener("keydown", onKey);
  }

  /** Take up what the controls say, but for numbers that are none. */
  function readControls() {
    const valid = Object.entries(CONTROLS).filter(([id]) => byId(id)?.validity.valid);
    state.set(Object.fromEntries(valid.map(([id, key]) => {
      const { value } = byId(id);
      return [key, value.trim() === "" ? state.DEFAULTS[key] : value];
    })));
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/") {
      event.preventDefault();
      byId("query").focus();
      byId("query").select();
    } else if (event.key === "[") path.move("before");
    else if (event.key === "]") path.move("after");
  }

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      byId("copied").textContent = "Copied.";
    } catch {
      byId("copied").textContent = "This browser does not let a page copy: take the address from its bar.";
    }
  }

  /** While nothing else is to be done, read what the first search needs. */
  async function readAhead() {
    for (let index = 0; index < model.layers.length; index++) {
      await new Promise((resolve) => (window.requestIdleCallback ?? setTimeout)(resolve));
      await path.opened();
      await Explorer.search.labels(index);
    }
    for (let number = 0; number < model.relations.length; number++) {
      await new Promise((resolve) => (window.requestIdleCallback ?? setTimeout)(resolve));
      await Explorer.relations.load(number);
    }
  }

  function fail(error) {
    Explorer.trouble(`Something went wrong: ${error.message}.`);
  }

  window.addEventListener("unhandledrejection", (event) => fail(event.reason));
  start().catch(fail);
})();
