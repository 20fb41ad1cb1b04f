"use strict";

/* A path's numbers, a small chart each, below the path as a line. A point has the colour of what became of its step. */
Explorer.multiples = (() => {
  const { byId, format, model, charts, judged } = Explorer;
  const COLOURS = { [model.ENDS]: "ends", [model.CARRIES]: "carried", [model.TOO_FEW]: "few" };
  const NARROW = 700;

  const shown = (value) => (Number.isFinite(value) ? value : null);
  /** Of layers of two collections there is room for the collection alone. */
  const short = (layer) => layer.split("@").pop();
  const colourOf = (step) => charts.colour(step ? COLOURS[step.fate] : "data");

  const PANELS = [
    { name: "active on, % of tokens", bar: true, value: (row) => 100 * row.share },
    { name: "decoder cosine", most: 1, value: (row) => row.step?.decoderCosine },
    { name: "encoder cosine", most: 1, value: (row) => row.step?.encoderCosine },
    { name: "co-activation (Jaccard)", most: 1, value: (row) => row.step?.jaccard },
    { name: "cost", value: (row) => row.step?.cost },
  ];

  /** Draw a path, of which one feature is open. */
  function draw(rows, at) {
    const layers = rows.map((row) => String(row.layer));
    charts.draw(byId("path-chart"), () => ({
      aria: { enabled: true, label: { description: `Activity, cosines, co-activation and cost of the path of feature ${rows[at].name} by layer; the table below has every number.` } },
      legend: charts.legend({ data: Explorer.strip.names(rows), itemGap: 18 }),
      tooltip: charts.tooltip((place) => lines(rows[place])),
      axisPointer: { link: [{ xAxisIndex: "all" }] },
      grid: [{ left: 16, right: 16, top: 40, height: 14 }, ...PANELS.map((_, panel) => place(panel))],
      xAxis: [
        charts.axis({ type: "category", data: layers, gridIndex: 0, axisLine: { show: false }, axisLabel: { color: charts.colour("soft"), margin: 6, hideOverlap: true, formatter: (value) => (value.includes("@") ? value : `layer ${value}`) } }),
        ...PANELS.map((_, panel) => charts.axis({ type: "category", data: layers, gridIndex: panel + 1, axisLabel: { color: charts.colour("soft"), fontSize: 11, margin: 4, hideOverlap: true, formatter: short } })),
      ],
      yAxis: [
        charts.axis({ type: "value", gridIndex: 0, min: -1, max: 1, show: false }),
        ...PANELS.map(({ name, most }, panel) => charts.axis({
          type: "value", gridIndex: panel + 1, name, nameGap: 8, nameTextStyle: { color: charts.colour("soft"), fontSize: 12, align: "left", padding: [0, 0, 0, -24] },
          axisLabel: { color: charts.colour("soft"), fontSize: 11, margin: 4, hideOverlap: true }, splitNumber: 2, max: most, min: (of) => (of.min < 0 && most ? -1 : 0),
        })),
      ],
      series: [...Explorer.strip.series(rows, at), ...PANELS.map((panel, number) => series(panel, number, rows, at))],
    }), (event) => Explorer.state.set({ f: rows[event.dataIndex].name }));
  }

  /** Where a panel stands: all in a row, or in two columns where the page is narrow. */
  function place(panel) {
    const columns = window.innerWidth < NARROW ? 2 : PANELS.length;
    const [row, column] = [Math.floor(panel / columns), panel % columns];
    const width = 100 / columns;
    return { left: `${column * width + (columns === 2 ? 9 : 3)}%`, width: `${width - (columns === 2 ? 11 : 4.5)}%`, top: 104 + 118 * row, height: 62 };
  }

  function series({ name, bar, value }, panel, rows, at) {
    const data = rows.map((row, number) => ({
      value: shown(value(row)),
      itemStyle: { color: bar ? charts.colour(number === at ? "accent" : "data") : colourOf(row.step) },
    }));
    const placed = { name, xAxisIndex: panel + 1, yAxisIndex: panel + 1, cursor: "pointer", data };
    if (bar) return { ...placed, type: "bar", barMaxWidth: 16 };
    return { ...placed, type: "line", symbol: "circle", symbolSize: 6, showAllSymbol: true, connectNulls: false, lineStyle: { color: charts.colour("data"), width: 1.5 } };
  }

  function lines(row) {
    const own = [`Layer ${row.layer}, feature ${row.feature}`, `active on ${format.count(row.active)} tokens (${format.share(row.share)})`];
    const { step } = row;
    if (!step) return own;
    const sure = model.judged ? [`q ${format.q(step.q)}: ${step.solid ? "significant" : "may be chance"}; p ${format.number(step.p)}`] : [];
    return [...own, "step from the layer before:", ...sure, `cost ${format.number(step.cost)}`,
      `decoder cosine ${format.cosine(step.decoderCosine)}`, `encoder cosine ${format.cosine(step.encoderCosine)}`,
      `both active on ${format.count(step.both)} of ${format.count(step.either)} tokens (Jaccard)${step.tooFew ? ": too few to say something" : ""}`,
      ...judged.names().flatMap((name, judge) => (step.verdicts[judge] ? [`${name}: ${judged.word(step.verdicts[judge])}`] : []))];
  }

  return { draw, colourOf };
})();
