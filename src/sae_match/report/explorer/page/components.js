"use strict";

/* What hangs together between two layers: a list of components, and a drawing of one. */
Explorer.components = (() => {
  const { byId, element, format, model, relations } = Explorer;
  const AT_A_TIME = 50;
  const ROW = 26;
  const WIDE = 120;
  const IN_VIEW = 240;
  let most = AT_A_TIME;
  let asked = 0;

  const box = byId("components-box");

  /** Offer the pairs that there are; once. */
  function offer() {
    byId("components").hidden = !model.relations.length;
    byId("rel-pair").replaceChildren(...model.relations.map((of, number) =>
      element("option", { value: String(number) }, relations.layersOf(of).join(" → "))));
    byId("components-told").textContent = model.relations.length === 1 ? counted(model.relations[0]) : `of ${format.count(model.relations.length)} pairs of layers`;
  }

  const counted = ({ counts }) => counts.filter(([, count]) => count).map(([name, count]) => `${format.count(count)} ${name}`).join(", ");

  /** Show the list and the component that are chosen, if the view is unfolded. */
  async function show(keep = false) {
    if (!model.relations.length) return;
    const mine = ++asked;
    const begun = performance.now();
    if (!keep) most = AT_A_TIME;
    const { rel, relkind, relsort, comp } = Explorer.state.get();
    const open = rel !== "" && Number(rel) < model.relations.length;
    if (box.open !== open) box.open = open;
    byId("components-told").hidden = open;
    if (!open) return;
    const found = await relations.load(Number(rel));
    if (mine !== asked) return;
    byId("rel-pair").value = rel;
    byId("rel-kind").value = relkind;
    byId("rel-sort").value = relsort;
    byId("components-counts").textContent = `${counted(found.of)}. Edges at a level of ${format.share(found.of.alpha)}; an edge is as strong as the cosine after whitening, and dark where it is matched.`;
    list(found, relkind, relsort, comp);
    draw(found, comp, mine);
    await Explorer.painted();
    performance.measure("explorer-components", { start: begun, end: performance.now() });
  }

  function list(found, relkind, relsort, comp) {
    const kind = relkind === "" ? null : Number(relkind);
    const single = kind === relations.APPEAR || kind === relations.END;
    const items = single ? features(found, kind) : components(found, kind, relsort);
    const place = byId("components-list");
    place.replaceChildren(...[...items.slice(0, most)].map((one) => element("li", {}, single ? featureButton(one) : componentButton(found, one, comp))));
    byId("components-more").hidden = items.length <= most;
    byId("components-count").textContent = `${format.count(items.length)} ${single ? "features" : items.length === 1 ? "component" : "components"}${items.length > most ? `, the first ${format.count(most)} shown` : ""}`;
  }

  /** Numbers of the components of a kind, the largest or the surest first. */
  function components(found, kind, relsort) {
    const items = [];
    found.kind.forEach((of, number) => { if (kind === null || of === kind) items.push(number); });
    const key = relsort === "surest" ? found.weakest : found.size;
    return Uint32Array.from(items).sort((left, right) => key[right] - key[left] || left - right);
  }

  function features(found, kind) {
    const { side, features: those } = relations.single(found, kind);
    const layer = model.layers[side === 0 ? found.of.source : found.of.target];
    return those.sort((left, right) => layer.active[right] - layer.active[left]).map((feature) => format.feature(layer.layer, feature));
  }

  const featureButton = (name) => Explorer.opener(name);

  function componentButton(found, number, comp) {
    const edges = relations.within(found, number);
    const [sources, targets] = [found.source, found.target].map((ends) => new Set(edges.length > found.of.drawn ? [] : [...edges].map((edge) => ends[edge])));
    const size = found.size[number];
    const told = size > found.of.drawn ? `${format.count(size)} features: too many to draw` : `${sources.size} → ${targets.size} features`;
    const button = element("button", { type: "button", class: "choice", "aria-pressed": String(String(number) === comp) },
      element("strong", {}, relations.KINDS[found.kind[number]]), ` of ${model.layers[found.of.source].layer}/${found.source[edges[0]]}: ${told}, weakest edge ${format.cosine(found.weakest[number])}`);
    button.addEventListener("click", () => Explorer.state.set({ comp: String(number) }));
    return button;
  }

  /** A component: the first layer's features to the left, the second's to the right, and an edge as strong as its cosine after whitening. */
  function draw(found, comp, mine) {
    const place = byId("component-drawing");
    const number = Number(comp);
    if (comp === "" || number >= found.kind.length) {
      place.replaceChildren(element("p", { class: "hint" }, "Choose a component to see what hangs together."));
      return;
    }
    const edges = [...relations.within(found, number)];
    const kind = relations.KINDS[found.kind[number]];
    const title = element("p", { class: "told" }, element("strong", {}, kind), ` of ${format.count(found.size[number])} features, ${format.count(edges.length)} ${edges.length === 1 ? "edge" : "edges"}${coverage(found, number)}`);
    if (found.size[number] > found.of.drawn) {
      place.replaceChildren(title, element("p", { class: "hint" }, `More than ${found.of.drawn} features are told of, not drawn: nothing could be read of them.`));
      return;
    }
    const sides = found.ends.map((ends) => [...new Set(edges.map((edge) => ends[edge]))]);
    const height = ROW * Math.max(...sides.map((side) => side.length));
    // The shorter side stays in view where the longer one has to be scrolled.
    const y = sides.map((side) => {
      const span = Math.min(height, Math.max(IN_VIEW, ROW * side.length));
      return new Map(side.map((feature, at) => [feature, ((at + 0.5) * span) / side.length]));
    });
    const names = relations.layersOf(found.of);
    const columns = [0, 1].map((side) => column(found, side, sides[side], y[side], height, names[side]));
    place.replaceChildren(title, element("div", { class: "drawing" }, columns[0], lines(found, edges, y, height), columns[1]));
    fill(place, found, mine);
  }

  const coverage = (found, number) => found.onText.filter(({ coverage: of }) => !Number.isNaN(of[number])).map(({ dataset, coverage: of, coverageControl }) =>
    `; of the parent's tokens of ${dataset} ${format.share(of[number])} have a child${Number.isNaN(coverageControl[number]) ? "" : ` (at random ${format.share(coverageControl[number])})`}`).join("");

  function column(found, side, features, y, height, name) {
    const index = side === 0 ? found.of.source : found.of.target;
    const nodes = features.map((feature) => {
      const label = element("span", { class: "words", "data-label": `${index}/${feature}`, dir: "auto" }, Explorer.search.labelOf(index, feature) ?? "…");
      return element("div", { class: "node", style: `top: ${y.get(feature) - ROW / 2}px` }, Explorer.opener(format.feature(model.layers[index].layer, feature)), label);
    });
    return element("div", { class: "side" }, element("p", { class: "of" }, `layer ${name}`), element("div", { style: `height: ${height}px` }, ...nodes));
  }

  function lines(found, edges, y, height) {
    const svg = (tag, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      return made;
    };
    const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${height}`, height, preserveAspectRatio: "none", role: "img", "aria-label": `${edges.length} edges` });
    for (const edge of edges) {
      const [from, to] = [y[0].get(found.source[edge]), y[1].get(found.target[edge])];
      const line = svg("path", { d: `M0 ${from}C${WIDE / 2} ${from} ${WIDE / 2} ${to} ${WIDE} ${to}`, "stroke-width": 1 + 4 * Math.max(0, found.whitened[edge]), class: found.matched[edge] ? "matched" : "" });
      const title = svg("title", {});
      title.textContent = `statistic ${format.cosine(found.statistic[edge])}, whitened ${format.cosine(found.whitened[edge])}, q ${format.q(found.q[edge])}${found.matched[edge] ? ", matched" : ""}`;
      line.append(title);
      drawing.append(line);
    }
    return drawing;
  }

  /** What the features of a drawing fire on, which may have to be read. */
  async function fill(place, found, mine) {
    await Promise.all([found.of.source, found.of.target].map((index) => Explorer.search.labels(index)));
    if (mine !== asked) return;
    for (const label of place.querySelectorAll("[data-label]")) {
      const [index, feature] = label.dataset.label.split("/").map(Number);
      label.textContent = Explorer.search.labelOf(index, feature) || format.dash;
    }
  }

  for (const [id, key] of [["rel-pair", "rel"], ["rel-kind", "relkind"], ["rel-sort", "relsort"]]) {
    byId(id).addEventListener("input", () => Explorer.state.set({ [key]: byId(id).value, comp: "" }));
  }
  byId("components-more").addEventListener("click", () => {
    most += AT_A_TIME;
    show(true);
  });
  box.addEventListener("toggle", () => {
    const { rel } = Explorer.state.get();
    if (box.open && rel === "") Explorer.state.set({ rel: "0" });
    else if (!box.open && rel !== "") Explorer.state.set({ rel: "", comp: "" });
  });

  return { offer, show };
})();
