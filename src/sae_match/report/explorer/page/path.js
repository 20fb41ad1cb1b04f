"use strict";

/* One feature, and its path through the layers. */
Explorer.path = (() => {
  const { byId, element, format, model, charts, judged } = Explorer;
  let asked = 0;
  let opening = Promise.resolve();
  let neighbours = { before: null, after: null };

  /** Show the feature that is chosen, or that there is none; what is read ahead waits meanwhile. */
  function show() {
    opening = open(++asked);
    return opening;
  }

  async function open(mine) {
    const begun = performance.now();
    const chosen = Explorer.state.get().f;
    const [name, feature] = chosen.split("/");
    const index = chosen === "" ? -1 : model.indexOf(name);
    if (index < 0 || feature >= model.layers[index].features) return nothing(chosen);
    const path = model.layers[index].path[feature];
    const details = await model.details(path);
    // Another feature has been chosen meanwhile.
    if (mine !== asked) return undefined;
    const rows = told(model.pathOf(index, feature), details);
    const at = rows.findIndex((row) => row.index === index);
    fill(rows, at);
    byId("path").dataset.shown = chosen;
    await Explorer.painted();
    performance.measure("explorer-path", { start: begun, end: performance.now() });
    return undefined;
  }

  function nothing(chosen) {
    byId("path-title").textContent = "A feature's path";
    byId("path-empty").textContent = chosen === ""
      ? "Choose a feature in the list to see where it comes from, where it goes, and what it fires on."
      : `There is no feature ${chosen} here.`;
    byId("path-empty").hidden = false;
    byId("path-shown").hidden = true;
    byId("path").dataset.shown = chosen;
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
      p: detail.p, margin: detail.margin,
      nearest: detail.mutual === undefined ? format.dash : detail.mutual ? "yes" : "no",
      parts: partsOf(detail),
      tooFew: either < model.fewest,
      cost: layer.cost[feature],
      encoderCosine: detail.encoderCosine,
      decoderCosine: model.cosine(layer, feature),
      both: detail.both,
      sufficiency: ratio(detail.both, layer.active[feature]),
      jaccard: ratio(detail.both, either),
      carries: layer.carries[feature] === 1,
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
    byId("path-empty").hidden = true;
    byId("path-shown").hidden = false;
    byId("label").textContent = row.label;
    byId("label").hidden = !row.label;
    byId("summary").textContent = summary(rows, at, layer);
    byId("path-status").textContent = `Opened layer ${row.layer}, feature ${row.feature}. ${row.label}`;
    linkTo(row);
    byId("contexts").replaceChildren(...contexts(row));
    neighbours = { before: rows[at - 1]?.name ?? null, after: rows[at + 1]?.name ?? null };
    byId("before").disabled = !neighbours.before;
    byId("after").disabled = !neighbours.after;
    byId("copied").textContent = "";
    tabulate(rows, at);
    judged.showPath(rows);
    draw(rows, at);
  }

  function summary(rows, at, layer) {
    const row = rows[at];
    const whole = rows.length === 1
      ? "It has no partner in the layers before and after."
      : `Its path has ${format.layers(rows.length)}, ${rows[0].layer} to ${rows.at(-1).layer}.`;
    if (row.active === 0) return `It was never active on the evaluated text of ${format.count(layer.tokens)} tokens. ${whole}`;
    let [first, last] = [at, at];
    while (first > 0 && rows[first].step.carries) first--;
    while (last < rows.length - 1 && rows[last + 1].step.carries) last++;
    const stretch = first === last
      ? (rows.length === 1 ? "" : " At the cuts above it is carried no further.")
      : ` At the cuts above it is carried through ${format.layers(last - first + 1)}, ${rows[first].layer} to ${rows[last].layer}${confidence(rows.slice(first + 1, last + 1))}.`;
    return `Active on ${format.count(row.active)} of ${format.count(layer.tokens)} tokens (${format.share(row.share)}), `
      + `on average at ${format.number(row.mean)}. ${whole}${stretch}`;
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

  function contexts(row) {
    if (row.active === 0) return [element("p", { class: "hint" }, "This feature was never active on the evaluated text.")];
    if (!row.contexts.length) return [element("p", { class: "hint" }, "No contexts were kept of this feature.")];
    const list = element("ol", { class: "contexts" });
    for (const [dataset, number, position, value, tokens] of row.contexts) {
      const text = element("p", { dir: "auto" });
      tokens.forEach((token, at) => {
        const shown = visible(at === 0 ? token.trimStart() : token, at === position);
        // The space before a word is part of its token, but not what the eye looks for.
        const space = at === position && /^ +(?=[^ ])/.exec(shown)?.[0] || "";
        text.append(space, at === position ? element("mark", {}, shown.slice(space.length)) : shown);
      });
      list.append(element("li", {}, text,
        element("p", { class: "source" }, `${format.number(value)} · ${dataset}, document ${number}`)));
    }
    return [list];
  }

  /** A token as it can be seen: line breaks as signs, and spaces where there is nothing else to mark. */
  function visible(token, marked) {
    const text = token.replaceAll("\r", "").replaceAll("\n", "↵").replaceAll("\t", "⇥");
    return marked && text.trim() === "" ? text.replaceAll(" ", "␣") || "∅" : text;
  }

  const OWN = ["layer", "feature", "description, or what it fires on", "active on", "mean value"];
  const JUDGED = ["q", "margin", "mutual nearest", "parts agree"];
  const STEP = ["cost", "encoder cosine", "decoder cosine", "both active", "of source", "Jaccard", "carries on"];
  const stepColumns = () => (model.judged ? [...JUDGED, ...STEP] : STEP);

  function tabulate(rows, at) {
    const table = byId("path-table");
    table.caption.textContent = `The path of feature ${rows[at].name}, layer by layer`;
    const column = (name) => element("th", { scope: "col" }, name);
    const steps = [...judged.names().map((name) => element("th", { scope: "col", class: "judge" }, name)), ...stepColumns().map(column)];
    const head = element("thead", {},
      element("tr", {},
        element("th", { colspan: OWN.length, scope: "colgroup" }, "the feature"),
        element("th", { colspan: steps.length, scope: "colgroup" }, "the step from the layer before")),
      element("tr", {}, ...OWN.map(column), ...steps));
    const body = element("tbody", {}, ...rows.map((row, place) => tableRow(row, place === at)));
    table.replaceChildren(table.caption, head, body);
  }

  function tableRow(row, isChosen) {
    const { step } = row;
    const cell = (text) => element("td", {}, text);
    const steps = step === null
      ? [...judged.names(), ...stepColumns()].map(() => cell(format.dash))
      : [...judged.names().map((_, judge) => judged.word(step.verdicts[judge])),
        ...(model.judged ? [format.q(step.q), format.cosine(step.margin), step.nearest, step.parts] : []),
        format.number(step.cost), format.cosine(step.encoderCosine), format.cosine(step.decoderCosine),
        format.count(step.both), format.share(step.sufficiency), `${format.cosine(step.jaccard)}${step.tooFew ? " (too few)" : ""}`, step.carries ? "yes" : "no"].map(cell);
    return element("tr", { "aria-current": isChosen ? "true" : undefined },
      element("th", { scope: "row" }, String(row.layer)),
      element("td", {}, Explorer.opener(row.name, String(row.feature))),
      element("td", { class: "words", dir: "auto" }, row.label || (row.active === 0 ? "never active" : "–")),
      cell(format.share(row.share)), cell(format.number(row.mean)), ...steps);
  }

  function draw(rows, at) {
    const top = window.innerWidth < 700 ? 128 : 76;
    const shown = (value) => (Number.isFinite(value) ? value : null);
    const line = (name, colour, symbol, value, more = {}) => ({
      name, type: "line", xAxisIndex: 1, yAxisIndex: 1, symbol, symbolSize: 7, connectNulls: false,
      lineStyle: { color: charts.colour(colour), width: 2 }, itemStyle: { color: charts.colour(colour) },
      data: rows.map((row) => (row.step ? shown(value(row.step)) : null)), ...more,
    });
    const layers = rows.map((row) => String(row.layer));
    charts.draw(byId("path-chart"), () => ({
      aria: { enabled: true, label: { description: `Activity, cosines, co-activation and cost of the path of feature ${rows[at].name} by layer; the table below has every number.` } },
      legend: charts.legend(),
      tooltip: charts.tooltip((place) => lines(rows[place])),
      axisPointer: { link: [{ xAxisIndex: "all" }] },
      grid: [
        { left: 48, right: 48, top: top + 62, height: 70 },
        { left: 48, right: 48, top: top + 174, bottom: 40 },
        { left: 48, right: 48, top, height: 16 },
      ],
      xAxis: [
        charts.axis({ type: "category", data: layers, axisLabel: { show: false } }),
        charts.axis({ type: "category", data: layers, gridIndex: 1, name: "layer", nameLocation: "middle", nameGap: 24 }),
        charts.axis({ type: "category", data: layers, gridIndex: 2, show: false }),
      ],
      yAxis: [
        charts.axis({ type: "value", name: "tokens, %", splitNumber: 2 }),
        charts.axis({ type: "value", gridIndex: 1, name: "cosine, Jaccard", max: 1, min: (of) => (of.min < 0 ? -1 : 0) }),
        charts.axis({ type: "value", gridIndex: 1, name: "cost", position: "right", splitLine: { show: false }, min: 0 }),
        charts.axis({ type: "value", gridIndex: 2, min: -1, max: 1, show: false }),
      ],
      series: [
        ...Explorer.strip(rows),
        {
          name: "active on", type: "bar", barMaxWidth: 26, cursor: "pointer",
          itemStyle: { color: charts.colour("start") },
          data: rows.map((row, place) => ({
            value: 100 * row.share, itemStyle: place === at ? { color: charts.colour("accent") } : {},
          })),
        },
        line("decoder cosine", "carried", "circle", (step) => step.decoderCosine),
        line("encoder cosine", "appears", "triangle", (step) => step.encoderCosine),
        line("co-activation (Jaccard)", "third", "rect", (step) => step.jaccard),
        line("cost", "ends", "diamond", (step) => step.cost, { yAxisIndex: 2, lineStyle: { color: charts.colour("ends"), width: 2, type: "dashed" } }),
      ],
    }), (event) => Explorer.state.set({ f: rows[event.dataIndex].name }));
  }

  function lines(row) {
    const own = [`Layer ${row.layer}, feature ${row.feature}`, `active on ${format.share(row.share)}`];
    if (!row.step) return own;
    const sure = model.judged ? [`q ${format.q(row.step.q)}: ${row.step.solid ? "significant" : "may be chance"}; p ${format.number(row.step.p)}`] : [];
    return [...own, "step from the layer before:", ...sure, `cost ${format.number(row.step.cost)}`,
      `decoder cosine ${format.cosine(row.step.decoderCosine)}`, `encoder cosine ${format.cosine(row.step.encoderCosine)}`,
      `both active on ${format.count(row.step.both)} tokens (Jaccard ${format.cosine(row.step.jaccard)})${row.step.tooFew ? ": too few to say something" : ""}`,
      ...judged.names().flatMap((name, judge) => (row.step.verdicts[judge] ? [`${name}: ${judged.word(row.step.verdicts[judge])}`] : []))];
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

  return { show, move, bringIntoView, opened: () => opening };
})();
