"use strict";

/* How many features carry on, appear and end, layer by layer: a chart, and the same as a table. */
Explorer.flow = (() => {
  const { byId, element, format, model, charts } = Explorer;

  const SERIES = [
    { key: "carried", name: "carried on from the layer before", colour: "carried" },
    { key: "start", name: "live, with no layer before to compare", colour: "start" },
    { key: "fewBefore", name: "too few activations to say", colour: "few" },
    { key: "appears", name: "appear", colour: "appears" },
    { key: "dead", name: "never active", colour: "dead" },
    { key: "few", name: "too few activations to say", colour: "few", below: true },
    { key: "ends", name: "end", colour: "ends", below: true },
  ];

  function show() {
    const rows = model.flow();
    say();
    sum(rows);
    const box = byId("flow-box");
    const open = Explorer.state.get().flow === "open";
    // Setting what is so already would be told again.
    if (box.open !== open) box.open = open;
    // What is folded up has no size to be drawn in.
    if (open) draw(rows);
    tabulate(rows);
  }

  /** The flow in a line. */
  function sum(rows) {
    const known = rows.filter((row) => row.carries !== null);
    const total = (key) => known.reduce((sum, row) => sum + row[key], 0);
    const live = total("live");
    const parts = [["carries", "carry on"], ["few", "rest on too few activations"], ["ends", "end"]].filter(([key]) => total(key) > 0);
    byId("flow-told").textContent = live
      ? `of ${format.count(live)} live features with a layer after theirs, ${parts.map(([key, name]) => `${format.part(total(key), live, format.share)} ${name}`).join(", ")}`
      : "";
  }

  function say() {
    byId("flow-rule").textContent =
      `Nearly every feature has a partner, however poor, so cuts decide. A feature carries on if ${conditions().join(", ")}, `
      + `and both were active on the evaluated text. Else it ends, and one that none carries on to appears.${apart()}`;
  }

  /** Pairs that are neither. */
  function apart() {
    return model.few > 0 ? ` Pairs that were active on fewer than ${format.count(model.few)} tokens are set apart: too few activations.` : "";
  }

  /** What is asked of a pair, in words. */
  function conditions() {
    const { level, cosine, cut } = Explorer.state.get();
    const asked = [];
    if (model.judged && Number(level) < 1) {
      asked.push(`its pair is significant (q at most ${format.share(Number(level))}: so many of all such pairs are chance)`);
    }
    if (Number(cosine) > 0) asked.push(`its partner's decoder direction has a cosine of at least ${Number(cosine).toFixed(2)} with its own`);
    if (cut !== "") asked.push(`the pair costs at most ${format.number(Number(cut))}`);
    return asked.length ? asked : ["it has a partner"];
  }

  /** The height of a bar; where there is no layer before, what is live can be neither carried nor new. */
  const height = (row, key) => {
    if (key === "start") return row.carried === null ? row.live : null;
    return row[key];
  };

  function draw(rows) {
    const shown = SERIES.filter(({ key }) => rows.some((row) => height(row, key) > 0));
    charts.draw(byId("flow-chart"), () => ({
      aria: { enabled: true, label: { description: described(rows) } },
      grid: { left: 8, right: 8, top: window.innerWidth < 700 ? 112 : 36, bottom: 22, containLabel: true },
      legend: charts.legend(),
      tooltip: charts.tooltip((at) => lines(rows[at])),
      xAxis: charts.axis({ type: "category", data: rows.map((row) => String(row.layer)), name: "layer", nameLocation: "middle", nameGap: 26 }),
      yAxis: charts.axis({ type: "value", axisLabel: { color: charts.colour("soft"), formatter: (value) => format.count(Math.abs(value)) } }),
      series: shown.map(({ key, name, colour, below }) => ({
        name, type: "bar", stack: "features", barCategoryGap: "25%", cursor: "pointer",
        itemStyle: { color: charts.colour(colour) },
        data: rows.map((row) => (height(row, key) === null ? null : (below ? -1 : 1) * height(row, key))),
      })),
    }), (event) => {
      const layer = String(rows[event.dataIndex].layer);
      Explorer.state.set({ from: layer, to: layer });
    });
  }

  function described(rows) {
    const sum = (key) => rows.reduce((total, row) => total + (row[key] ?? 0), 0);
    return `Features by layer, stacked: over ${format.layers(rows.length)}, ${format.count(sum("carries"))} carry on to the next layer, `
      + `${format.count(sum("appears"))} appear, ${format.count(sum("ends"))} end, ${format.count(sum("dead"))} are never active. `
      + `The table below has every number.`;
  }

  function lines(row) {
    const known = (text, value) => (value === null ? [] : [`${text}: ${format.count(value)}`]);
    return [
      `Layer ${row.layer}`,
      ...known("live", row.live),
      ...known("carried on from the layer before", row.carried),
      ...known("from before, too few activations to say", row.fewBefore || null),
      ...known("appear", row.appears),
      ...known("carry on to the next layer", row.carries),
      ...known("to the next, too few activations to say", row.few || null),
      ...known("end", row.ends),
      ...known("never active", row.dead),
    ];
  }

  function tabulate(rows) {
    const columns = ["layer", "live", "carried on from before", "appear", "carry on to the next", "end", "never active", "too few activations: from before", "to the next"];
    const head = element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name))));
    const body = element("tbody", {}, ...rows.map((row) => element("tr", {},
      element("th", { scope: "row" }, chooser(row.layer)),
      ...["live", "carried", "appears", "carries", "ends", "dead", "fewBefore", "few"].map((key) => element("td", {}, format.count(row[key]))))));
    const table = byId("flow-table");
    table.replaceChildren(table.caption, head, body);
  }

  function chooser(layer) {
    const button = element("button", { type: "button", class: "plain", "aria-label": `Layer ${layer}: show its features` }, String(layer));
    button.addEventListener("click", () => Explorer.state.set({ from: String(layer), to: String(layer) }));
    return button;
  }

  byId("flow-box").addEventListener("toggle", () => Explorer.state.set({ flow: byId("flow-box").open ? "open" : "" }));

  return { show };
})();
