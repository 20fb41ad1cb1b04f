"use strict";

/* What the charts have in common: size, the colours of the page, and that nothing moves. */
Explorer.charts = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /** Draw options, as a function makes them, into a place; again whenever the colours of the page change. */
  function draw(place, options, onClick) {
    let chart = drawn.get(place)?.chart;
    if (!chart) {
      chart = echarts.init(place, null, { renderer: "svg" });
      chart.on("click", (event) => drawn.get(place).onClick(event));
      new ResizeObserver(() => chart.resize()).observe(place);
    }
    drawn.set(place, { chart, options, onClick });
    chart.setOption({ ...common(), ...options() }, { notMerge: true });
  }

  function common() {
    return {
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("soft") },
    };
  }

  const axis = (more = {}) => ({
    nameTextStyle: { color: colour("soft"), fontSize: 12 },
    axisLabel: { color: colour("soft"), hideOverlap: true },
    axisLine: { lineStyle: { color: colour("line") } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colour("faint") } },
    ...more,
  });

  const legend = (more = {}) => ({
    top: 0, left: 0, icon: "roundRect", itemWidth: 12, itemHeight: 8, itemGap: 14,
    textStyle: { color: colour("soft") }, inactiveColor: colour("line"), ...more,
  });

  /** A tooltip of lines of text for the values at a place on the x axis. */
  const tooltip = (lines) => ({
    trigger: "axis",
    axisPointer: { type: "shadow", shadowStyle: { color: colour("shade") } },
    backgroundColor: colour("panel"),
    borderColor: colour("line"),
    textStyle: { color: colour("ink"), fontSize: 13 },
    confine: true,
    transitionDuration: 0,
    formatter: (points) => {
      const box = Explorer.element("div");
      for (const line of lines(points[0].dataIndex)) box.append(Explorer.element("div", {}, line));
      return box;
    },
  });

  dark.addEventListener("change", () => {
    for (const { chart, options } of drawn.values()) chart.setOption({ ...common(), ...options() }, { notMerge: true });
  });

  return { draw, colour, axis, legend, tooltip };
})();
