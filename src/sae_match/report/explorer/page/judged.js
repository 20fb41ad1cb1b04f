"use strict";

/* What judges said of pairs of features, where any were asked. */
Explorer.judged = (() => {
  const { byId, element, format, model } = Explorer;
  const LABELS = { 1: "different", 2: "maybe", 3: "same" };

  let judges = [];
  let about = [];
  /** Pairs by the name of their source feature. */
  const bySource = new Map();
  const shown = new Map();
  /** By layer, the first judge's label of each feature and its partner in the next layer; 0 where there is none. */
  let labels = [];

  async function load() {
    const given = await Explorer.loading.packedJson("judgements");
    judges = given.judges;
    about = given.about;
    for (const [arm, sourceLayer, sourceFeature, targetLayer, targetFeature, verdicts] of given.pairs) {
      const source = format.feature(sourceLayer, sourceFeature);
      const pair = { arm, source, target: format.feature(targetLayer, targetFeature), verdicts: verdicts.map(verdictOf) };
      bySource.set(source, [...(bySource.get(source) ?? []), pair]);
    }
    for (const [layer, feature, text] of given.shown) shown.set(format.feature(layer, feature), text);
  }

  const verdictOf = ([label, score, similarity, reason]) => ({ label, score, similarity, reason });

  /** All verdicts of a matched pair, undefined where nobody was asked. */
  function step(source, target) {
    return bySource.get(source)?.find((pair) => pair.arm === "matched" && pair.target === target)?.verdicts;
  }

  /** Find the features that a filter looks for; once model and verdicts are read. */
  function join() {
    labels = model.layers.map((layer) => new Uint8Array(layer.features));
    for (const source of bySource.keys()) {
      const [name, feature] = source.split("/");
      const index = model.indexOf(name);
      const partner = model.layers[index]?.next?.[feature] ?? -1;
      if (partner < 0) continue;
      labels[index][feature] = step(source, format.feature(model.layers[index + 1].layer, partner))?.[0].label ?? 0;
    }
  }

  const label = (index, feature) => labels[index][feature];

  /** A verdict in a word; the score only where the two orders of the pair disagree. */
  function word(verdict) {
    if (!verdict) return format.dash;
    if (verdict.label === null) return "no label";
    return LABELS[verdict.label] + (verdict.score === verdict.label ? "" : ` (${format.number(verdict.score)})`);
  }

  const head = (names) => element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name))));

  const scoreOf = ([, , , , , score, low, high]) =>
    format.score(score) + (low === null ? "" : ` (${format.score(low)} to ${format.score(high)})`);

  function told({ name, arms }) {
    const said = ["matched", "random"].flatMap((wanted) => arms.filter(([arm]) => arm === wanted));
    return `${name}: ${said.map((arm) => `${arm[0]} pairs ${scoreOf(arm)}`).join(", ")}.`;
  }

  /** The scores of all arms, above the search. */
  function showScores() {
    byId("judges").hidden = !judges.length;
    if (!judges.length) {
      for (const option of document.querySelectorAll("#kind option[data-judged]")) option.remove();
      return;
    }
    byId("judges-about").replaceChildren(...about.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    byId("judges-told").textContent = `Mean scores, from 1 (different) to 3 (the same). ${judges.map(told).join(" ")}`;
    const table = byId("judges-table");
    const names = ["judge", "arm", "different", "maybe", "same", "no label", "mean score", "95 % interval"];
    const rows = judges.flatMap(({ name, arms }) => arms.map(([arm, different, maybe, same, none, score, low, high]) =>
      element("tr", {},
        element("th", { scope: "row" }, name), element("td", { class: "name" }, arm),
        ...[different, maybe, same, none].map((count) => element("td", {}, format.count(count))),
        element("td", {}, format.score(score)),
        element("td", {}, low === null ? format.dash : `${format.score(low)} to ${format.score(high)}`))));
    table.replaceChildren(table.caption, head(names), element("tbody", {}, ...rows));
  }

  /** What was said of pairs that begin on a path, and end in the next layer or further on. */
  function showPath(rows) {
    const pairs = rows.flatMap((row) => bySource.get(row.name) ?? []);
    byId("judged").hidden = !judges.length;
    byId("judged-told").textContent = pairs.length
      ? `Asked about ${format.count(pairs.length)} matched and composed pairs that begin on this path: ${judges.map((_, judge) => counted(pairs, judge)).join("; ")}.`
      : "No judge was asked about this path.";
    byId("judged-shown").hidden = !pairs.length;
    if (!pairs.length) return;
    const table = byId("judged-table");
    const names = ["from", "to", ...judges.map(({ name }) => name), "arm", "similarity, reason"];
    const body = pairs.map((pair) => element("tr", {},
      element("th", { scope: "row" }, Explorer.opener(pair.source)),
      element("td", {}, Explorer.opener(pair.target)),
      ...pair.verdicts.map((verdict) => element("td", {}, word(verdict))),
      element("td", { class: "name" }, pair.arm),
      element("td", { class: "words", dir: "auto" }, pair.verdicts.map(why).filter(Boolean).join("; ") || format.dash)));
    table.replaceChildren(table.caption, head(names), element("tbody", {}, ...body));
    const features = [...new Set(pairs.flatMap(({ source, target }) => [source, target]))];
    byId("judged-evidence").replaceChildren(...features.map((name) =>
      element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, shown.get(name) || "(nothing is known of it)"))));
  }

  function counted(pairs, judge) {
    const labels = pairs.map(({ verdicts }) => verdicts[judge].label);
    const counts = [3, 2, 1, null].map((label) => [labels.filter((given) => given === label).length, LABELS[label] ?? "no label"]);
    return `${judges[judge].name} says ${counts.filter(([count]) => count).map(([count, name]) => `${name} of ${format.count(count)}`).join(", ")}`;
  }

  /** Similarity and reason of a verdict, with the judge's name where there are several. */
  function why(verdict, judge) {
    const parts = [verdict.similarity === null ? "" : format.number(verdict.similarity), verdict.reason].filter(Boolean);
    const name = judges.length > 1 ? `${judges[judge].name}: ` : "";
    return parts.length ? name + parts.join(", ") : "";
  }

  return { load, join, step, label, word, showScores, showPath, LABELS, names: () => judges.map(({ name }) => name) };
})();
