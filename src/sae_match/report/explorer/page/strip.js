"use strict";

/* A feature's path as a line in its chart: as sure as its steps are. */
Explorer.strip = (() => {
  const { byId, format, model, charts } = Explorer;
  // Room that a q-value needs.
  const WIDE = 70;

  /** What solid and dashed stretches are called. */
  const words = () => (model.judged ? ["significant step", "may be chance"] : ["passes the cuts", "does not"]);

  /** Stretches of steps that are equally sure: a line for each, as two that do not touch would be joined. */
  function runsOf(rows) {
    const runs = [];
    for (let place = 1; place < rows.length; place++) {
      const { solid } = rows[place].step;
      if (runs.length && runs.at(-1).solid === solid) runs.at(-1).to = place;
      else runs.push({ from: place - 1, to: place, solid });
    }
    return runs;
  }

  const nameOf = (run) => words()[run.solid ? 0 : 1];

  /** The names of a path's stretches, for the legend. */
  const names = (rows) => [...new Set(runsOf(rows).map(nameOf))];

  /** Solid from step to step as long as they are significant, dashed where not, with q at each that has room for it; the open feature is larger. */
  function series(rows, at) {
    const every = Math.ceil((rows.length * WIDE) / byId("path-chart").clientWidth);
    const nodes = rows.map((row, place) => ({
      value: 0, symbolSize: place === at ? 14 : 9,
      itemStyle: { color: Explorer.multiples.colourOf(row.step), borderColor: charts.colour("accent"), borderWidth: place === at ? 3 : 0 },
      label: { show: model.judged && row.step !== null && place % every === 0, position: "top", color: charts.colour("soft"), formatter: row.step ? `q ${format.q(row.step.q)}` : "" },
    }));
    const placed = { type: "line", xAxisIndex: 0, yAxisIndex: 0, cursor: "pointer" };
    return [
      ...runsOf(rows).map((run) => ({
        ...placed, name: nameOf(run), symbol: "none", data: rows.map((_, place) => (place >= run.from && place <= run.to ? 0 : null)),
        itemStyle: { color: charts.colour(run.solid ? "carried" : "soft") },
        lineStyle: { color: charts.colour(run.solid ? "carried" : "soft"), width: run.solid ? 4 : 2, type: run.solid ? "solid" : "dashed" },
      })),
      { ...placed, symbol: "circle", lineStyle: { width: 0 }, data: nodes },
    ];
  }

  return { names, series };
})();
