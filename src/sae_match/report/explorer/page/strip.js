"use strict";

/* A feature's path as a line in its chart: as sure as its steps are. */
Explorer.strip = (() => {
  const { format, model, charts } = Explorer;

  /**
   * The path itself, as a line: solid from step to step as long as they are significant, dashed where not, with q at
   * each. A line for each stretch, as two that do not touch would be joined.
   */
  return function strip(rows) {
    const solid = (place) => rows[place].step.solid;
    const runs = [];
    for (let place = 1; place < rows.length; place++) {
      if (runs.length && runs.at(-1).solid === solid(place)) runs.at(-1).to = place;
      else runs.push({ from: place - 1, to: place, solid: solid(place) });
    }
    const [yes, no] = model.judged ? ["significant step", "may be chance"] : ["carries on", "does not"];
    const nodes = rows.map((row) => ({
      value: 0,
      label: { show: model.judged && row.step !== null, position: "top", color: charts.colour("soft"), formatter: row.step ? `q ${format.q(row.step.q)}` : "" },
    }));
    const placed = { type: "line", xAxisIndex: 2, yAxisIndex: 3, cursor: "pointer" };
    return [
      ...runs.map((run) => ({
        ...placed, name: run.solid ? yes : no, symbol: "none", data: rows.map((_, place) => (place >= run.from && place <= run.to ? 0 : null)),
        itemStyle: { color: charts.colour(run.solid ? "accent" : "soft") },
        lineStyle: { color: charts.colour(run.solid ? "accent" : "soft"), width: run.solid ? 4 : 2, type: run.solid ? "solid" : "dashed" },
      })),
      { ...placed, symbol: "circle", symbolSize: 9, lineStyle: { width: 0 }, itemStyle: { color: charts.colour("accent") }, labelLayout: { hideOverlap: true }, data: nodes },
    ];
  };
})();
