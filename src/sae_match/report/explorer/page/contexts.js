"use strict";

/* Where features fire: a feature's contexts at length, and those of all layers of a path side by side. */
Explorer.contexts = (() => {
  const { element, format, model } = Explorer;
  // Contexts of a card, and tokens beside the marked one that have room in a line.
  const OF_A_CARD = 3;
  const BESIDE = 8;

  /** A feature's contexts at length. */
  function list(row) {
    if (row.active === 0) return [element("p", { class: "hint" }, "This feature was never active on the evaluated text.")];
    if (!row.contexts.length) return [element("p", { class: "hint" }, "No contexts were kept of this feature.")];
    const made = element("ol", { class: "contexts" });
    for (const [dataset, number, position, value, tokens] of row.contexts) {
      const [before, space, marked, after] = parts(tokens, position);
      made.append(element("li", {}, element("p", { dir: "auto" }, before, space, element("mark", {}, marked), after),
        element("p", { class: "source" }, `${format.number(value)} · ${dataset}, document ${number}`)));
    }
    return [made];
  }

  /** What stands before the marked token, the space that is part of it, itself, and what follows. */
  function parts(tokens, position) {
    const shown = tokens.map((token, at) => visible(at === 0 ? token.trimStart() : token, at === position));
    // The space before a word is part of its token, but not what the eye looks for.
    const space = /^ +(?=[^ ])/.exec(shown[position])?.[0] ?? "";
    return [shown.slice(0, position).join(""), space, shown[position].slice(space.length), shown.slice(position + 1).join("")];
  }

  /** A token as it can be seen: line breaks as signs, and spaces where there is nothing else to mark. */
  function visible(token, marked) {
    const text = token.replaceAll("\r", "").replaceAll("\n", "↵").replaceAll("\t", "⇥");
    return marked && text.trim() === "" ? text.replaceAll(" ", "␣") || "∅" : text;
  }

  /** Of each feature of a path a card with its strongest contexts, marked tokens below each other. */
  const cards = (rows, at) => rows.map((row, place) => card(row, place === at, told(row.step)));

  /** A card: `said` is what is known of it beside its layer, as a state and words. */
  function card(row, isChosen, [fate, said]) {
    const opener = Explorer.opener(row.name, `${typeof row.layer === "number" ? "Layer " : ""}${row.name}`);
    const lines = row.contexts.slice(0, OF_A_CARD).map(([, , position, , tokens]) => line(tokens, position));
    const empty = element("p", { class: "hint" }, row.active === 0 ? "never active" : "no contexts were kept");
    return element("li", { "data-fate": fate, "aria-current": isChosen ? "true" : undefined },
      element("p", { class: "of" }, opener, element("span", {}, row.active === 0 ? "" : format.tokens(row.active, model.layers[row.index].tokens))),
      element("p", { class: "step" }, said),
      ...(lines.length ? lines : [empty]));
  }

  function line(tokens, position) {
    const from = Math.max(0, position - BESIDE);
    const [before, space, marked, after] = parts(tokens.slice(from, position + BESIDE), position - from)
      .map((part) => part.replace(/ {2,}/g, " "));
    return element("p", { class: "line" }, element("span", {}, element("bdi", {}, before + space)), element("mark", {}, marked), element("span", {}, element("bdi", {}, after)));
  }

  /** What became of a path at a step, and how that is said. */
  function told(step) {
    if (!step) return ["start", "the path begins"];
    const sure = Number.isFinite(step.q) ? `q ${format.q(step.q)}` : `cosine ${format.cosine(step.decoderCosine)}`;
    if (step.fate === model.CARRIES) return ["carries", `carried on, ${sure}`];
    if (step.fate === model.TOO_FEW) return ["few", `too few activations: ${format.count(step.either)} of ${format.count(model.few)}`];
    return ["ends", `not carried on, ${sure}`];
  }

  return { list, cards, card };
})();
