"use strict";

/* One feature, and its path through the layers. */
Explorer.path = (() => {
  const { byId, element, format, model, judged, relatives, contexts, steps, multiples } = Explorer;
  let asked = 0;
  let opening = Promise.resolve();
  let neighbours = { before: null, after: null };
  // What is shown as long as nothing is chosen: the first that is found, else one that is carried far.
  let suggested = "";
  let isFound = false;

  /** The feature that is shown, by its name. */
  const chosen = () => Explorer.state.get().f || suggested;

  /** Suggest a feature as long as none is chosen: the first that a search for words has found, else the foremost. */
  function suggest(found) {
    if (Explorer.state.get().f) return opening;
    isFound = Explorer.state.get().q !== "" && found !== undefined;
    const best = isFound ? found : model.foremost();
    const name = best ? format.feature(model.layers[best.index].layer, best.feature) : "";
    if (name === suggested && byId("path").dataset.shown === name) return opening;
    suggested = name;
    return show();
  }

  /** Show the feature that is chosen, or that there is none; what is read ahead waits meanwhile. */
  function show() {
    opening = open(++asked);
    return opening;
  }

  async function open(mine) {
    const begun = performance.now();
    const wanted = chosen();
    const [name, feature] = wanted.split("/");
    const index = wanted === "" ? -1 : model.indexOf(name);
    if (index < 0 || feature >= model.layers[index].features) return nothing(wanted);
    const path = model.layers[index].path[feature];
    const details = await model.details(path);
    // Another feature has been chosen meanwhile.
    if (mine !== asked) return undefined;
    const rows = told(model.pathOf(index, feature), details);
    const at = rows.findIndex((row) => row.index === index);
    fill(rows, at);
    await relatives.show(index, Number(feature), () => mine === asked);
    if (mine !== asked) return undefined;
    byId("path").dataset.shown = wanted;
    await Explorer.painted();
    performance.measure("explorer-path", { start: begun, end: performance.now() });
    return undefined;
  }

  function nothing(wanted) {
    byId("path-title").textContent = "A feature's path";
    byId("path-empty").textContent = wanted === ""
      ? "Choose a feature in the list to see where it comes from, where it goes, and what it fires on."
      : `There is no feature ${wanted} here.`;
    byId("path-empty").hidden = false;
    byId("path-shown").hidden = true;
    byId("tools").hidden = true;
    byId("label").hidden = true;
    byId("path").dataset.shown = wanted;
    neighbours = { before: null, after: null };
  }

  /** Of each feature of a path all that is known; `step` is about the pair with the layer before. */
  function told(members, details) {
    return members.map(({ index, feature }, at) => {
      const layer = model.layers[index];
      const name = format.feature(layer.layer, feature);
      return {
        index, feature, name, layer: layer.layer, ...details[at],
        active: layer.active[feature],
        share: layer.active[feature] / layer.tokens,
        step: at === 0 ? null : stepTo(members[at - 1], name, layer.active[feature], details[at - 1]),
      };
    });
  }

  function stepTo({ index, feature }, name, activeAfter, detail) {
    const layer = model.layers[index];
    const either = layer.active[feature] + activeAfter - detail.both;
    const ratio = (part, whole) => (whole > 0 ? part / whole : NaN);
    const q = model.q(layer, feature);
    return {
      q,
      // Where nothing was judged, the cuts decide.
      solid: model.judged ? model.isSignificant(q) : layer.carries[feature] === 1,
      p: detail.p, margin: detail.margin, causes: detail.causes,
      nearest: detail.mutual === undefined ? format.dash : detail.mutual ? "yes" : "no",
      parts: partsOf(detail),
      tooFew: either < model.few,
      either,
      before: layer.active[feature],
      cost: layer.cost[feature],
      encoderCosine: detail.encoderCosine,
      decoderCosine: model.cosine(layer, feature),
      both: detail.both,
      jaccard: ratio(detail.both, either),
      fate: layer.carries[feature],
      verdicts: judged.step(format.feature(layer.layer, feature), name) ?? [],
    };
  }

  /** Which parts of the parameters give the same partner by themselves. */
  function partsOf({ encoderAgrees, decoderAgrees }) {
    if (encoderAgrees === undefined) return format.dash;
    if (encoderAgrees && decoderAgrees) return "both";
    return encoderAgrees ? "encoder" : decoderAgrees ? "decoder" : "neither";
  }

  function fill(rows, at) {
    const row = rows[at];
    const layer = model.layers[row.index];
    byId("path-title").textContent = `Layer ${row.layer}, feature ${row.feature}`;
    byId("path-empty").hidden = Explorer.state.get().f !== "";
    byId("path-empty").textContent = isFound
      ? "The first that was found. Choose another in the list."
      : "To begin with, a feature that is carried through the most layers. Search for words, or choose another.";
    byId("path-shown").hidden = false;
    byId("tools").hidden = false;
    byId("label").textContent = row.label;
    byId("label").hidden = !row.label;
    byId("summary").textContent = summary(rows, at, layer);
    byId("path-status").textContent = `Opened layer ${row.layer}, feature ${row.feature}. ${row.label}`;
    linkTo(row);
    byId("side").replaceChildren(...contexts.cards(rows, at));
    byId("contexts-title").textContent = `All contexts of ${row.name}`;
    byId("contexts").replaceChildren(...contexts.list(row));
    neighbours = { before: rows[at - 1]?.name ?? null, after: rows[at + 1]?.name ?? null };
    byId("before").disabled = !neighbours.before;
    byId("after").disabled = !neighbours.after;
    byId("copied").textContent = "";
    steps.tabulate(rows, at);
    judged.showPath(rows);
    multiples.draw(rows, at);
  }

  function summary(rows, at, layer) {
    const row = rows[at];
    const whole = rows.length === 1
      ? "It has no partner in the layers before and after."
      : `Its path has ${format.layers(rows.length)}, ${rows[0].layer} to ${rows.at(-1).layer}.`;
    if (row.active === 0) return `It was never active on the evaluated text of ${format.count(layer.tokens)} tokens. ${whole}`;
    let [first, last] = [at, at];
    const carries = (place) => rows[place]?.step?.fate === model.CARRIES;
    while (carries(first)) first--;
    while (carries(last + 1)) last++;
    const stretch = first === last
      ? (rows.length === 1 ? "" : "At the cuts above it is carried no further. ")
      : `At the cuts above it is carried through ${format.layers(last - first + 1)}, ${rows[first].layer} to ${rows[last].layer}${confidence(rows.slice(first + 1, last + 1))}. `;
    const share = row.active < 25 ? "" : ` (${format.share(row.share)})`;
    return `${stretch}${doubtful(rows, first, last)}${whole} Active on ${format.count(row.active)} of ${format.count(layer.tokens)} tokens${share}, `
      + `on average at ${format.number(row.mean)}.`;
  }

  /** Whether a stretch may be longer than it can be said to be. */
  function doubtful(rows, first, last) {
    const places = [first, last + 1].filter((place) => rows[place]?.step?.fate === model.TOO_FEW);
    if (!places.length) return "";
    const told = places.map((place) => `${rows[place - 1].layer} to ${rows[place].layer} rests on ${format.count(rows[place].step.either)}`);
    return `The step from ${told.join(" tokens, and that from ")} tokens, too few to say whether it goes on. `;
  }

  /** How sure a stretch of steps is: as sure as its weakest step. */
  function confidence(rows) {
    const weakest = Math.max(...rows.map((row) => row.step.q));
    if (Number.isNaN(weakest)) return "";
    const sure = weakest < 0.001 ? "less than 0.1 %" : format.share(weakest);
    return `; its weakest step has q ${format.q(weakest)}: of the pairs that are at least as good, ${sure} are chance`;
  }

  function linkTo(row) {
    const place = byId("link");
    const known = row.link && /^https?:\/\//.test(row.link);
    place.hidden = !known;
    place.replaceChildren();
    if (known) {
      place.append(element("a", { href: row.link, target: "_blank", rel: "noopener noreferrer" },
        `Feature ${row.feature} of layer ${row.layer} on Neuronpedia`), " (opens a new tab, needs a network)");
    }
  }

  /** Go along the path: "before" or "after". */
  function move(where) {
    if (neighbours[where]) Explorer.state.set({ f: neighbours[where] });
  }

  /** On a narrow page the path lies below the list. */
  function bringIntoView() {
    if (matchMedia("(max-width: 900px)").matches) byId("path-title").focus();
  }

  byId("before").addEventListener("click", () => move("before"));
  byId("after").addEventListener("click", () => move("after"));

  return { show, suggest, chosen, move, bringIntoView, opened: () => opening };
})();
