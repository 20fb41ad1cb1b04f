"use strict";

/* The list of features that a search and the filters leave. */
Explorer.results = (() => {
  const { byId, element, format, model, search, judged } = Explorer;
  const AT_A_TIME = 200;
  const IN_VIEW = 8;
  const list = byId("results");
  const query = byId("query");

  let most = AT_A_TIME;
  let found = [];
  let active = -1;
  let asked = 0;

  /** Search again and show what is found; `keep` leaves the list as long as it is. */
  async function show(keep = false) {
    const mine = ++asked;
    if (!keep) most = AT_A_TIME;
    const begun = performance.now();
    const answer = await search.find(filters(), most, (done, all) => {
      if (mine === asked) byId("count").textContent = `Loading descriptions, layer ${done} of ${all} …`;
    });
    // A newer question has been asked meanwhile.
    if (mine !== asked) return;
    const before = active;
    found = answer.found;
    list.replaceChildren(...found.map(option));
    byId("more").hidden = answer.count <= found.length;
    byId("count").textContent = told(answer);
    advise(answer);
    activate(keep ? before : -1);
    list.dataset.query = Explorer.state.get().q;
    const opened = Explorer.path.suggest(found[0]);
    mark();
    await Promise.all([fillLabels(mine), Explorer.painted()]);
    performance.measure("explorer-search", { start: begun, end: performance.now() });
    await opened;
  }

  function filters() {
    const state = Explorer.state.get();
    const place = (value, otherwise) => {
      const index = value === "" ? -1 : model.indexOf(value);
      return index < 0 ? otherwise : index;
    };
    return {
      query: state.q,
      from: place(state.from, 0),
      to: place(state.to, model.layers.length - 1),
      mostCost: state.cost === "" ? null : Number(state.cost),
      leastActive: Number(state.active) / 100,
      kind: isOffered("kind", state.kind) ? state.kind : Explorer.state.DEFAULTS.kind,
      sort: isOffered("sort", state.sort) ? state.sort : Explorer.state.DEFAULTS.sort,
    };
  }

  /** Whether a page with these data has a choice that another copy may have. */
  const isOffered = (control, value) => [...byId(control).options].some((option) => option.value === value);

  function told({ count, hidden, missing }) {
    if (missing) return `There is no feature ${missing} here.`;
    const features = `${format.count(count)} ${count === 1 ? "feature" : "features"}`;
    const shown = found.length < count ? `, the first ${format.count(found.length)} shown` : "";
    return features + shown + (hidden ? `; the filters hide ${format.count(hidden)}` : "");
  }

  /** How to ask for more or less than was found. */
  function advise({ count, hidden, missing, words, whole }) {
    const asked = Explorer.state.get().q.trim();
    const parts = count - whole;
    let said = "";
    if (count === 0 && missing === null) {
      const inner = words.some(({ exact }) => exact)
        ? "Without quotes, longer words that hold it are found as well."
        : "Try fewer words, or the beginning of one.";
      said = hidden
        ? "The filters hide all there are: “Reset filters” shows them."
        : `No feature fires on ${words.map(({ text }) => `“${text}”`).join(" and ")} in the evaluated text, as far as its strongest contexts and its description tell. ${inner}`;
    } else if (words.length && whole && parts) {
      const exact = asked.includes('"') ? "" : ` For whole words only, put it in quotes: ${words.map(({ text }) => `"${text}"`).join(" ")}.`;
      said = `${format.count(whole)} with the whole word, then ${format.count(parts)} with longer ones.${exact}`;
    } else if (words.length && parts) said = "None has it as a whole word: these have longer ones.";
    byId("advice").textContent = said;
    byId("advice").hidden = !said;
  }

  /** Tokens on which a feature is active, in words. */
  const activity = (layer, feature) => format.tokens(layer.active[feature], layer.tokens);

  function option({ index, feature }, at) {
    const layer = model.layers[index];
    const live = layer.active[feature] > 0;
    const said = judged.LABELS[judged.label(index, feature)];
    const numbers = live
      ? `active on ${activity(layer, feature)} · ${costOf(index, feature)} · ${qOf(index, feature)}`
        + format.layers(layer.length[feature]) + (said ? ` · judged ${said}` : "")
      : "never active";
    const row = element("li", { id: `result-${at}`, role: "option", "aria-selected": "false", class: live ? undefined : "dead" },
      element("span", { class: "feature" }, format.feature(layer.layer, feature)),
      element("span", { class: "words", dir: "auto" }, search.labelOf(index, feature) ?? "…"),
      element("span", { class: "numbers" }, numbers));
    row.addEventListener("click", () => { activate(at); open(at); });
    return row;
  }

  /** q of the same pair, where it was judged. */
  function qOf(index, feature) {
    const q = model.layers[index].pairQ[feature];
    return Number.isNaN(q) ? "" : `q\u00a0${format.q(q)} · `;
  }

  /** What the pair costs that filters and orders look at. */
  function costOf(index, feature) {
    const layer = model.layers[index];
    if (Number.isNaN(layer.pairCost[feature])) return "no partner";
    return `cost ${format.number(layer.pairCost[feature])} ${layer.next?.[feature] >= 0 ? "onward" : "from before"}`;
  }

  /** Fill in labels of layers that have not been read yet; resolves when those in view are there. */
  async function fillLabels(mine) {
    const layers = (rows) => [...new Set(rows.map(({ index }) => index))];
    const missing = (index) => search.labelOf(index, 0) === undefined;
    const fill = async (index) => {
      await search.labels(index);
      if (mine === asked) fillLabelsOf(index);
    };
    await Promise.all(layers(found.slice(0, IN_VIEW)).filter(missing).map(fill));
    readRest(layers(found).filter(missing), fill);
  }

  /** One after another, so that whatever else is asked for meanwhile is not held up. */
  async function readRest(layers, fill) {
    for (const index of layers) {
      await Explorer.path.opened();
      await fill(index);
    }
  }

  function fillLabelsOf(layer) {
    found.forEach(({ index, feature }, at) => {
      if (index === layer) list.children[at].querySelector(".words").textContent = search.labelOf(index, feature);
    });
  }

  function activate(at) {
    list.querySelector(".active")?.classList.remove("active");
    active = Math.min(at, found.length - 1);
    const row = list.children[active];
    for (const owner of [list, query]) {
      if (row) owner.setAttribute("aria-activedescendant", row.id);
      else owner.removeAttribute("aria-activedescendant");
    }
    row?.classList.add("active");
    row?.scrollIntoView({ block: "nearest" });
  }

  function open(at) {
    const chosen = found[at];
    if (!chosen) return;
    Explorer.state.set({ f: format.feature(model.layers[chosen.index].layer, chosen.feature) });
    Explorer.path.bringIntoView();
  }

  /** Mark the feature that is open. */
  function mark() {
    const f = Explorer.path.chosen();
    found.forEach(({ index, feature }, at) => {
      const isOpen = format.feature(model.layers[index].layer, feature) === f;
      list.children[at].setAttribute("aria-selected", String(isOpen));
    });
  }

  const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") {
      event.preventDefault();
      open(Math.max(active, 0));
      // The keys that go along the path are letters where something is typed.
      list.focus();
    } else if (event.key in STEPS && !(event.currentTarget === query && (event.key === "Home" || event.key === "End"))) {
      event.preventDefault();
      activate(Math.max(0, active + STEPS[event.key]));
    }
  }

  list.addEventListener("keydown", onKey);
  query.addEventListener("keydown", onKey);
  list.addEventListener("focus", () => { if (active < 0 && found.length) activate(0); });
  byId("more").addEventListener("click", () => {
    most += AT_A_TIME;
    show(true);
  });

  return { show, mark };
})();
