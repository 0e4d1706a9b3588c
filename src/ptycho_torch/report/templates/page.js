// Sorting, filters, curves and the light switch; without it the page can still be read.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("study-data").textContent);
  const table = document.getElementById("run-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const form = document.getElementById("filters");
  const plot = document.getElementById("plot");
  const legend = document.getElementById("legend");
  const shown = rows.map(() => true); // By data-run, not by place: sorting moves rows.

  // ---- Sorting -------------------------------------------------------------------------------

  const headings = Array.from(table.tHead.rows[0].cells);

  function sortKey(row, column, numeric) {
    const cell = row.cells[column];
    const text = numeric ? cell.dataset.order : cell.textContent.trim();
    if (text === "") return null;
    return numeric ? Number(text) : text;
  }

  function sortBy(column) {
    const heading = headings[column];
    const numeric = heading.dataset.kind === "number";
    const down = heading.getAttribute("aria-sort") === "ascending";
    const sign = down ? -1 : 1;
    const keyed = rows.map((row) => ({ row, key: sortKey(row, column, numeric), at: Number(row.dataset.run) }));
    keyed.sort((a, b) => {
      // What has no value is last, whichever way the others go.
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.at - b.at;
      const order = numeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
      return sign * order || a.at - b.at;
    });
    for (const other of headings) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...keyed.map((item) => item.row));
  }

  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortBy(column));
  });

  // ---- Filters -------------------------------------------------------------------------------

  const texts = rows.map((row) => row.textContent.toLowerCase().replace(/\s+/g, " "));

  function passes(row, text, wanted) {
    const { stages, dataset, arm, outcome } = row.dataset;
    if (wanted.stage && !stages.split(";").includes(wanted.stage)) return false;
    if (wanted.dataset && dataset !== wanted.dataset) return false;
    if (wanted.arm && arm !== wanted.arm) return false;
    if (wanted.outcome === "*failed" && !row.classList.contains("failed")) return false;
    if (wanted.outcome && wanted.outcome !== "*failed" && outcome !== wanted.outcome) return false;
    return wanted.words.every((word) => text.includes(word));
  }

  function filter() {
    const wanted = Object.fromEntries(new FormData(form));
    wanted.words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, index) => {
      shown[index] = passes(row, texts[index], wanted);
      row.hidden = !shown[index];
    });
    const count = shown.filter(Boolean).length;
    document.getElementById("count").value = `${count} of ${rows.length} runs`;
    document.getElementById("no-runs").hidden = count > 0;
    filterPictures();
    showCurves();
  }

  function filterPictures() {
    let any = false;
    for (const gallery of document.querySelectorAll(".gallery")) {
      let mine = false;
      for (const card of gallery.querySelectorAll("[data-run]")) {
        card.hidden = !shown[Number(card.dataset.run)];
        mine = mine || !card.hidden;
      }
      // A truth without anything beside it says nothing.
      gallery.hidden = !mine;
      any = any || mine;
    }
    document.getElementById("no-pictures").hidden = any;
  }

  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  form.addEventListener("change", () => { clearTimeout(waiting); filter(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  // The fields are emptied after this event.
  form.addEventListener("reset", () => setTimeout(filter, 0));

  // ---- Curves --------------------------------------------------------------------------------

  const boxes = Array.from(legend.querySelectorAll("input"));
  const lossChoice = document.getElementById("loss");
  const chosenLoss = () => (lossChoice ? Number(lossChoice.value) : 0);
  const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "% {");

  function dark() {
    const asked = document.documentElement.dataset.theme;
    return asked ? asked === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  const colourOf = (run) => data.arms[run.arm][dark() ? "dark" : "light"];
  const drawn = (run, index) => shown[index] && boxes[run.arm].checked && run.loss === chosenLoss();

  function marks(run) {
    const last = run.y.reduce((at, value, index) => (value === null ? at : index), -1);
    // A single point has no line, so it gets a dot.
    return run.y.map((_, index) => (index !== last ? 0 : run.failed ? 10 : last === 0 ? 6 : 0));
  }

  function trace(run, index) {
    return {
      type: "scatter",
      mode: "lines+markers",
      name: safe(`${run.label} (${run.outcome})`),
      x: run.x,
      y: run.y,
      visible: drawn(run, index),
      line: { color: colourOf(run), width: 1.6, dash: data.arms[run.arm].dash },
      marker: { color: colourOf(run), size: marks(run), symbol: run.failed ? "x" : "circle", line: { width: 0 }, opacity: 1 },
      hovertemplate: `<b>${safe(run.label)}</b><br>${safe(run.outcome)}, ${safe(run.dataset)}<br>epoch %{x}: %{y:.4g}<extra></extra>`,
    };
  }

  function layout() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const loss = data.losses[chosenLoss()] || { label: "validation loss", log: false, floors: [] };
    const axis = { gridcolor: colour("--line"), linecolor: colour("--quiet"), zeroline: false, automargin: true };
    return {
      autosize: true,
      showlegend: false,
      hovermode: "closest",
      // A finger on the picture should scroll the page, not draw a frame.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      margin: { l: 60, r: 16, t: 34, b: 60 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 13 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--quiet"), activecolor: colour("--accent") },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") }, align: "left" },
      xaxis: { ...axis, title: { text: "epoch", standoff: 8 }, rangemode: "normal" },
      yaxis: { ...axis, title: { text: loss.label }, type: loss.log ? "log" : "linear", exponentformat: "power" },
      shapes: loss.floors.filter((floor) => floor.drawn).map((floor) => ({
        type: "line", xref: "paper", x0: 0, x1: 1, y0: floor.value, y1: floor.value,
        line: { color: colour("--quiet"), width: 1, dash: "dot" },
      })),
    };
  }

  function note() {
    const visible = data.runs.map((run, index) => drawn(run, index) && run.y.some((value) => value !== null));
    document.getElementById("drawn").value = `${visible.filter(Boolean).length} of ${rows.length} runs drawn.`;
    boxes.forEach((box, arm) => {
      const some = data.runs.some((run, index) => run.arm === arm && shown[index] && run.loss === chosenLoss());
      box.closest("label").classList.toggle("absent", !some);
    });
  }

  function showCurves() {
    note();
    Plotly.restyle(plot, { visible: data.runs.map(drawn) });
  }

  function redraw() {
    note();
    Plotly.react(plot, data.runs.map(trace), layout(), {
      responsive: true,
      displaylogo: false,
      // Named one by one: Plotly's own choice offers to send the data to a company's server.
      modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["resetScale2d"]],
      showSendToCloud: false,
      plotlyServerURL: "",
    });
  }

  legend.addEventListener("change", showCurves);
  for (const button of legend.querySelectorAll("[data-all]")) {
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = Boolean(button.dataset.all);
      showCurves();
    });
  }
  if (lossChoice) lossChoice.addEventListener("change", redraw);

  // ---- Light and dark ------------------------------------------------------------------------

  const theme = document.getElementById("theme");
  const label = () => {
    theme.textContent = dark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
  };

  // Some browsers keep no memory for local files and embedded pages, and say so by an error.
  function remember(value) {
    try { localStorage.setItem("ptycho-theme", value); } catch { /* The choice holds until the page is closed. */ }
  }
  function remembered() {
    try { return localStorage.getItem("ptycho-theme"); } catch { return null; }
  }

  const before = remembered();
  if (before === "dark" || before === "light") document.documentElement.dataset.theme = before;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    remember(next);
    label();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { label(); redraw(); });

  label();
  redraw();
  // A browser that goes back to a page fills the fields in again.
  addEventListener("pageshow", filter);
})();
