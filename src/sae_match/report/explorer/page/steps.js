"use strict";

/* The steps of a path as a table: every number. */
Explorer.steps = (() => {
  const { byId, element, format, model, judged } = Explorer;

  const OWN = ["layer", "feature", "description, or what it fires on", "active on", "mean value"];
  const JUDGED = ["q", "margin", "mutual nearest", "parts agree"];
  const STEP = ["cost", "encoder cosine", "decoder cosine", "both active", "of source", "Jaccard", "carries on"];
  const CAUSES = "switched off with it";
  const stepColumns = () => [...(model.judged ? JUDGED : []), ...STEP, ...(model.causes ? [CAUSES] : [])];

  /** What a feature does when the one of the layer before is switched off; a dash where that was not tried. */
  function switchedOff(causes) {
    if (causes === null) return format.dash;
    const [carried, rank, agreement] = causes;
    const place = rank === null ? "" : rank === 1 ? ", falls most of all" : `, falls as number ${format.count(rank)}`;
    const alike = agreement === null ? "" : `; effects agree ${format.cosine(agreement)}`;
    return carried === null && rank === null ? format.dash : `${format.share(carried)}${place}${alike}`;
  }

  function tabulate(rows, at) {
    const table = byId("path-table");
    table.caption.textContent = `The path of feature ${rows[at].name}, layer by layer`;
    const column = (name) => element("th", { scope: "col" }, name);
    const steps = [...judged.names().map((name) => element("th", { scope: "col", class: "judge" }, ...breakable(name))), ...stepColumns().map(column)];
    const head = element("thead", {},
      element("tr", {},
        element("th", { colspan: OWN.length, scope: "colgroup" }, "the feature"),
        element("th", { colspan: steps.length, scope: "colgroup" }, "the step from the layer before")),
      element("tr", {}, ...OWN.map(column), ...steps));
    const body = element("tbody", {}, ...rows.map((row, place) => tableRow(row, place === at)));
    table.replaceChildren(table.caption, head, body);
  }

  /** A name that may be broken where its words end. */
  const breakable = (name) => name.split(/(?<=[_ ./:-])/).flatMap((part) => [part, element("wbr")]);

  /** What became of a step, in a word. */
  const WORDS = { [model.ENDS]: "no", [model.CARRIES]: "yes", [model.TOO_FEW]: "too few" };

  function tableRow(row, isChosen) {
    const { step } = row;
    const cell = (text) => element("td", {}, text);
    const steps = step === null
      ? [...judged.names(), ...stepColumns()].map(() => cell(format.dash))
      : [...judged.names().map((_, judge) => judged.word(step.verdicts[judge])),
        ...(model.judged ? [format.q(step.q), format.cosine(step.margin), step.nearest, step.parts] : []),
        format.number(step.cost), format.cosine(step.encoderCosine), format.cosine(step.decoderCosine),
        format.count(step.both), format.part(step.both, step.before, format.share),
        `${format.part(step.both, step.either, format.cosine)}${step.tooFew ? " (too few)" : ""}`, WORDS[step.fate],
        ...(model.causes ? [switchedOff(step.causes)] : [])].map(cell);
    return element("tr", { "aria-current": isChosen ? "true" : undefined },
      element("th", { scope: "row" }, String(row.layer)),
      element("td", {}, Explorer.opener(row.name, String(row.feature))),
      element("td", { class: "words", dir: "auto" }, row.label || (row.active === 0 ? "never active" : "–")),
      cell(format.tokens(row.active, model.layers[row.index].tokens)), cell(format.number(row.mean)), ...steps);
  }

  return { tabulate };
})();
