"use strict";

/* The relations of one feature: parents, children, siblings, and how sure each is. */
Explorer.relatives = (() => {
  const { byId, element, format, model, relations } = Explorer;
  const MOST_LISTED = 24;
  const MOST_CARDS = 8;

  /** Show what is related to a feature in every layer that it was compared with; resolves when it is on the page. */
  async function show(index, feature, isCurrent) {
    const numbers = model.relations.flatMap((of, number) => (of.source === index || of.target === index ? [number] : []));
    byId("relatives").hidden = !numbers.length;
    if (!numbers.length) return;
    const read = await Promise.all(numbers.map((number) => relations.load(number)));
    if (!isCurrent()) return;
    byId("relatives-shown").replaceChildren(...read.flatMap((found, place) => of(found, numbers[place], index, feature)));
    byId("relatives-cards").replaceChildren();
    const near = read.flatMap((found) => relativesOf(found, found.of.source === index ? 0 : 1, feature)).filter(({ edge }) => edge !== null);
    // What they are called and fire on may have to be read.
    fill(near.slice(0, MOST_CARDS), isCurrent);
  }

  /** What is related to a feature of a side: those at its edges, the surest first, then siblings, which have no edge with it. */
  function relativesOf(found, side, feature) {
    const edges = [...relations.edgesOf(found, side, feature)].sort((left, right) => found.whitened[right] - found.whitened[left]);
    const layers = [found.of.source, found.of.target];
    return [
      ...edges.map((edge) => ({ edge, name: relations.nameOf(found, edge, side), index: layers[1 - side], feature: found.ends[1 - side][edge], statistic: found.statistic[edge], q: found.q[edge] })),
      ...relations.siblings(found, side, feature).map((other) => ({ edge: null, name: "sibling", index: layers[side], feature: other })),
    ];
  }

  function of(found, number, index, feature) {
    const side = found.of.source === index ? 0 : 1;
    const other = relations.layersOf(found.of)[1 - side];
    const all = relativesOf(found, side, feature);
    const kind = found.kinds[side][feature];
    const told = element("p", { class: "told" }, `${side === 0 ? "To" : "From"} layer ${other}: `, element("strong", {}, relations.KINDS[kind]), `. ${words(found, side, feature, kind)} `);
    if (!all.length) return [told];
    const component = found.component[all[0].edge];
    const opener = element("button", { type: "button", class: "plain" }, `its component, ${format.count(found.size[component])} features`);
    opener.addEventListener("click", () => Explorer.state.set({ rel: String(number), comp: String(component), relkind: "", relsort: "size" }));
    told.append(opener);
    return [told, table(found, all, `Relatives of ${format.feature(model.layers[index].layer, feature)} by layer ${other}`)];
  }

  /** What a kind means for a feature. */
  function words(found, side, feature, kind) {
    const count = relations.edgesOf(found, side, feature).length;
    if (kind === relations.END) return "No feature there is nearer than chance gives.";
    if (kind === relations.APPEAR) return "No feature before is nearer than chance gives.";
    if (kind > relations.END) return "It took no part, or has no direction.";
    return `${count} ${count === 1 ? "relative" : "relatives"} at a level of ${format.share(found.of.alpha)};`;
  }

  function table(found, all, caption) {
    const onText = found.onText.map(({ dataset }) => [`contained, ${dataset}`, "at random"]).flat();
    const names = ["relation", "feature", "description, or what it fires on", "statistic", "whitened", "q", ...onText, "matched"];
    const head = element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name))));
    const body = element("tbody", {}, ...all.slice(0, MOST_LISTED).map((one) => row(found, one)));
    const more = all.length > MOST_LISTED ? ` (the first ${MOST_LISTED} of ${format.count(all.length)})` : "";
    const made = element("table", { class: "relatives-table" }, element("caption", {}, caption + more), head, body);
    return element("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, made);
  }

  function row(found, { edge, name, index, feature }) {
    const cell = (text) => element("td", {}, text);
    const has = edge !== null;
    // Containment is of the child's tokens; few of them say little.
    const onText = found.onText.flatMap(({ containment, control, tokens }) => (has
      ? [cell(share(containment[edge], tokens[edge])), cell(format.share(control[edge]))]
      : [cell(format.dash), cell(format.dash)]));
    return element("tr", {},
      element("th", { scope: "row" }, name),
      element("td", {}, Explorer.opener(format.feature(model.layers[index].layer, feature))),
      element("td", { class: "words", dir: "auto", "data-label": `${index}/${feature}` }, Explorer.search.labelOf(index, feature) ?? "…"),
      ...[found.statistic, found.whitened].map((of) => cell(has ? format.cosine(of[edge]) : format.dash)), cell(has ? format.q(found.q[edge]) : format.dash),
      ...onText, cell(has ? (found.matched[edge] ? "yes" : "no") : format.dash));
  }

  const share = (value, tokens) => (Number.isNaN(value) ? format.dash : format.part(Math.round(value * tokens), tokens, format.share));

  /** Descriptions of those listed, and cards of the nearest side by side. */
  async function fill(near, isCurrent) {
    const cells = [...byId("relatives-shown").querySelectorAll("[data-label]")];
    const layers = new Set(cells.map((cell) => Number(cell.dataset.label.split("/")[0])));
    const cards = Promise.all(near.map(async ({ index, feature, name, statistic, q }) => {
      const place = model.pathOf(index, feature).findIndex((member) => member.index === index);
      const details = (await model.details(model.layers[index].path[feature]))[place];
      const layer = model.layers[index];
      const told = { ...details, index, feature, layer: layer.layer, name: format.feature(layer.layer, feature), active: layer.active[feature] };
      return Explorer.contexts.card(told, false, [undefined, `${name}, statistic ${format.cosine(statistic)}, q ${format.q(q)}`]);
    }));
    await Promise.all([...layers].map((index) => Explorer.search.labels(index)));
    const made = await cards;
    if (!isCurrent()) return;
    for (const cell of cells) {
      const [index, feature] = cell.dataset.label.split("/").map(Number);
      cell.textContent = Explorer.search.labelOf(index, feature) || format.dash;
    }
    byId("relatives-cards").replaceChildren(...made);
    byId("relatives").dataset.filled = Explorer.path.chosen();
  }

  return { show };
})();
